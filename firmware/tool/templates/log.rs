//! The log of the {{board}}: defmt over RTT, which `probe-rs run` shows. Without a probe nothing is sent and nothing waits.

use defmt::{Display2Format, error, info};
use defmt_rtt as _;
use lrpet_firmware_cortex_m::crash::Crash;
use lrpet_runtime::session::RunError;
use {{crate}}::{Network, best};

/// What runs; and where the run before ended, if it was with a panic or a fault.
pub fn started() {
    if let Some(crash) = Crash::take() {
        error!("the run before this one ended: {}", Display2Format(&crash));
    }
    info!(
        "{{name}}: {} classes, {} bytes of RAM, {} bytes of flash for weights and tables",
        Network::CLASSES,
        Network::ARENA_BYTES,
        Network::FLASH_BYTES
    );
}

/// The class of an image.
pub fn answered(said: &Result<&[f32; Network::CLASSES], RunError>) {
    match said {
        Ok(logits) => {
            let class = best(*logits);
            info!("class {}, logit {}", class, logits.get(class));
        }
        Err(error) => error!("no class: {}", Display2Format(error)),
    }
}
