//! Costs of a model file, layer by layer, beside those of the dense network that it replaces.

use std::collections::BTreeMap;

use lrpet_runtime::format::Dtype;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::cost::{self, BIAS_BYTES, Cost, Matrix, WEIGHT_BYTES};
use lrpet_runtime::model::{Header, Model, Op, PoolKind, Program, Shape, Weights};
use lrpet_runtime::plan::Plan;
use serde::Serialize;

use crate::export::ExportError;

/// One operation and its costs.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCost {
    /// Name of the layer, or what it does.
    pub name: String,
    /// `conv`, `pair`, `depthwise`, `linear`, `linear pair`, `max pool`, `average pool`, `global average pool`,
    /// `shortcut`, `add` or `concat`.
    pub kind: &'static str,
    /// Shape of the input: channels, height, width.
    pub input: [u32; 3],
    /// Shape of the output: channels, height, width.
    pub output: [u32; 3],
    /// Bits of a weight, where the layer has some.
    pub bits: Option<u8>,
    /// Rank of a pair.
    pub rank: Option<u64>,
    /// Number of singular values of the layer's matrix.
    pub max_rank: Option<u64>,
    /// Multiply-adds as stored.
    pub macs: u64,
    /// Multiply-adds of the dense layer.
    pub macs_dense: u64,
    /// Weights as stored, without biases.
    pub params: u64,
    /// Weights of the dense layer.
    pub params_dense: u64,
    /// Bytes of weights and biases as stored.
    pub weight_bytes: u64,
    /// Bytes of weights and biases of the dense layer.
    pub weight_bytes_dense: u64,
}

/// A model file, described.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Network, as the card says.
    pub network: String,
    /// Bytes of the file.
    pub file_bytes: usize,
    /// Input image: channels, height, width.
    pub input: [u32; 3],
    /// Number of logits.
    pub classes: u32,
    /// Multiply-adds of one inference.
    pub macs: u64,
    /// Of the dense network.
    pub macs_dense: u64,
    /// Multiply-adds of the factored layers alone.
    pub macs_factored: u64,
    /// Of the dense layers in their place.
    pub macs_factored_dense: u64,
    /// Weights, without biases.
    pub params: u64,
    /// Of the dense network.
    pub params_dense: u64,
    /// Bytes of weights and biases.
    pub weight_bytes: u64,
    /// Of the dense network.
    pub weight_bytes_dense: u64,
    /// Instruction set for which the arena is planned.
    pub isa: &'static str,
    /// RAM for activations, scratch and table, exactly.
    pub arena_bytes: usize,
    /// Of the dense network.
    pub arena_bytes_dense: usize,
    /// Of `arena_bytes`, the table of steps.
    pub table_bytes: usize,
    /// Of `arena_bytes`, activations at the peak.
    pub activation_bytes: usize,
    /// Of `arena_bytes`, scratch at the peak.
    pub scratch_bytes: usize,
    /// Layer at which memory peaks.
    pub peak_layer: String,
    /// Samples of the self-check.
    pub self_check_samples: usize,
    /// Every operation in order of execution.
    pub layers: Vec<LayerCost>,
    /// The model card.
    pub card: BTreeMap<String, String>,
}

/// Describes `model`, planned for `isa`.
///
/// # Errors
/// [`ExportError::Model`] where the model is too large to plan.
pub fn inspect(model: &Model<'_>, isa: Isa) -> Result<Inspection, ExportError> {
    let program = model.program();
    let broken = |reason: String| ExportError::Model { what: "model".into(), reason };
    let plan = Plan::new(program, isa).map_err(|error| broken(error.to_string()))?;
    let twin = dense_twin(program).map_err(|error| broken(error.to_string()))?;
    let twin = Program::new_checked(&twin).map_err(|error| broken(error.to_string()))?;
    let twin = Plan::new(&twin, isa).map_err(|error| broken(error.to_string()))?;

    let card: BTreeMap<String, String> =
        model.metadata().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let (mut stored, mut dense) = (Cost::default(), Cost::default());
    let (mut macs_factored, mut macs_factored_dense) = (0, 0);
    let mut layers = Vec::new();
    for layer in program.layers() {
        let (own, full) = (cost::stored(&layer.op, layer.input), cost::dense(&layer.op, layer.input));
        let (own, bits) = with_bits(model, &layer.op, own);
        stored += own;
        dense += full;
        let rank = rank(&layer.op);
        if rank.is_some() {
            macs_factored += own.macs;
            macs_factored_dense += full.macs;
        }
        let axes = |shape: Shape| [shape.channels, shape.height, shape.width];
        layers.push(LayerCost {
            name: layer.op.name().to_owned(),
            kind: kind(&layer.op),
            input: axes(layer.input),
            output: axes(layer.output),
            bits,
            rank,
            max_rank: Matrix::of(&layer.op, layer.input).map(|matrix| matrix.rows.min(matrix.columns)),
            macs: own.macs,
            macs_dense: full.macs,
            params: own.params,
            params_dense: full.params,
            weight_bytes: own.weight_bytes,
            weight_bytes_dense: full.weight_bytes,
        });
    }
    let Header { input, classes, .. } = *program.header();
    Ok(Inspection {
        network: card.get("network").cloned().unwrap_or_default(),
        file_bytes: model.bytes().len(),
        input: [input.channels, input.height, input.width],
        classes,
        macs: stored.macs,
        macs_dense: dense.macs,
        macs_factored,
        macs_factored_dense,
        params: stored.params,
        params_dense: dense.params,
        weight_bytes: stored.weight_bytes,
        weight_bytes_dense: dense.weight_bytes,
        isa: isa.name(),
        arena_bytes: plan.arena_bytes,
        arena_bytes_dense: twin.arena_bytes,
        table_bytes: plan.table_bytes,
        activation_bytes: plan.activation_bytes,
        scratch_bytes: plan.scratch_bytes,
        peak_layer: layers.get(plan.peak_layer).map(|layer| layer.name.clone()).unwrap_or_default(),
        self_check_samples: model.self_check().map_or(0, |check| check.samples()),
        layers,
        card,
    })
}

/// What an operation costs as it is stored, and the bits of its weights: `cost` is that of f16.
fn with_bits<N: AsRef<str>>(model: &Model<'_>, op: &Op<N>, cost: Cost) -> (Cost, Option<u8>) {
    let Some(weights) = op.weights() else { return (cost, None) };
    let name = op.layer().map_or("", AsRef::as_ref);
    let last = if matches!(weights, Weights::Pair { .. }) { "expand.weight" } else { "weight" };
    let tensor = model.container().tensor(&format!("{name}.{last}"));
    match tensor.filter(|tensor| tensor.dtype == Dtype::I8) {
        Some(tensor) => {
            // A byte in place of two for each weight, and a scale for each row.
            let rows = tensor.shape.as_slice().first().copied().map_or(0, u64::from);
            let weight_bytes = cost.weight_bytes - cost.params * (WEIGHT_BYTES - 1) + BIAS_BYTES * rows;
            (Cost { weight_bytes, ..cost }, Some(8))
        }
        None => (cost, Some(16)),
    }
}

/// The program with every pair replaced by the dense layer.
fn dense_twin(program: &Program<'_>) -> postcard::Result<Vec<u8>> {
    let mut bytes = postcard::to_allocvec(program.header())?;
    for layer in program.layers() {
        let mut op = layer.op;
        match &mut op {
            Op::Conv(conv) if rank_of(conv.weights).is_some() => conv.weights = Weights::Dense,
            Op::Linear(linear) if rank_of(linear.weights).is_some() => linear.weights = Weights::Dense,
            _ => {}
        }
        bytes.extend(postcard::to_allocvec(&op)?);
    }
    Ok(bytes)
}

fn rank_of(weights: Weights) -> Option<u64> {
    Some(cost::rank_of(weights)).filter(|rank| *rank > 0)
}

fn rank<N: AsRef<str>>(op: &Op<N>) -> Option<u64> {
    op.weights().and_then(rank_of)
}

fn kind<N: AsRef<str>>(op: &Op<N>) -> &'static str {
    match op {
        Op::Conv(conv) => match conv.weights {
            Weights::Dense => "conv",
            Weights::Pair { .. } => "pair",
            Weights::Depthwise => "depthwise",
        },
        Op::Linear(linear) if rank_of(linear.weights).is_some() => "linear pair",
        Op::Linear(_) => "linear",
        Op::Pool(pool) if pool.kind == PoolKind::Max => "max pool",
        Op::Pool(_) => "average pool",
        Op::GlobalAveragePool { .. } => "global average pool",
        Op::PadShortcut(_) => "shortcut",
        Op::Add { .. } => "add",
        Op::Concat(_) => "concat",
        general => general.kind(),
    }
}
