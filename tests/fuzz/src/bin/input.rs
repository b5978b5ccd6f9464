//! Arrays that `lrpet run` and `lrpet-run` take as input: `.npy`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_data::Input;
use lrpet_data::input::read_input;
use lrpet_fuzz::{in_file, says};
use lrpet_runtime::model::{InputKind, Shape};

fuzz_target!(|bytes: &[u8]| {
    let shape = Shape::new(2, 3, 4);
    for kind in [InputKind::Values, InputKind::Picture] {
        match in_file("fuzzed.npy", bytes, |path| read_input(path, kind, shape, None)) {
            Ok(Input::Values(values)) => assert!(values.iter().all(|values| values.len() == shape.len())),
            Ok(Input::Images(images)) => {
                assert!(kind == InputKind::Picture && images.iter().all(|image| image.len() == shape.len()));
            }
            Err(error) => says(&error),
        }
    }
});
