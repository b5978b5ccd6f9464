//! Runs low-rank f16 networks in place from flash or a memory map.
//!
//! A model file is checked once ([`model::Model`]), planned ([`plan::Plan`]: the exact bytes of memory, known without
//! any) and run in a caller's arena ([`session::Session`]). Nothing is allocated and no input bytes make it panic.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

#[cfg(target_endian = "big")]
compile_error!("model files are little-endian and used in place");

pub mod format;
#[cfg(feature = "std")]
pub mod host;
pub mod kernel;
pub mod model;
pub mod plan;
pub mod session;
