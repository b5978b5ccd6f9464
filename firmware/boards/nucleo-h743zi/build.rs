//! Links the model named by `LRPET_MODEL`, and the memory map that takes it.

use lrpet_firmware_build::{Isa, MemoryMap, cortex_m_board_with};

fn main() {
    let dtcm = MemoryMap { folder: "dtcm", variables: 112 << 10 };
    let axi = MemoryMap { folder: "axi", variables: 512 << 10 };
    cortex_m_board_with(Isa::CortexM, &[dtcm, axi]);
}
