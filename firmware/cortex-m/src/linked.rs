//! What `model.rs` refers to, which a board's build script writes: the model and the memory that it gets.

pub use lrpet_firmware::memory::memory_bytes;
pub use lrpet_firmware::source::{BuiltIn, Source};

#[allow(unsafe_code)]
unsafe extern "C" {
    // Symbols of the board's memory.x: only their addresses mean something.
    static _model_region_start: u8;
    static _model_region_end: u8;
}

/// The model in its region of flash.
#[allow(unsafe_code)]
pub fn model_region() -> Source<'static> {
    let (start, end) = (&raw const _model_region_start, &raw const _model_region_end);
    // SAFETY: the board's memory.x puts both symbols into flash, in this order, and the linker script of the build asserts that
    // nothing else lies between them. The program never writes there.
    Source::Region(unsafe { core::slice::from_raw_parts(start, end as usize - start as usize) })
}
