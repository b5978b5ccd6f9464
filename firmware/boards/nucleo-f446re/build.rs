//! Links the model named by `LRPET_MODEL`, and the memory map.

fn main() {
    lrpet_firmware_build::cortex_m_board(lrpet_firmware_build::Isa::CortexM);
}
