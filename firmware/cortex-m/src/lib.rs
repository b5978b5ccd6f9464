//! What boards with a Cortex-M core share.
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "board")]
pub mod board;
#[cfg(feature = "semihosting")]
pub mod cmsdk_uart;
#[cfg(feature = "board")]
pub mod crash;
#[cfg(feature = "board")]
pub mod dwt;
#[cfg(feature = "semihosting")]
pub mod emulated;
#[doc(hidden)]
pub mod linked;
#[cfg(feature = "semihosting")]
pub mod semihosting;
#[cfg(feature = "board")]
pub mod serial;
pub mod stack;
#[cfg(feature = "semihosting")]
pub mod systick;
