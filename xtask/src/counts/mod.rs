//! Counting executed instructions in an emulator: the plugin that counts by address, the names of what it counted, and
//! estimates of the cycles that it takes.

pub mod cores;
pub mod cycles;
pub mod elf;
mod listing;
pub mod llvm;
pub mod marks;
mod mca;
pub mod plugin;
pub mod profile;
