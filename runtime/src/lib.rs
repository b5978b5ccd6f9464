//! Runs low-rank f16 networks in place from flash or a memory map.
//!
//! A model file is checked once ([`model::Model`]), planned ([`plan::Plan`]: the exact bytes of memory, known without
//! any) and run in a caller's arena ([`session::Session`]). Nothing is allocated and no input bytes make it panic.
//!
//! ```
//! use lrpet_runtime::model::Model;
//! use lrpet_runtime::session::{Arena, Session};
//!
//! /// The class of an image, with a model in flash and 64 KiB of memory.
//! fn classify(flash: &'static [u8], image: &[u8]) -> Option<usize> {
//!     let model = Model::new_checked(flash).ok()?;
//!     let mut arena = Arena([0; 65536]);
//!     // An arena that is too small is refused with the number of bytes that are missing.
//!     let mut session = Session::new(&model, &mut arena.0).ok()?;
//!     let mut logits = [0.0; 10];
//!     session.run_image(image, &mut logits, &mut ()).ok()?;
//!     (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
//! }
//!
//! assert_eq!(classify(b"no model", &[]), None);
//! ```
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and used in place");

#[cfg(feature = "bench")]
pub mod bench;
pub mod check;
pub mod format;
#[cfg(feature = "std")]
pub mod host;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod session;
