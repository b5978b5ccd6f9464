//! What boards with a Cortex-M core share.
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "semihosting")]
pub mod emulated;
#[cfg(feature = "semihosting")]
pub mod semihosting;
pub mod stack;
pub mod systick;
