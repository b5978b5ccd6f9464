//! Depth of the stack, from the pattern that the start-up code left in it.

use cortex_m_rt::STACK_PAINT_VALUE;

#[allow(unsafe_code)]
unsafe extern "C" {
    // Symbols of cortex-m-rt's linker script: only their addresses mean something.
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of the main stack used at the deepest point since the start (Arm's stacks grow down).
#[allow(unsafe_code)]
pub fn high_water() -> u32 {
    let top = &raw const _stack_start;
    let mut word = &raw const _stack_end;
    // SAFETY: the linker script puts both symbols, word-aligned, at the ends of the memory that it reserves for the
    // stack; every word between them is RAM. Volatile, because the stack below the present frame is no Rust object.
    unsafe {
        while word < top && word.read_volatile() == STACK_PAINT_VALUE {
            word = word.add(1);
        }
    }
    (top as usize - word as usize) as u32
}
