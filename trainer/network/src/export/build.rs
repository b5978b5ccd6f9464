//! From trained weights to the bytes of a verified model file, and back to a folded network.

use std::collections::BTreeMap;

use half::f16;
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
    /// Normal random values ([`values::samples`]), for a network that takes no picture; a self-check holds pictures, so the file gets none.
    Values,
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

/// Folds, factors, rounds, and lets the runtime compute the self-check's logits: every value of every layer must be the reference's
/// up to the roundings of its own sums ([`Reference::check`]).
///
/// # Errors
/// Those of [`Folded::new`] and [`serialize`]; [`ExportError::Data`] where the samples are no images of this
/// network; [`ExportError::Activation`] where a sample leaves the range of f16; [`ExportError::Disagreement`]
/// where the runtime computes something else than the reference.
pub fn export(request: &Request<'_>) -> Result<Exported, ExportError> {
    let Request { network, checkpoint, plan, normalization, energy_transfer, card, samples } = *request;
    let (folded, layers) = Folded::new(network, checkpoint, plan, normalization.clone(), energy_transfer)?;
    let card = card.metadata(network, plan, &folded);
    let mut exported = Exported { folded, layers, card, self_check: None, ranges: Ranges::default() };
    let bytes = AlignedBytes::copy_of(&exported.to_bytes()?);
    let model = checked(bytes.as_slice(), "the exported model")?;
    match samples {
        None => {}
        Some(Samples::Images { data, machine }) => {
            check_data(&model, data)?;
            let samples = data.subset(&data.spread(SELF_CHECK_SAMPLES));
            let (check, ranges) = self_check(&exported.folded.rounded(), &model, samples, machine)?;
            (exported.self_check, exported.ranges) = (Some(check), ranges);
        }
        Some(Samples::Values) => {
            let inputs = values::samples(network.input, SELF_CHECK_SAMPLES);
            exported.ranges = values::hold(&exported.folded.rounded(), &model, &inputs)?;
        }
    }
    Ok(exported)
}

/// The runtime's logits of `samples`, held against the reference, with what roundings may move them, and how far values go.
fn self_check(
    network: &Folded,
    model: &Model<'_>,
    samples: Dataset,
    machine: &dyn Machine,
) -> Result<(SelfCheck, Ranges), ExportError> {
    let reference = Reference::new(network);
    let (mut logits, mut last, mut ranges) = (Vec::new(), Vec::new(), Ranges::default());
    for sample in 0..samples.len() {
        let image = samples.image(sample);
        // The file has what every machine computes alike, every product made.
        let trace = Trace::of(model, image, Method::Direct)?;
        last.push(reference.check(sample, image, &trace)?);
        let fastest = Trace::of(model, image, Method::Fastest)?;
        if fastest.tiles.iter().any(Option::is_some) {
            reference.check(sample, image, &fastest)?;
        }
        trace.stored.iter().enumerate().for_each(|(layer, values)| ranges.stored(layer, values));
        logits.extend(trace.logits);
    }
    let mut tolerances = noise::tolerances(network, &samples, &last, machine)?;
    let mut check = SelfCheck { images: samples.images, logits, tolerances: None };
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
            let halves = |suffix: &str| tensor(format!("{name}.{suffix}")).map(|tensor| widen(tensor.data));
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
                    Some(LayerWeights { weight, expand: None, bias })
                }
                Some(Weights::Pair { .. }) => Some(LayerWeights {
                    weight: halves("thin.weight")?,
                    expand: Some(halves("expand.weight")?),
                    bias: singles("expand.bias")?,
                }),
                Some(Weights::Dense | Weights::Depthwise) => {
                    Some(LayerWeights { weight: halves("weight")?, expand: None, bias: singles("bias")? })
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

/// Values of little-endian f16.
fn widen(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
}
