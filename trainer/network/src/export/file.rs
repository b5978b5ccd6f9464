//! The model file: a folded network in safetensors, weights in f16, program, self-check and card.

use std::collections::{BTreeMap, BTreeSet};

use half::f16;
use lrpet_runtime::model::program::{
    PROGRAM_TENSOR, SELF_CHECK_IMAGES, SELF_CHECK_LOGITS, SELF_CHECK_TOLERANCE, SELF_CHECK_VALUES,
};
use lrpet_runtime::model::{Conv, GeneralConv, Header, InputKind, Needs, Op, OutputKind, Shape, is_scale};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Card, ExportError, Folded, LayerWeights};
use crate::Normalization;
use crate::checkpoint::CheckpointError;
use crate::lrpet::{RankPlan, Scope};
use crate::network::Network;
use crate::quantise::scale::{LARGEST_BYTE, THIN};

/// Samples of the self-check.
pub const SELF_CHECK_SAMPLES: usize = 4;

/// Images or values with the logits that a correct device computes from them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SelfCheck {
    /// Pixels, samples × H×W×C; none of a network that takes values.
    pub images: Vec<u8>,
    /// Values, samples × C×H×W, of a network that takes them.
    pub values: Vec<f16>,
    /// Logits, samples × classes.
    pub logits: Vec<f32>,
    /// What roundings may move a logit, of each sample; without them a device takes the usual
    /// ([`USUAL_TOLERANCE`](lrpet_runtime::check::USUAL_TOLERANCE)).
    pub tolerances: Option<Vec<f32>>,
}

impl SelfCheck {
    /// Of so many samples, all zero, for a network of this input and number of logits.
    pub fn zeros(kind: InputKind, samples: usize, input: Shape, classes: usize) -> SelfCheck {
        let (inputs, values) = (samples * input.len(), kind == InputKind::Values);
        SelfCheck {
            images: vec![0; if values { 0 } else { inputs }],
            values: vec![f16::ZERO; if values { inputs } else { 0 }],
            logits: vec![0.0; samples * classes],
            tolerances: Some(vec![0.0; samples]),
        }
    }

    /// Magnitude of the largest of each sample's `classes` logits, at least 1.
    pub fn largest(&self, classes: usize) -> impl Iterator<Item = f32> {
        self.logits.chunks_exact(classes).map(|row| row.iter().fold(1.0, |most, logit| logit.abs().max(most)))
    }

    /// Largest share of a sample's largest logit (at least 1) that its tolerance takes; 0 without tolerances.
    pub fn blur(&self, classes: usize) -> f32 {
        let tolerances = self.tolerances.iter().flatten();
        tolerances
            .zip(self.largest(classes))
            .fold(0.0, |most, (tolerance, largest)| most.max(tolerance / largest))
    }
}

/// A tensor as bytes.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// Serialises a model: the same arguments give the same bytes.
///
/// The data of f32 tensors comes first, then f16, then bytes, from an offset that is a multiple of 8: every
/// tensor is aligned to its elements.
///
/// # Errors
/// [`ExportError::Overflow`], [`CheckpointError::NotFinite`], and [`ExportError::Format`] where the network has
/// more than the format holds.
pub fn serialize(
    network: &Folded,
    card: &BTreeMap<String, String>,
    self_check: Option<&SelfCheck>,
) -> Result<Vec<u8>, ExportError> {
    let mut tensors = weights(network)?;
    let program = network.program()?;
    tensors.insert(
        PROGRAM_TENSOR.to_owned(),
        Bytes { dtype: Dtype::U8, shape: vec![program.len()], data: program },
    );
    if let Some(check) = self_check {
        let (input, classes) = (network.input, network.classes as usize);
        let samples = check.logits.len() / classes;
        let [channels, height, width] = [input.channels, input.height, input.width].map(|size| size as usize);
        let (name, inputs) = match network.input_kind {
            InputKind::Picture => {
                let shape = vec![samples, height, width, channels];
                (SELF_CHECK_IMAGES, Bytes { dtype: Dtype::U8, shape, data: check.images.clone() })
            }
            InputKind::Values => {
                let shape = vec![samples, channels, height, width];
                let data = check.values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (SELF_CHECK_VALUES, Bytes { dtype: Dtype::F16, shape, data })
            }
        };
        tensors.insert(name.to_owned(), inputs);
        let shape = vec![samples, classes];
        tensors.insert(SELF_CHECK_LOGITS.to_owned(), singles(SELF_CHECK_LOGITS, shape, &check.logits)?);
        if let Some(tolerances) = &check.tolerances {
            let tolerances = singles(SELF_CHECK_TOLERANCE, vec![samples], tolerances)?;
            tensors.insert(SELF_CHECK_TOLERANCE.to_owned(), tolerances);
        }
    }
    let format = |error: safetensors::SafeTensorError| ExportError::Format(error.to_string());
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data).map_err(format)?;
        views.push((name, view));
    }
    with_card(&safetensors::serialize(views, None).map_err(format)?, card)
}

/// Bytes of a model file of `network` that are neither weights nor biases: header with `card`, program, self-check; with the layers of
/// `plan` as pairs, and those of `eights` with weights of 8 bits, whose scales count as weights.
///
/// # Errors
/// [`ExportError::Format`] where the network has more than the format holds.
pub fn overhead(
    network: &Network,
    plan: &RankPlan,
    eights: &BTreeSet<String>,
    card: &Card,
) -> Result<u64, ExportError> {
    let channels = network.input.channels as usize;
    // As many digits as a measured mean or deviation has.
    let normalization =
        Normalization { mean: vec![0.123_456_79; channels], std: vec![0.123_456_79; channels] };
    let mut folded = Folded::zeros(network, plan, normalization);
    for (_, weights) in folded.weights.iter_mut().filter(|(name, _)| eights.contains(*name)) {
        weights.scales = Some(vec![1.0; weights.bias.len()]);
    }
    let card = Card { accuracy: Some(0.5), ..card.clone() };
    let (kind, classes) = (network.input_kind, network.classes as usize);
    let check = SelfCheck::zeros(kind, SELF_CHECK_SAMPLES, network.input, classes);
    let bytes = serialize(&folded, &card.metadata(network, plan, &folded), Some(&check))?;
    Ok((bytes.len() as u64).saturating_sub(plan.cost().weight_bytes - folded.bytes_saved()))
}

/// As [`overhead`], before ranks are known: at least what a plan of f16 takes.
///
/// # Errors
/// As [`overhead`].
pub fn most_overhead(network: &Network, card: &Card) -> Result<u64, ExportError> {
    let plan = RankPlan::uniform_in(network, 0.5, Scope::All)?;
    let card = Card { prune: "energy 0.123456789 (linear layers too)".to_owned(), ..card.clone() };
    overhead(network, &plan, &BTreeSet::new(), &card)
}

/// Puts the card into the header of a safetensors file. The crate would write the strings in the order of a
/// hash table, which changes from run to run.
fn with_card(file: &[u8], card: &BTreeMap<String, String>) -> Result<Vec<u8>, ExportError> {
    let format = |reason: &str| ExportError::Format(reason.to_owned());
    let (length, rest) = file.split_first_chunk::<8>().ok_or_else(|| format("no header"))?;
    let (header, data) = rest
        .split_at_checked(u64::from_le_bytes(*length) as usize)
        .ok_or_else(|| format("the header is cut off"))?;
    let entries = header.strip_prefix(b"{").ok_or_else(|| format("the header is no object"))?;
    let card = serde_json::to_string(card).map_err(|error| ExportError::Format(error.to_string()))?;
    let mut header = format!("{{\"__metadata__\":{card},").into_bytes();
    header.extend(entries.trim_ascii_end());
    // The data begins at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, data].concat())
}

/// Tensors of all layers.
fn weights(network: &Folded) -> Result<BTreeMap<String, Bytes>, ExportError> {
    let shapes = network.value_shapes();
    let mut tensors = BTreeMap::new();
    for (index, op) in network.ops.iter().enumerate() {
        let Some(layer) = network.weights.get(op.name()) else { continue };
        let name = op.name();
        let n = shapes[index + 1].channels as usize;
        if op.weights().is_none() {
            let slope = matches!(op, Op::Activate(_));
            let mut add = |suffix: &str, values: &[f32]| {
                let name = format!("{name}.{suffix}");
                singles(&name, vec![values.len()], values).map(|tensor| tensors.insert(name, tensor))
            };
            add(if slope { "slope" } else { "scale" }, &layer.weight)?;
            if !slope {
                add("bias", &layer.bias)?;
            }
            continue;
        }
        let rows = layer.expand.as_ref().map_or(n, |expand| expand.len() / n);
        // Axes after the rows: channels and taps, or features.
        let axes: Vec<usize> = match op {
            Op::Conv(Conv { window, .. }) | Op::GeneralConv(GeneralConv { window, .. }) => {
                let [height, width] = window.kernel.map(usize::from);
                vec![layer.weight.len() / rows / (height * width), height, width]
            }
            _ => vec![layer.weight.len() / rows],
        };
        let mut add = |suffix: &str, tensor: &dyn Fn(&str) -> Result<Bytes, ExportError>| {
            let name = format!("{name}.{suffix}");
            tensor(&name).map(|tensor| tensors.insert(name, tensor))
        };
        let shape = [&[rows][..], &axes].concat();
        match &layer.expand {
            None => {
                add("weight", &|name| matrix(name, shape.clone(), &layer.weight, layer.scales.as_deref()))?;
                add("bias", &|name| biases(name, layer))?;
            }
            Some(expand) => {
                let ones = if axes.len() > 1 { &[1, 1][..] } else { &[] };
                let thin = layer.scales.as_ref().map(|_| vec![THIN as f32; rows]);
                add("thin.weight", &|name| matrix(name, shape.clone(), &layer.weight, thin.as_deref()))?;
                let shape = [&[n, rows], ones].concat();
                add("expand.weight", &|name| matrix(name, shape.clone(), expand, layer.scales.as_deref()))?;
                add("expand.bias", &|name| biases(name, layer))?;
            }
        }
    }
    Ok(tensors)
}

/// The tensor of a matrix: of f16, or of bytes where its rows have scales.
fn matrix(
    name: &str,
    shape: Vec<usize>,
    values: &[f32],
    scales: Option<&[f32]>,
) -> Result<Bytes, ExportError> {
    let Some(scales) = scales else { return halves(name, shape, values) };
    finite(name, values)?;
    let columns = values.len() / scales.len().max(1);
    let mut data = Vec::with_capacity(values.len());
    for (row, (values, &scale)) in values.chunks_exact(columns.max(1)).zip(scales).enumerate() {
        let bytes = values.iter().map(|value| value / scale);
        let exact = |byte: f32| byte.fract() == 0.0 && byte.abs() <= f32::from(LARGEST_BYTE);
        if !(is_scale(scale) && bytes.clone().all(exact)) {
            let reason = format!(
                "tensor {name}: row {row} is no row of bytes times a scale that weights of 8 bits have"
            );
            return Err(ExportError::Format(reason));
        }
        data.extend(bytes.map(|byte| (byte as i8).cast_unsigned()));
    }
    Ok(Bytes { dtype: Dtype::I8, shape, data })
}

/// The tensor of a layer's biases, and of its scales where its weights have 8 bits.
fn biases(name: &str, layer: &LayerWeights) -> Result<Bytes, ExportError> {
    let n = layer.bias.len();
    match &layer.scales {
        None => singles(name, vec![n], &layer.bias),
        Some(scales) => singles(name, vec![2, n], &[&layer.bias[..], scales].concat()),
    }
}

/// An f16 tensor.
fn halves(name: &str, shape: Vec<usize>, values: &[f32]) -> Result<Bytes, ExportError> {
    finite(name, values)?;
    let rounded: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
    if let Some(at) = rounded.iter().position(|value| value.is_infinite()) {
        return Err(ExportError::Overflow { tensor: name.to_owned(), value: values[at] });
    }
    Ok(Bytes {
        dtype: Dtype::F16,
        shape,
        data: rounded.iter().flat_map(|value| value.to_le_bytes()).collect(),
    })
}

/// An f32 tensor.
fn singles(name: &str, shape: Vec<usize>, values: &[f32]) -> Result<Bytes, ExportError> {
    finite(name, values)?;
    Ok(Bytes {
        dtype: Dtype::F32,
        shape,
        data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    })
}

fn finite(name: &str, values: &[f32]) -> Result<(), ExportError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(element) => Err(CheckpointError::NotFinite { tensor: name.to_owned(), element }.into()),
        None => Ok(()),
    }
}

impl Folded {
    /// Bytes of the program: header, then the operations, in postcard's format.
    pub(crate) fn program(&self) -> Result<Vec<u8>, ExportError> {
        let postcard = |error: postcard::Error| ExportError::Format(error.to_string());
        let mut bytes = postcard::to_allocvec(&self.header()?).map_err(postcard)?;
        for op in &self.ops {
            bytes.extend(postcard::to_allocvec(op).map_err(postcard)?);
        }
        Ok(bytes)
    }

    /// The head of the program, in the first version of the format that holds it.
    pub(super) fn header(&self) -> Result<Header, ExportError> {
        let format = |reason: String| ExportError::Format(reason);
        let Normalization { mean, std } = &self.normalization;
        // Values have no normalisation.
        let (mean, std) = match self.input_kind {
            InputKind::Picture => (mean.as_slice(), std.as_slice()),
            InputKind::Values => (&[0.0][..], &[1.0][..]),
        };
        let header = Header::classifier(self.input, mean, std, self.classes).ok_or_else(|| {
            format(format!(
                "{} input channels with a mean and a deviation each are more than a program holds; one of all will do",
                self.input.channels
            ))
        })?;
        let output = self.value_shapes().last().copied().unwrap_or(self.input);
        let (kind, result) = (self.input_kind, self.output_kind);
        let output = if result == OutputKind::Values { output } else { header.output };
        let eights = self.weights.values().any(|weights| weights.scales.is_some());
        let needs = if eights { Needs::EIGHTS } else { Needs::NONE };
        let header = Header { kind, result, output, needs, ..header };
        header
            .of_ops(&self.ops)
            .ok_or_else(|| format(format!("{} operations are more than a program holds", self.ops.len())))
    }
}
