//! What every board runs: the self-check of a model and its bench, reported as JSON lines.
//!
//! Nothing here knows a chip. A board brings a [`counter::Counter`], a console (`embedded_io::Write`), optionally a
//! pin (`embedded_hal::digital::OutputPin`) that is high during inference, and static memory of the size that its
//! build script computed; [`run::run`] does the rest and says whether everything passed, and [`service::serve`] answers on a
//! serial line.
#![no_std]

pub mod bench;
pub mod checksum;
pub mod counter;
mod decimal;
pub mod memory;
pub mod pin;
pub mod region;
pub mod report;
pub mod run;
pub mod service;
pub mod source;
pub mod wide;
