//! ONNX files: what is imported is a network with its weights, which are written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::{in_file, says};
use lrpet_network::Network;
use lrpet_network::import::{Options, import, input_names};

fuzz_target!(|bytes: &[u8]| {
    let (names, imported) =
        in_file("fuzzed.onnx", bytes, |path| (input_names(path), import(path, &Options::default())));
    if let Err(error) = names {
        says(&error);
    }
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => return says(&error),
    };
    let text = imported.network.to_text();
    let again = Network::from_text("imported.toml", &text).expect("an imported network is a network's file");
    assert_eq!(again.to_text(), text);
    imported.checkpoint.check(&imported.network).expect("weights of its own");
});
