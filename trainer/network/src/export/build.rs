//! From trained weights to the bytes of a verified model file, and back to a folded network.

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use lrpet_runtime::format::Dtype;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Method;
use lrpet_runtime::model::{Model, Op, Weights};
use lrpet_runtime::session::Hook;

use super::agreement::{Reference, Trace};
use super::dense::program;
use super::evaluate::check_data;
use super::file::{SELF_CHECK_SAMPLES, SelfCheck, serialize};
use super::folded::FactoredLayer;
use super::{Card, ExportError, Folded, LayerWeights, Machine, Ranges, noise, values};
use crate::lrpet::RankPlan;
use crate::quantise::scale::THIN;
use crate::quantise::{QuantisedLayer, quantise};
use crate::{Checkpoint, Dataset, Network, Normalization};

/// What a model is tried on before it is written.
#[derive(Clone, Copy)]
pub enum Samples<'a> {
    /// Images, of which its self-check is made.
    Images {
        /// The images to choose from: the test set.
        data: &'a Dataset,
        /// What tries how far roundings move the logits.
        machine: &'a dyn Machine,
    },
    /// Values, for a network that takes no picture.
    Values {
        /// The samples to choose from: the test set; else normal random values ([`values::samples`]).
        data: Option<&'a Dataset<f32>>,
        /// What tries how far roundings move the results; without it there is no self-check.
        machine: Option<&'a dyn Machine>,
    },
}

/// Bits of the weights of a model.
#[derive(Clone, Copy, Default)]
pub enum Precision<'a> {
    /// f16.
    #[default]
    Half,
    /// 8 bits in layers that may have them, see [`quantise()`].
    Eight {
        /// These layers; all where none are named.
        layers: Option<&'a BTreeSet<String>>,
        /// Calibration inputs (normalised values, C×H×W), of the training set; without them each weight is rounded to the nearest.
        inputs: Option<&'a [Vec<f32>]>,
        /// Is told of each run of an input.
        progress: &'a (dyn Fn() + Sync),
    },
}

/// What a model is made from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The network.
    pub network: &'a Network,
    /// Its trained weights.
    pub checkpoint: &'a Checkpoint,
    /// Rank of each layer.
    pub plan: &'a RankPlan,
    /// Raise each pair to the whole energy of its layer: for weights that were never projected.
    pub energy_transfer: bool,
    /// How pixels become the input.
    pub normalization: &'a Normalization,
    /// What the card says besides.
    pub card: &'a Card,
    /// Bits of its weights.
    pub precision: Precision<'a>,
    /// What it is tried on, and its self-check made of; none for a model without.
    pub samples: Option<Samples<'a>>,
}

/// A model, verified, not yet on the disk.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The network in f32, before it is rounded to f16.
    pub folded: Folded,
    /// What each pair keeps.
    pub layers: Vec<FactoredLayer>,
    /// What each layer with weights of 8 bits loses.
    pub quantised: Vec<QuantisedLayer>,
    /// The card, to which measured figures may be added.
    pub card: BTreeMap<String, String>,
    /// Images and logits of the self-check.
    pub self_check: Option<SelfCheck>,
    /// How far the values of each layer go on what the model was tried on.
    pub ranges: Ranges,
}

impl Exported {
    /// Bytes of the model file.
    ///
    /// # Errors
    /// Those of [`serialize`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ExportError> {
        serialize(&self.folded, &self.card, self.self_check.as_ref())
    }
}

/// Folds, factors, rounds to f16 or to 8 bits, and lets the runtime compute the self-check's logits: every value of every layer must be the reference's
/// up to the roundings of its own sums ([`Reference::check`]).
///
/// # Errors
/// Those of [`Folded::new`] and [`serialize`]; [`ExportError::Data`] where the samples are no images of this
/// network; [`ExportError::Activation`] where a sample leaves the range of f16; [`ExportError::Disagreement`]
/// where the runtime computes something else than the reference.
pub fn export(request: &Request<'_>) -> Result<Exported, ExportError> {
    let Request { network, checkpoint, plan, normalization, energy_transfer, card, precision, samples } =
        *request;
    let (mut folded, layers) =
        Folded::new(network, checkpoint, plan, normalization.clone(), energy_transfer)?;
    let quantised = match precision {
        Precision::Half => Vec::new(),
        Precision::Eight { layers, inputs, progress } => quantise(&mut folded, layers, inputs, progress)?,
    };
    let card = card.metadata(network, plan, &folded);
    let (self_check, ranges) = (None, Ranges::default());
    let mut exported = Exported { folded, layers, quantised, card, self_check, ranges };
    exported.try_on(samples)?;
    Ok(exported)
}

impl Exported {
    /// A model file's network with weights of 8 bits, its card and its ranks as they are; see [`export()`] and [`quantise()`].
    ///
    /// # Errors
    /// As [`export()`].
    pub fn requantised(
        model: &Model<'_>,
        inputs: Option<&[Vec<f32>]>,
        samples: Option<Samples<'_>>,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Exported, ExportError> {
        let mut folded = Folded::from_model(model)?;
        let quantised = quantise(&mut folded, None, inputs, progress)?;
        let entry = |(key, value): (lrpet_runtime::format::RawStr<'_>, lrpet_runtime::format::RawStr<'_>)| {
            (key.to_string(), value.to_string())
        };
        let mut card: BTreeMap<String, String> = model.metadata().map(entry).collect();
        card.insert("format".into(), folded.header()?.version.to_string());
        let bytes: Option<u64> = card.get("weight_bytes").and_then(|bytes| bytes.parse().ok());
        let saved: u64 = quantised.iter().map(|layer| layer.bytes_f16.saturating_sub(layer.bytes)).sum();
        if let Some(bytes) = bytes {
            card.insert("weight_bytes".into(), bytes.saturating_sub(saved).to_string());
        }
        let (self_check, ranges) = (None, Ranges::default());
        let mut exported = Exported { folded, layers: Vec::new(), quantised, card, self_check, ranges };
        exported.try_on(samples)?;
        Ok(exported)
    }

    /// Lets the runtime compute the samples, of which the self-check is made.
    fn try_on(&mut self, samples: Option<Samples<'_>>) -> Result<(), ExportError> {
        let exported = self;
        let bytes = AlignedBytes::copy_of(&exported.to_bytes()?);
        let model = checked(bytes.as_slice(), "the exported model")?;
        match samples {
            None => {}
            Some(Samples::Images { data, machine }) => {
                check_data(&model, data)?;
                let samples = data.subset(&data.spread(SELF_CHECK_SAMPLES));
                let rounded = exported.folded.rounded();
                let inputs =
                    (0..samples.len()).map(|sample| rounded.input_values(samples.image(sample))).collect();
                let check = self_check(&rounded, &model, inputs, Some(samples), machine)?;
                (exported.self_check, exported.ranges) = (Some(check.0), check.1);
            }
            Some(Samples::Values { data, machine }) => {
                let rounded = exported.folded.rounded();
                let inputs = match data {
                    Some(data) => {
                        check_data(&model, data)?;
                        let chosen = data.spread(SELF_CHECK_SAMPLES).into_iter();
                        chosen.map(|sample| data.image(sample).to_vec()).collect()
                    }
                    None => values::samples(rounded.input, SELF_CHECK_SAMPLES),
                };
                match machine {
                    Some(machine) => {
                        let check = self_check(&rounded, &model, inputs, None, machine)?;
                        (exported.self_check, exported.ranges) = (Some(check.0), check.1);
                    }
                    None => exported.ranges = values::hold(&rounded, &model, &inputs)?,
                }
            }
        }
        Ok(())
    }
}

/// The runtime's logits of `inputs` (normalised, C×H×W), held against the reference, with what roundings may move them, and how far
/// values go. `pictures` are what the inputs were made of, where the network takes those.
fn self_check(
    network: &Folded,
    model: &Model<'_>,
    inputs: Vec<Vec<f32>>,
    pictures: Option<Dataset>,
    machine: &dyn Machine,
) -> Result<(SelfCheck, Ranges), ExportError> {
    // As they are stored.
    let values: Vec<f16> = match pictures {
        Some(_) => Vec::new(),
        None => inputs.iter().flatten().map(|&value| f16::from_f32(value)).collect(),
    };
    let reference = Reference::new(network);
    let (mut logits, mut last, mut ranges) = (Vec::new(), Vec::new(), Ranges::default());
    for (sample, input) in inputs.iter().enumerate() {
        let run = |method| match &pictures {
            Some(pictures) => Trace::of(model, pictures.image(sample), method),
            None => Trace::of_values(model, input, method),
        };
        // The file has what every machine computes alike, every product made.
        let trace = run(Method::Direct)?;
        last.push(reference.check_values(sample, input, &trace)?);
        let fastest = run(Method::Fastest)?;
        if fastest.tiles.iter().any(Option::is_some) {
            reference.check_values(sample, input, &fastest)?;
        }
        trace.stored.iter().enumerate().for_each(|(layer, values)| ranges.stored(layer, values));
        logits.extend(trace.logits);
    }
    let mut tolerances = noise::tolerances(network, &inputs, &last, machine)?;
    let images = pictures.map_or_else(Vec::new, |pictures| pictures.images);
    let mut check = SelfCheck { images, values, logits, tolerances: None };
    // The format allows no more: within it logits that are all 0 would pass.
    for (tolerance, largest) in tolerances.iter_mut().zip(check.largest(network.classes as usize)) {
        *tolerance = tolerance.min(largest);
    }
    check.tolerances = Some(tolerances);
    Ok((check, ranges))
}

/// Checks a model file's bytes; the error names `what`.
///
/// # Errors
/// [`ExportError::Model`].
pub fn checked<'a>(bytes: &'a [u8], what: &str) -> Result<Model<'a>, ExportError> {
    let refused = |reason| ExportError::Model { what: what.to_owned(), reason };
    Model::new_checked(bytes).map_err(|error| refused(other_kind(bytes).unwrap_or_else(|| error.to_string())))
}

/// What a file is that is often taken for a model's, in words.
fn other_kind(bytes: &[u8]) -> Option<String> {
    let json =
        matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) && std::str::from_utf8(bytes).is_ok();
    json.then(|| {
        "it is JSON, as `--json` prints it, and no model file; `lrpet factorize --out` writes those"
            .to_owned()
    })
}

impl Folded {
    /// The network of a model file, its f16 weights widened.
    ///
    /// # Errors
    /// [`ExportError::Model`] where the program cannot be decoded, which a checked model rules out.
    pub fn from_model(model: &Model<'_>) -> Result<Folded, ExportError> {
        let broken = |reason: &str| ExportError::Model { what: "model".into(), reason: reason.to_owned() };
        let tensor =
            |name: String| model.container().tensor(&name).ok_or_else(|| broken(&format!("no {name}")));
        let (header, ops) = program(model)?;
        let mut weights = BTreeMap::new();
        for op in &ops {
            let stored = op.weights();
            let name = op.name();
            // Weights as they are multiplied; of 8 bits with the scale of each row.
            let matrix = |suffix: &str, scales: Option<&[f32]>| {
                tensor(format!("{name}.{suffix}")).map(|tensor| match tensor.dtype {
                    Dtype::I8 => scaled(tensor.data, scales),
                    _ => widen(tensor.data),
                })
            };
            let eights =
                |suffix: &str| tensor(format!("{name}.{suffix}")).map(|tensor| tensor.dtype == Dtype::I8);
            let singles = |suffix: &str| {
                let values =
                    |data: &[u8]| data.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
                tensor(format!("{name}.{suffix}")).map(|tensor| values(tensor.data))
            };
            let layer = match stored {
                None if op.layer().is_none() => None,
                None => {
                    let slope = matches!(op, Op::Activate(_));
                    let weight = singles(if slope { "slope" } else { "scale" })?;
                    let bias = if slope { Vec::new() } else { singles("bias")? };
                    Some(LayerWeights::new(weight, None, bias))
                }
                Some(Weights::Pair { .. }) => {
                    let (bias, scales) = split(singles("expand.bias")?, eights("expand.weight")?);
                    let expand = matrix("expand.weight", scales.as_deref())?;
                    let thin = matrix("thin.weight", None)?;
                    Some(LayerWeights { weight: thin, expand: Some(expand), bias, scales })
                }
                Some(Weights::Dense | Weights::Depthwise) => {
                    let (bias, scales) = split(singles("bias")?, eights("weight")?);
                    let weight = matrix("weight", scales.as_deref())?;
                    Some(LayerWeights { weight, expand: None, bias, scales })
                }
            };
            weights.extend(layer.map(|layer| (name.to_owned(), layer)));
        }
        let channels = 0..header.input.channels as usize;
        let (mean, std) = channels.map(|channel| header.normalisation(channel)).unzip();
        let normalization = Normalization { mean, std };
        Ok(Folded {
            input: header.input,
            input_kind: header.kind,
            output_kind: header.result,
            classes: header.classes,
            normalization,
            ops,
            weights,
        })
    }
}

/// Biases, and the scales that lie behind them where the weights have 8 bits.
fn split(mut biases: Vec<f32>, eights: bool) -> (Vec<f32>, Option<Vec<f32>>) {
    let scales = eights.then(|| biases.split_off(biases.len() / 2));
    (biases, scales)
}

/// Weights of 8 bits, each row times its scale; those of a thin half, which has none, times [`THIN`].
fn scaled(data: &[u8], scales: Option<&[f32]>) -> Vec<f32> {
    let columns = scales.map_or(data.len(), |scales| data.len() / scales.len().max(1)).max(1);
    let scale = |at: usize| scales.map_or(THIN as f32, |scales| scales[at / columns]);
    data.iter().enumerate().map(|(at, byte)| f32::from(byte.cast_signed()) * scale(at)).collect()
}

/// Values of little-endian f16.
fn widen(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
}
