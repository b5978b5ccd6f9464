//! From a model file back to its dense network and its ranks.

use std::collections::BTreeMap;

use lrpet_runtime::host::output_names;
use lrpet_runtime::model::program::PROGRAM_TENSOR;
use lrpet_runtime::model::{Header, Model, Op, Weights};

use super::ExportError;
use crate::network::{Layer, Network};

/// Header and operations of a model's program.
///
/// # Errors
/// [`ExportError::Model`] where it cannot be decoded, which a checked model rules out.
pub(super) fn program(model: &Model<'_>) -> Result<(Header, Vec<Op<String>>), ExportError> {
    let broken = |reason: String| ExportError::Model { what: "model".into(), reason };
    let tensor = model.container().tensor(PROGRAM_TENSOR);
    let bytes = tensor.ok_or_else(|| broken(format!("no {PROGRAM_TENSOR}")))?.data;
    let decode = |error: postcard::Error| broken(error.to_string());
    let (header, mut rest) = postcard::take_from_bytes::<Header>(bytes).map_err(decode)?;
    let mut ops = Vec::with_capacity(usize::from(header.ops));
    for _ in 0..header.ops {
        let (op, after) = postcard::take_from_bytes::<Op<String>>(rest).map_err(decode)?;
        rest = after;
        ops.push(op);
    }
    Ok((header, ops))
}

/// The dense network of a model, without the normalisations that are merged in it, and the rank of each pair, by name of layer.
///
/// # Errors
/// [`ExportError::Model`] where the program cannot be decoded, which a checked model rules out.
pub fn model_network(model: &Model<'_>) -> Result<(Network, BTreeMap<String, u64>), ExportError> {
    let (header, ops) = program(model)?;
    let mut ranks = BTreeMap::new();
    let dense = |mut op: Op<String>| {
        let name = op.name().to_owned();
        let weights = match &mut op {
            Op::Conv(conv) => Some(&mut conv.weights),
            Op::Linear(linear) => Some(&mut linear.weights),
            Op::GeneralConv(conv) => Some(&mut conv.weights),
            _ => None,
        };
        if let Some((weights, rank)) = weights.and_then(|weights| match *weights {
            Weights::Pair { rank } => Some((weights, rank)),
            _ => None,
        }) {
            *weights = Weights::Dense;
            ranks.insert(name, u64::from(rank));
        }
        Layer::new(op)
    };
    let layers = ops.into_iter().map(dense).collect();
    let name = model.metadata().find(|(key, _)| *key == "network");
    let name = name.map_or_else(|| "model".to_owned(), |(_, name)| name.to_string());
    let mut network = Network::new(name, header.input, header.classes, layers);
    (network.input_kind, network.output_kind) = (header.kind, header.result);
    if network.output_values().is_some() {
        network.output_names = output_names(model);
    }
    Ok((network, ranks))
}
