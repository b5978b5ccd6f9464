//! What is understood of a checkpoint, what is refused, and that the function stays the same.

use lrpet_runtime::model::Shape;
use safetensors::Dtype;

use super::*;
use crate::Normalization;
use crate::export::reference::{Storage, logits};
use crate::export::{Folded, folded};
use crate::lrpet::RankPlan;
use crate::network::{KNOWN, Network};

pub(super) fn network() -> Network {
    Network::by_name("resnet8", Shape::new(1, 12, 10), 5).unwrap()
}

/// A tensor of a file.
pub(super) type Raw = (String, Dtype, Vec<usize>, Vec<u8>);

/// The numbers of `values` in a type, little-endian.
pub(super) fn raw(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let each = |bytes: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|&value| bytes(value)).collect();
    match dtype {
        Dtype::F64 => each(&|value| f64::from(value).to_le_bytes().to_vec()),
        Dtype::F16 => each(&|value| f16::from_f32(value).to_le_bytes().to_vec()),
        Dtype::BF16 => each(&|value| bf16::from_f32(value).to_le_bytes().to_vec()),
        _ => each(&|value| value.to_le_bytes().to_vec()),
    }
}

/// The tensors in f32, each under the name that `name` gives it.
fn raws(checkpoint: &Checkpoint, name: impl Fn(&str) -> String) -> Vec<Raw> {
    let tensors = checkpoint.tensors.iter();
    tensors
        .map(|(of, array)| (name(of), Dtype::F32, array.shape.clone(), raw(Dtype::F32, &array.values)))
        .collect()
}

pub(super) fn file(tensors: &[Raw], metadata: &[(&str, &str)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    safetensors::serialize(views, Some(metadata.collect())).unwrap()
}

fn fitted(tensors: &[Raw], network: &Network, purpose: Purpose) -> Result<Fitted, String> {
    Checkpoint::from_bytes(&file(tensors, &[]))?.fit(network, purpose).map_err(|error| error.to_string())
}

const TRAINING: Purpose = Purpose::Training { new_head: false };

/// Logits of `network` on a picture, by the exact reference.
fn outputs(network: &Network, checkpoint: &Checkpoint) -> Vec<f64> {
    let channels = network.input.channels as usize;
    let normalization = Normalization { mean: vec![0.4; channels], std: vec![0.3; channels] };
    let plan = RankPlan::dense(network);
    let (folded, _) = Folded::new(network, checkpoint, &plan, normalization, false).unwrap();
    let image: Vec<u8> = (0..network.input.len()).map(|at| (at * 37 % 251) as u8).collect();
    logits(&folded, &folded.input_values(&image), Storage::F64)
}

fn assert_close(found: &[f64], expected: &[f64]) {
    let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-5 * scale, "{found:?} {expected:?}");
    }
}

#[test]
fn every_float_type_is_read_and_other_state_is_passed_over() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 1);
    let types = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16];
    let mut tensors: Vec<Raw> = (checkpoint.tensors.iter().zip(types.iter().cycle()))
        .map(|((name, array), &dtype)| (name.clone(), dtype, array.shape.clone(), raw(dtype, &array.values)))
        .collect();
    tensors.push(("bn1.num_batches_tracked".into(), Dtype::I64, vec![], 7_i64.to_le_bytes().to_vec()));
    for prefix in ["momentum", "optimizer.square", "optimizer.average"] {
        tensors.push((format!("{prefix}.fc.bias"), Dtype::F32, vec![1], 7_f32.to_le_bytes().to_vec()));
    }
    let read = Checkpoint::from_bytes(&file(&tensors, &[])).unwrap();
    read.check(&net).unwrap();
    for (name, array) in &checkpoint.tensors {
        for (a, b) in array.values.iter().zip(read.values(name).unwrap()) {
            // bf16 keeps 8 bits.
            assert!((a - b).abs() <= a.abs() / 256.0, "{name}: {a} {b}");
        }
    }
}

#[test]
fn everything_that_does_not_fit_is_said_at_once() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 1);
    checkpoint.tensors.remove("layer2.0.bn1.running_var");
    checkpoint.tensors.insert("classifier.weight".into(), Array { shape: vec![1], values: vec![0.0] });
    checkpoint.tensors.get_mut("fc.weight").unwrap().shape = vec![5, 8, 8];
    let error = checkpoint.check(&net).unwrap_err().to_string();
    for word in [
        "resnet8",
        "missing: layer2.0.bn1.running_var",
        "unexpected: classifier.weight",
        "fc.weight is [5, 8, 8], not [5, 64]",
    ] {
        assert!(error.contains(word), "{error}");
    }
    let mut checkpoint = Checkpoint::random(&net, 1);
    checkpoint.tensors.get_mut("conv1.weight").unwrap().values[3] = f32::NAN;
    let error = checkpoint.check(&net).unwrap_err().to_string();
    assert!(error.contains("conv1.weight") && error.contains("element 3"), "{error}");
    // A bias before a batch normalisation is allowed.
    let mut checkpoint = Checkpoint::random(&net, 1);
    checkpoint.tensors.insert("conv1.bias".into(), Array { shape: vec![16], values: vec![0.5; 16] });
    checkpoint.check(&net).unwrap();
}

#[test]
fn layers_of_a_larger_network_are_refused() {
    let larger = Network::by_name("resnet56", Shape::new(3, 8, 8), 5).unwrap();
    let net = Network::by_name("resnet20", Shape::new(3, 8, 8), 5).unwrap();
    for purpose in [Purpose::Model, TRAINING, Purpose::Training { new_head: true }] {
        let error = Checkpoint::random(&larger, 1).fit(&net, purpose).unwrap_err().to_string();
        assert!(error.contains("resnet20") && error.contains("unexpected: layer1.3.bn1.bias"), "{error}");
    }
    let error = Checkpoint::random(&larger, 1).fit(&net, Purpose::Model).unwrap_err().to_string();
    assert!(error.contains("it looks like resnet56 (--net)"), "{error}");
    let mut own = Checkpoint::random(&larger, 1);
    assert!(own.described().contains("it holds bn1.bias") && own.described().contains("like resnet56"));
    own.tensors.insert("more.weight".into(), Array { shape: vec![1], values: vec![0.0] });
    assert!(!own.described().contains("looks like") && own.described().contains("docs/checkpoints.md"));
    assert_eq!(Checkpoint::default().described(), "it holds no tensors");
}

#[test]
fn what_is_no_weight_is_passed_over_unless_it_is_needed() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 2);
    let expected = outputs(&net, &checkpoint);
    let mut tensors = raws(&checkpoint, str::to_owned);
    let extra = |name: &str, dtype, shape: &[usize], bytes: usize| {
        (name.to_owned(), dtype, shape.to_vec(), vec![1; bytes])
    };
    tensors.extend([
        extra("steps", Dtype::I64, &[2], 16),
        extra("mask", Dtype::BOOL, &[3, 1], 3),
        extra("table.weight", Dtype::U8, &[2, 2], 4),
        extra("scale", Dtype::F8_E4M3, &[4], 4),
        extra("decay", Dtype::F32, &[], 4),
        extra("nothing", Dtype::F32, &[0, 3], 0),
        extra("aux1.fc1.weight", Dtype::F32, &[2, 1], 8),
    ]);
    for purpose in [Purpose::Model, TRAINING] {
        let fitted = fitted(&tensors, &net, purpose).unwrap();
        let note = fitted.checkpoint.notes.join("; ");
        for name in [
            "steps (I64)",
            "mask (BOOL)",
            "table.weight (U8)",
            "scale (F8_E4M3)",
            "decay",
            "nothing",
            "aux1.fc1.weight",
        ] {
            assert!(note.contains(name), "{note}");
        }
        assert_close(&outputs(&net, &fitted.checkpoint), &expected);
    }
    let needed = tensors.iter_mut().find(|(name, ..)| name == "layer2.0.conv1.weight").unwrap();
    let count: usize = needed.2.iter().product();
    (needed.1, needed.3) = (Dtype::I8, vec![0; count]);
    let error = fitted(&tensors, &net, Purpose::Model).unwrap_err();
    assert!(error.contains("layer2.0.conv1.weight is I8"), "{error}");
}

#[test]
fn prefixes_in_front_of_all_names_are_left_out() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 3);
    for prefix in [
        "module.",
        "_orig_mod.",
        "model.",
        "backbone.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.module.model.",
    ] {
        let mut tensors = raws(&checkpoint, |name| format!("{prefix}{name}"));
        let counter = format!("{prefix}bn1.num_batches_tracked");
        tensors.push((counter, Dtype::I64, vec![], vec![0; 8]));
        // torch.optim.swa_utils puts this beside the wrapped module.
        tensors.push(("n_averaged".to_owned(), Dtype::I64, vec![], vec![0; 8]));
        let fitted = fitted(&tensors, &net, Purpose::Model).unwrap().checkpoint;
        assert_eq!(fitted.tensors, checkpoint.tensors);
        assert!(fitted.notes[0].contains(&format!("`{prefix}`")), "{:?}", fitted.notes);
    }
    // Not in front of all: which weights are meant is not known.
    let some = raws(&checkpoint, |name| {
        if name.starts_with("conv1") { name.to_owned() } else { format!("backbone.{name}") }
    });
    let error = fitted(&some, &net, Purpose::Model).unwrap_err();
    assert!(
        error.contains("missing: bn1.bias")
            && error.contains("`backbone.`")
            && error.contains("conv1.weight have none"),
        "{error}"
    );
    // A class with the network in a field and a last layer of its own.
    for head in ["fc", "head"] {
        let own = |name: &str| match name.strip_prefix("fc.") {
            Some(part) => format!("{head}.{part}"),
            None => format!("backbone.{name}"),
        };
        let fitted = fitted(&raws(&checkpoint, own), &net, Purpose::Model).unwrap().checkpoint;
        assert_eq!(fitted.tensors, checkpoint.tensors);
        assert!(fitted.notes[0].contains("`backbone.` in front of all names but the last layer's"));
    }
    // Two last layers: which one is meant is not known.
    let mut two = raws(&checkpoint, |name| format!("backbone.{name}"));
    two.extend(raws(&checkpoint, str::to_owned).into_iter().filter(|(name, ..)| name.starts_with("fc.")));
    let error = fitted(&two, &net, Purpose::Model).unwrap_err();
    assert!(error.contains("`backbone.`") && error.contains("have none"), "{error}");
    // No network has such names itself.
    for known in KNOWN {
        let net = known.build(known.input, known.classes).unwrap();
        for layer in check::layers(&net) {
            assert!(names::PREFIXES.iter().all(|prefix| !layer.name.starts_with(prefix)), "{}", layer.name);
        }
    }
}

#[test]
fn the_last_layer_may_have_another_usual_name() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 4);
    let renamed = |head: &str| raws(&checkpoint, |name| name.replace("fc.", &format!("{head}.")));
    for head in names::HEADS {
        let fitted = fitted(&renamed(head), &net, Purpose::Model).unwrap().checkpoint;
        assert_eq!(fitted.tensors, checkpoint.tensors);
        assert_eq!(fitted.notes.iter().any(|note| note.contains(&format!("`{head}`"))), head != "fc");
    }
    let error = fitted(&renamed("top"), &net, Purpose::Model).unwrap_err();
    assert!(error.contains("missing: fc.bias, fc.weight; unexpected: top.bias, top.weight"), "{error}");
    // Two that could be meant.
    let mut two = renamed("linear");
    two.extend(renamed("head").into_iter().filter(|(name, ..)| name.starts_with("head")));
    let error = fitted(&two, &net, Purpose::Model).unwrap_err();
    assert!(error.contains("missing: fc.bias, fc.weight"), "{error}");
    // VGG and MobileNetV2 call it otherwise.
    for (name, head) in [("vgg16_bn", "classifier"), ("mobilenet_v2_cifar", "classifier.1")] {
        let net = Network::by_name(name, Shape::new(3, 32, 32), 5).unwrap();
        let checkpoint = Checkpoint::random(&net, 4);
        let tensors = raws(&checkpoint, |name| {
            name.strip_prefix(head)
                .and_then(|rest| rest.strip_prefix('.'))
                .map_or(name.to_owned(), |part| format!("fc.{part}"))
        });
        assert_eq!(fitted(&tensors, &net, Purpose::Model).unwrap().checkpoint.tensors, checkpoint.tensors);
    }
}

#[test]
fn tied_tensors_come_from_the_metadata() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 5);
    let twin = checkpoint.tensors["layer1.0.conv1.weight"].clone();
    checkpoint.tensors.insert("layer1.0.conv2.weight".to_owned(), twin);
    let tensors: Vec<Raw> = raws(&checkpoint, |name| format!("module.{name}"));
    let without =
        |removed: &str| tensors.iter().filter(|(name, ..)| name != removed).cloned().collect::<Vec<_>>();
    let tied = ("module.layer1.0.conv2.weight", "module.layer1.0.conv1.weight");
    let bytes = file(&without(tied.0), &[("format", "pt"), tied]);
    let read = Checkpoint::from_bytes(&bytes).unwrap().fit(&net, Purpose::Model).unwrap();
    assert_eq!(read.checkpoint.tensors, checkpoint.tensors);
    // The kept name may be one that the network does not have.
    let mut kept = without(tied.0);
    let of_first = kept.iter_mut().find(|(name, ..)| name == tied.1).unwrap();
    of_first.0 = "module.shared.weight".to_owned();
    let bytes = file(&kept, &[(tied.0, "module.shared.weight"), (tied.1, "module.shared.weight")]);
    let read = Checkpoint::from_bytes(&bytes).unwrap().fit(&net, Purpose::Model).unwrap();
    assert_eq!(read.checkpoint.tensors, checkpoint.tensors);
    // A name to nothing is a missing tensor.
    let bytes = file(&without(tied.0), &[(tied.0, "module.nothing")]);
    let error = Checkpoint::from_bytes(&bytes).unwrap().fit(&net, Purpose::Model).unwrap_err().to_string();
    assert!(error.contains("missing: layer1.0.conv2.weight"), "{error}");
}

#[test]
fn a_bias_before_a_batch_normalisation_keeps_the_function() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 6);
    let plain = outputs(&net, &checkpoint);
    for layer in check::layers(&net).iter().filter(|layer| layer.norm.is_some()) {
        let rows = layer.weight[0];
        let values = (0..rows).map(|row| row as f32 / rows as f32 - 0.3).collect();
        checkpoint.tensors.insert(layer.bias(), Array { shape: vec![rows], values });
    }
    let expected = outputs(&net, &checkpoint);
    assert!(plain.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-2));
    let training = checkpoint.fit(&net, TRAINING).unwrap().checkpoint;
    assert!(!training.tensors.contains_key("conv1.bias"));
    assert!(training.notes[0].contains("conv1.bias"), "{:?}", training.notes);
    assert_close(&outputs(&net, &training), &expected);
}

#[test]
fn a_batch_normalisation_without_scale_and_shift_has_one_and_zero() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 7);
    for (part, value) in [("weight", 1.0), ("bias", 0.0)] {
        checkpoint.tensors.get_mut(&format!("layer1.0.bn2.{part}")).unwrap().values.fill(value);
    }
    let expected = checkpoint.tensors.clone();
    checkpoint.tensors.remove("layer1.0.bn2.weight");
    let half = checkpoint.clone();
    checkpoint.tensors.remove("layer1.0.bn2.bias");
    for purpose in [Purpose::Model, TRAINING] {
        let fitted = checkpoint.clone().fit(&net, purpose).unwrap().checkpoint;
        assert_eq!(fitted.tensors, expected);
        assert!(fitted.notes[0].contains("affine=False") && fitted.notes[0].contains("layer1.0.bn2"));
        let error = half.clone().fit(&net, purpose).unwrap_err().to_string();
        assert!(error.contains("missing: layer1.0.bn2.weight"), "{error}");
        let advice = "norm = { name = \"layer1.0.bn2\", scale = false }";
        assert!(error.contains(advice), "{error}");
    }
}

#[test]
fn a_batch_normalisation_without_statistics_is_no_model_and_is_measured_for_training() {
    let net = network();
    let mut checkpoint = Checkpoint::random(&net, 8);
    let one = {
        let mut one = checkpoint.clone();
        one.tensors.retain(|name, _| !name.starts_with("bn1.running"));
        one
    };
    checkpoint.tensors.retain(|name, _| !name.contains("running"));
    for checkpoint in [&one, &checkpoint] {
        let error = checkpoint.clone().fit(&net, Purpose::Model).unwrap_err().to_string();
        assert!(
            error.contains("track_running_stats=False) of bn1") && error.contains("lrpet train --init"),
            "{error}"
        );
    }
    let some = one.fit(&net, TRAINING).unwrap();
    assert!(some.no_statistics && some.checkpoint.notes[0].contains("of bn1, while others"));
    assert_eq!(some.checkpoint.values("bn1.running_mean").unwrap(), [0.0; 16]);
    let fitted = checkpoint.fit(&net, TRAINING).unwrap();
    assert!(fitted.no_statistics);
    assert!(fitted.checkpoint.values("bn1.running_var").unwrap().iter().all(|value| *value == 1.0));
    assert!(!Checkpoint::random(&net, 8).fit(&net, TRAINING).unwrap().no_statistics);
}

#[test]
fn a_scale_or_a_shift_that_the_networks_file_does_not_have_is_not_missing() {
    let net = network();
    for (field, part, value) in [("scale", "weight", 1.0), ("shift", "bias", 0.0)] {
        let mut checkpoint = Checkpoint::random(&net, 7);
        let name = format!("layer1.0.bn2.{part}");
        checkpoint.tensors.get_mut(&name).unwrap().values.fill(value);
        let expected = outputs(&net, &checkpoint);
        checkpoint.tensors.remove(&name);
        let error = checkpoint.clone().fit(&net, Purpose::Model).unwrap_err().to_string();
        let norm = format!("norm = {{ name = \"layer1.0.bn2\", {field} = false }}");
        assert!(error.contains(&norm), "{error}");
        // The advice, taken.
        let text = net.to_text().replace("norm = \"layer1.0.bn2\"", &norm);
        let own = Network::from_text("own.toml", &text).unwrap();
        for purpose in [Purpose::Model, TRAINING] {
            let fitted = checkpoint.clone().fit(&own, purpose).unwrap().checkpoint;
            assert_close(&outputs(&own, &fitted), &expected);
        }
    }
}

#[test]
fn half_of_the_statistics_are_missing_for_every_purpose() {
    let net = network();
    for part in ["running_mean", "running_var"] {
        let mut checkpoint = Checkpoint::random(&net, 8);
        checkpoint.tensors.remove(&format!("bn1.{part}"));
        for purpose in [Purpose::Model, TRAINING] {
            let error = checkpoint.clone().fit(&net, purpose).unwrap_err().to_string();
            assert!(error.contains(&format!("missing: bn1.{part}")), "{error}");
        }
    }
}

#[test]
fn merged_batch_normalisation_is_a_model_and_no_start() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 9);
    let expected = outputs(&net, &checkpoint);
    let normalization = Normalization { mean: vec![0.4], std: vec![0.3] };
    let (folded, _) = Folded::new(&net, &checkpoint, &RankPlan::dense(&net), normalization, false).unwrap();
    let mut merged = Checkpoint::default();
    for layer in check::layers(&net) {
        let weights = &folded.weights[&layer.name];
        let (weight, bias) = (weights.weight.clone(), weights.bias.clone());
        merged.tensors.insert(layer.bias(), Array { shape: vec![bias.len()], values: bias });
        merged
            .tensors
            .insert(format!("{}.weight", layer.name), Array { shape: layer.weight, values: weight });
    }
    let error = merged.clone().fit(&net, TRAINING).unwrap_err().to_string();
    assert!(
        error.contains("conv1") && error.contains("merged") && error.contains("lrpet factorize"),
        "{error}"
    );
    let fitted = merged.fit(&net, Purpose::Model).unwrap().checkpoint;
    assert!(fitted.notes[0].contains("merged already in conv1"), "{:?}", fitted.notes);
    assert_close(&outputs(&net, &fitted), &expected);
    // Its energies are those of the network with batch normalisation.
    let energies = |checkpoint: &Checkpoint| folded::spectra(&net, checkpoint).unwrap();
    for (name, spectrum) in energies(&checkpoint) {
        let merged = &energies(&fitted)[&name];
        let pairs = spectrum.singular_values().iter().zip(merged.singular_values());
        pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-4 * (1.0 + a), "{name}"));
    }
}

#[test]
fn a_negative_variance_is_named() {
    let net = network();
    for value in [-0.5, f32::NAN, f32::INFINITY] {
        let mut checkpoint = Checkpoint::random(&net, 10);
        checkpoint.tensors.get_mut("layer2.0.bn1.running_var").unwrap().values[3] = value;
        for purpose in [Purpose::Model, TRAINING] {
            let error = checkpoint.clone().fit(&net, purpose).unwrap_err().to_string();
            let expected = format!("tensor layer2.0.bn1.running_var holds {value} (element 3)");
            assert!(error.contains(&expected) && error.contains("variance"), "{error}");
        }
        assert!(matches!(checkpoint.check(&net), Err(CheckpointError::Variance { element: 3, .. })));
    }
}

#[test]
fn a_head_for_other_classes_is_left_out_where_a_fresh_one_is_asked_for() {
    let shape = Shape::new(1, 12, 10);
    let [many, few] = [5, 2].map(|classes| Network::by_name("resnet8", shape, classes).unwrap());
    let fresh = Purpose::Training { new_head: true };
    let checkpoint = Checkpoint::random(&many, 11);
    for head in ["fc", "linear", "classifier", "head"] {
        let tensors = raws(&checkpoint, |name| name.replace("fc.", &format!("{head}.")));
        let error = fitted(&tensors, &few, TRAINING).unwrap_err();
        for word in ["fc.weight", "[5, 64]", "5 classes", "resnet8 has 2", "--new-head"] {
            assert!(error.contains(word), "{error}");
        }
        for network in [&few, &many] {
            let fitted = fitted(&tensors, network, fresh).unwrap();
            assert_eq!(fitted.fresh.as_deref(), Some("fc"));
            let mut expected = checkpoint.tensors.clone();
            expected.retain(|name, _| !name.starts_with("fc"));
            assert_eq!(fitted.checkpoint.tensors, expected);
        }
    }
    // Without any head, and with a head of several layers.
    let mut tensors = raws(&checkpoint, |name| name.replace("fc.", "classifier.3."));
    tensors.push(("classifier.0.weight".to_owned(), Dtype::F32, vec![1, 1], vec![0; 4]));
    assert!(fitted(&tensors, &few, fresh).is_ok());
    tensors.retain(|(name, ..)| !name.starts_with("classifier"));
    assert!(fitted(&tensors, &few, fresh).is_ok());
    assert!(fitted(&tensors, &few, TRAINING).unwrap_err().contains("missing: fc.bias"));
}

#[test]
fn damaged_files_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let refused = |bytes: &[u8], word: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains("weights.safetensors") && error.contains(word), "{error}");
    };
    let whole = file(&raws(&Checkpoint::random(&network(), 1), str::to_owned), &[]);
    for cut in [0, 4, 8, 100, whole.len() - 1] {
        refused(&whole[..cut], "");
    }
    refused(b"\x89HDF\r\n\x1a\n and so on", "HDF5");
    refused(b"", "it is empty");
    for other in [&b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"[..], b"\x08\x08\x12\x07pytorch\x1a\x05", b"short"] {
        refused(other, "neither safetensors nor a PyTorch file");
    }
    refused(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch.save(torch.load(OLD");
    refused(&[&[0; 257][..], b"ustar"].concat(), "torch.save(torch.load(OLD");
    refused(&file(&[("lrpet.program".to_owned(), Dtype::U8, vec![1], vec![1])], &[]), "a model file already");
    assert!(Checkpoint::read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
}
