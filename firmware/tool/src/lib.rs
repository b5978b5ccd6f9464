//! Boards from the desktop's side: their table, and building, checking, running and flashing firmware with a model in it.

pub mod boards;
pub mod build;
pub mod elf;
pub mod emulate;
pub mod events;
pub mod fit;
pub mod flash;
pub mod image;
pub mod loader;
pub mod memory;
pub mod process;
pub mod project;
pub mod region;
pub mod report;
#[cfg(feature = "serial")]
pub mod serial;
pub mod service;
pub mod sources;
pub mod toolchain;
pub mod uf2;
