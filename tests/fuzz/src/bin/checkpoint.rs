//! Files of weights, safetensors or PyTorch's, as training and export take them.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::{in_file, says};
use lrpet_network::Source;
use lrpet_network::checkpoint::{Checkpoint, Purpose};
use lrpet_runtime::model::Shape;

fuzz_target!(|bytes: &[u8]| {
    match in_file("fuzzed.safetensors", bytes, Checkpoint::read) {
        Ok(checkpoint) => fit(&checkpoint),
        Err(error) => says(&error),
    }
});

/// Puts the weights into the network of the seeds, and into the one that they remember.
fn fit(checkpoint: &Checkpoint) {
    if let Err(error) = Source::remembered(&checkpoint.metadata, Path::new("fuzzed.safetensors")) {
        says(&error);
    }
    let network =
        lrpet_network::Network::by_name("ds_cnn", Shape::new(1, 12, 10), 3).expect("a known network");
    for purpose in [Purpose::Model, Purpose::Training { new_head: true }] {
        match checkpoint.clone().fit(&network, purpose) {
            Ok(fitted) => {
                let values = fitted.checkpoint.tensors.values().flat_map(|array| &array.values);
                assert!(values.into_iter().all(|value| value.is_finite()));
                if let Err(error) = fitted.checkpoint.to_bytes() {
                    says(&error);
                }
            }
            Err(error) => says(&error),
        }
    }
}
