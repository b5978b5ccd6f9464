//! What a model takes on a board.

use serde::Serialize;

use crate::elf::ImageSizes;

/// What a model takes on a board, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Flash for code, constants and initial values, without the model.
    pub text_bytes: u64,
    /// Of that, functions of the runtime (those that the compiler inlined elsewhere are not among them).
    pub runtime_bytes: u64,
    /// Flash for the model file.
    pub model_bytes: u64,
    /// All flash.
    pub flash_bytes: u64,
    /// RAM for activations and scratch.
    pub arena_bytes: u64,
    /// RAM for all other variables.
    pub static_bytes: u64,
    /// RAM that the stack used at its deepest point.
    pub stack_bytes: u64,
    /// All RAM.
    pub ram_bytes: u64,
}

impl MemoryUse {
    /// Of an image with a model of `model_bytes`, whose run took so much arena and stack.
    pub fn of(image: ImageSizes, model_bytes: u64, arena_bytes: u64, stack_bytes: u64) -> Self {
        Self {
            text_bytes: image.flash.saturating_sub(model_bytes),
            runtime_bytes: image.runtime,
            model_bytes,
            flash_bytes: image.flash,
            arena_bytes,
            static_bytes: image.ram.saturating_sub(arena_bytes),
            stack_bytes,
            ram_bytes: image.ram + stack_bytes,
        }
    }
}
