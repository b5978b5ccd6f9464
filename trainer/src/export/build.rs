//! From trained weights to the bytes of a verified model file, and back to a folded network.

use std::collections::BTreeMap;

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::program::PROGRAM_TENSOR;
use lrpet_runtime::model::{Header, Model, Op, Weights};

use super::evaluate::runtime_logits;
use super::file::{SelfCheck, serialize};
use super::folded::FactoredLayer;
use super::reference::{self, Storage};
use super::{Card, Checkpoint, ExportError, Folded, LayerWeights};
use crate::data::{Dataset, Normalization};
use crate::lrpet::RankPlan;
use crate::network::Network;

/// Samples of the self-check.
pub const SELF_CHECK_SAMPLES: usize = 4;

/// How far a logit of the runtime may be from the reference that rounds activations as the runtime does, as a
/// share of the largest logit (at least 1): sums in another order flip a rounding here and there, each 2⁻¹¹ of
/// an activation. A wrong kernel is off by far more.
const AGREEMENT: f64 = 5e-3;

/// What a model is made from.
#[derive(Debug, Clone, Copy)]
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
    /// Where the self-check's images come from (the test set); none for a model without self-check.
    pub samples: Option<&'a Dataset>,
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

/// Folds, factors, rounds, and lets the runtime compute the self-check's logits, which must be those of the f64
/// reference.
///
/// # Errors
/// Those of [`Folded::new`] and [`serialize`]; [`ExportError::Data`] where the samples are no images of this
/// network; [`ExportError::Activation`] where a sample leaves the range of f16; [`ExportError::Disagreement`]
/// where the runtime computes something else than the reference.
pub fn export(request: &Request<'_>) -> Result<Exported, ExportError> {
    let Request { network, checkpoint, plan, normalization, energy_transfer, card, samples } = *request;
    let (folded, layers) = Folded::new(network, checkpoint, plan, normalization.clone(), energy_transfer)?;
    let card = card.metadata(network, plan, &folded);
    let mut exported = Exported { folded, layers, card, self_check: None };
    let bytes = AlignedBytes::copy_of(&exported.to_bytes()?);
    let model = checked(bytes.as_slice(), "the exported model")?;
    if let Some(data) = samples {
        let samples = data.subset(&data.spread(SELF_CHECK_SAMPLES));
        let logits = runtime_logits(&model, &samples, |_| ())?;
        verify(&exported.folded.rounded(), &samples, logits.rows())?;
        exported.self_check = Some(SelfCheck { images: samples.images, logits: logits.values });
    }
    Ok(exported)
}

/// Checks a model file's bytes; the error names `what`.
///
/// # Errors
/// [`ExportError::Model`].
pub fn checked<'a>(bytes: &'a [u8], what: &str) -> Result<Model<'a>, ExportError> {
    Model::new_checked(bytes)
        .map_err(|error| ExportError::Model { what: what.to_owned(), reason: error.to_string() })
}

/// Holds logits of samples against the reference with f16 activations.
fn verify<'a>(
    network: &Folded,
    samples: &Dataset,
    logits: impl Iterator<Item = &'a [f32]>,
) -> Result<(), ExportError> {
    for (sample, found) in logits.enumerate() {
        let values = reference::values(network, &network.input_values(samples.image(sample)), Storage::F16);
        let finite = |values: &Vec<f64>| values.iter().all(|value| value.is_finite());
        if let Some(value) = values.iter().position(|values| !finite(values)) {
            let layer = value.checked_sub(1).map_or("input", |op| network.ops[op].name()).to_owned();
            return Err(ExportError::Activation { layer, sample });
        }
        let expected = values.last().map(Vec::as_slice).unwrap_or_default();
        let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        let difference =
            found.iter().zip(expected).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        let bound = AGREEMENT * scale;
        // The largest of differences passes over a NaN.
        if difference > bound || found.iter().any(|value| value.is_nan()) {
            return Err(ExportError::Disagreement { sample, difference, bound });
        }
    }
    Ok(())
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
        let decode = |error: postcard::Error| broken(&error.to_string());
        let program = tensor(PROGRAM_TENSOR.to_owned())?.data;
        let (header, mut rest) = postcard::take_from_bytes::<Header>(program).map_err(decode)?;
        let mut ops = Vec::with_capacity(usize::from(header.ops));
        let mut weights = BTreeMap::new();
        for _ in 0..header.ops {
            let (op, after) = postcard::take_from_bytes::<Op<String>>(rest).map_err(decode)?;
            rest = after;
            let stored = match &op {
                Op::Conv(conv) => Some(conv.weights),
                Op::Linear(linear) => Some(linear.weights),
                _ => None,
            };
            let name = op.name();
            let halves = |suffix: &str| tensor(format!("{name}.{suffix}")).map(|tensor| widen(tensor.data));
            let singles = |suffix: &str| {
                let values =
                    |data: &[u8]| data.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
                tensor(format!("{name}.{suffix}")).map(|tensor| values(tensor.data))
            };
            let layer = match stored {
                None => None,
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
            ops.push(op);
        }
        let channels = header.input.channels as usize;
        let normalization =
            Normalization { mean: header.mean[..channels].to_vec(), std: header.std[..channels].to_vec() };
        Ok(Folded { input: header.input, classes: header.classes, normalization, ops, weights })
    }
}

/// Values of little-endian f16.
fn widen(data: &[u8]) -> Vec<f32> {
    data.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
}
