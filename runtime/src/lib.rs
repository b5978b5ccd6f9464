//! Runs low-rank networks of f16 and 8 bits in place from flash or a memory map.
//!
//! A model file is checked once ([`model::Model`]), planned ([`plan::Plan`]: the exact bytes of memory, known without
//! any) and run in a caller's arena ([`session::Session`]). Nothing is allocated and no input bytes make it panic.
//!
//! ```
//! use lrpet_runtime::include_model;
//! use lrpet_runtime::model::Model;
//! use lrpet_runtime::session::{Arena, Session};
//!
//! /// The file, in flash on a microcontroller. `include_bytes!` would put it at any address, which is refused.
//! static MODEL: &[u8] = include_model!(concat!(
//!     env!("CARGO_MANIFEST_DIR"),
//!     "/../models/fashion-mnist-resnet8-g0.6.safetensors"
//! ));
//!
//! /// Memory for the model: 54 KiB on a Cortex-M, more where kernels are wider. `Plan::new` says how many bytes.
//! const ARENA: usize = 1 << 20;
//!
//! /// The class of an image.
//! fn classify(image: &[u8]) -> Option<usize> {
//!     let model = Model::new_checked(MODEL).ok()?;
//!     let mut arena = Arena([0; ARENA]);
//!     // An arena that is too small is refused with the number of bytes that are missing.
//!     let mut session = Session::new(&model, &mut arena.0).ok()?;
//!     let mut logits = [0.0; 10];
//!     session.run_image(image, &mut logits, &mut ()).ok()?;
//!     (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
//! }
//!
//! // An image that the file carries, and the class that the trainer found.
//! let check = Model::new_checked(MODEL).unwrap().self_check().unwrap();
//! let expected: Vec<f32> = check.logits(0).collect();
//! let expected = (0..expected.len()).max_by(|a, b| expected[*a].total_cmp(&expected[*b]));
//! assert_eq!(classify(check.image(0)), expected);
//! assert_eq!(classify(&[]), None);
//! ```
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and used in place");

#[cfg(feature = "bench")]
pub mod bench;
pub mod built;
pub mod check;
pub mod format;
#[cfg(feature = "std")]
pub mod host;
pub mod kernel;
pub mod machine;
pub mod model;
pub mod plan;
#[cfg(feature = "std")]
pub mod reference;
pub mod session;
