//! Models as ONNX, run by ONNX Runtime.

use std::num::NonZeroU32;
use std::process::Command;

use lrpet_network::onnx::{Batch, Input, Options, convert};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_tests::programs::{python, root};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Largest difference of a logit, as a share of the largest one (at least 1): the runtime's values are f16.
pub const TOLERANCE: f64 = 1e-3;
/// The same where more roundings of f16 meet in a logit: blocks that end without an activation, whose sums grow, and twenty
/// trained layers, each with its values rounded (the furthest seen: 1.1e-3, ResNet-20 at g = 0.7).
const DEEP_TOLERANCE: f64 = 2e-3;

pub const IMAGE: Options =
    Options { input: Input::Image, batch: Batch::Of(NonZeroU32::MIN), f16_weights: false };

/// A folder of ONNX files with their inputs and the runtime's logits.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// Adds a model with the images of its self-check.
    pub fn add(&self, name: &str, file: &[u8], options: Options) {
        self.add_with(name, file, options, |model| convert(model, options).unwrap().bytes);
    }

    /// As `add`, with the bytes of the ONNX file by `write`.
    pub fn add_with(&self, name: &str, file: &[u8], options: Options, write: impl Fn(&Model<'_>) -> Vec<u8>) {
        let file = AlignedBytes::copy_of(file);
        let model = Model::new_checked(file.as_slice()).unwrap();
        let plan = Plan::new(model.program(), lrpet_runtime::kernel::Isa::detect()).unwrap();
        let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
        let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
        let images: Vec<Vec<u8>> = match model.self_check() {
            Some(check) => (0..check.samples()).map(|sample| check.image(sample).to_vec()).collect(),
            None => noise(model.program().header().input.len()),
        };
        assert!(images.len() > 1);
        let (mut inputs, mut all) = (Vec::new(), Vec::new());
        let mut logits = vec![0.0; session.classes()];
        for image in images {
            if options.input == Input::Image {
                inputs.extend_from_slice(&image);
                session.run_image(&image, &mut logits, &mut ()).unwrap();
            } else {
                // Bytes of the image serve as values, any that f16 holds.
                let values: Vec<f32> = image.iter().map(|byte| f32::from(*byte) / 64.0 - 2.0).collect();
                inputs.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                session.run_values(&values, &mut logits, &mut ()).unwrap();
            }
            all.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        let path = self.0.path().join(name);
        std::fs::write(path.with_added_extension("onnx"), write(&model)).unwrap();
        std::fs::write(path.with_added_extension("input"), inputs).unwrap();
        std::fs::write(path.with_added_extension("logits"), all).unwrap();
    }

    /// Runs all of them; what was found of each.
    pub fn run(&self) -> Vec<Value> {
        let script = root().join("tests/python/run_onnx.py");
        let output = Command::new(python().unwrap()).arg(script).arg(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        document["models"].as_array().unwrap().clone()
    }

    /// Runs all of them, which must agree with the runtime.
    pub fn check(&self) -> Vec<Value> {
        let models = self.run();
        for model in &models {
            let share = share(model);
            let file = model["file"].as_str().unwrap();
            let deep = file.starts_with("mobilenet_v2") || file.starts_with("cifar10-resnet20");
            println!("{file} differs by {share:.1e} of {}", model["largest"]);
            let tolerance = if deep { DEEP_TOLERANCE } else { TOLERANCE };
            assert!(model["finite"] == true && share < tolerance, "{model}");
            // Logits that do not depend on the image would agree too easily.
            let between = model["between_images"].as_f64().unwrap() / model["largest"].as_f64().unwrap();
            assert!(between > 10.0 * TOLERANCE, "{model}");
        }
        models
    }
}

pub fn share(model: &Value) -> f64 {
    model["difference"].as_f64().unwrap() / model["largest"].as_f64().unwrap().max(1.0)
}

/// Images of `bytes` bytes for a model without self-check.
fn noise(bytes: usize) -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut image = || {
        let mut image = vec![0; bytes];
        rng.fill_bytes(&mut image);
        image
    };
    (0..3).map(|_| image()).collect()
}
