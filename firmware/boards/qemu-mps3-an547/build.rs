//! Links the model named by `LRPET_MODEL`, and the memory map.

use lrpet_firmware_build::Isa;

fn main() {
    let half = std::env::var_os("CARGO_FEATURE_CORTEX_M55_F16").is_some();
    lrpet_firmware_build::cortex_m_board(if half { Isa::CortexM55Half } else { Isa::CortexM55 });
}
