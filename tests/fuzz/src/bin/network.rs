//! Networks as files, in TOML: what is read is written, read again, counted, drawn and given ranks.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::{Corpus, fuzz_target};
use lrpet_fuzz::says;
use lrpet_network::lrpet::RankPlan;
use lrpet_network::{Checkpoint, Network, draw};

/// Most weights that are drawn at random.
const MOST: u64 = 1 << 14;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let network = match Network::from_text("file.toml", text) {
        Ok(network) => network,
        Err(error) => {
            says(&error);
            return Corpus::Keep;
        }
    };
    let written = network.to_text();
    let again = Network::from_text("written.toml", &written).expect("what is written is read");
    assert_eq!(again.to_text(), written);
    let shapes = network.value_shapes().expect("shapes of a checked network");
    assert_eq!(shapes.len(), network.layers.len() + 1);
    let cost = network.cost();
    match RankPlan::uniform(&network, 0.6) {
        Ok(plan) => assert!(plan.cost().macs <= cost.macs),
        Err(error) => says(&error),
    }
    if network.layers.len() < 100 {
        assert!(draw::draw(&network, &BTreeMap::new()).ends_with("</svg>\n"));
    }
    if cost.params < MOST {
        Checkpoint::random(&network, 1).check(&network).expect("weights of its own");
    }
    Corpus::Keep
});
