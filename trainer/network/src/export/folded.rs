//! The network as the device runs it: batch normalisation merged, layers factored, still in f32.

use std::collections::BTreeMap;

use half::f16;
use lrpet_runtime::model::{InputKind, Op, OutputKind, Shape};
use rayon::prelude::*;

use super::ExportError;
use crate::Checkpoint;
use crate::Normalization;
use crate::lrpet::rank::PlannedLayer;
use crate::lrpet::{Factors, RankPlan, Spectrum, bn_scale};
use crate::network::Network;

/// Weights of one layer of a folded network, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerWeights {
    /// Dense `[n, c, kh, kw]`, depthwise `[n, 1, kh, kw]` or thin `[r, c, kh, kw]`; scale or slope `[c]` where there is no matrix.
    pub weight: Vec<f32>,
    /// Expand `[n, r]` of a pair.
    pub expand: Option<Vec<f32>>,
    /// Bias `[n]`.
    pub bias: Vec<f32>,
    /// Scale of each row `[n]` where the weights have 8 bits ([`quantise`](crate::quantise)): each is a byte times the scale of its row,
    /// in a thin half a byte / 128.
    pub scales: Option<Vec<f32>>,
}

impl LayerWeights {
    /// Weights and biases, in f16 and f32.
    pub fn new(weight: Vec<f32>, expand: Option<Vec<f32>>, bias: Vec<f32>) -> LayerWeights {
        LayerWeights { weight, expand, bias, scales: None }
    }

    /// Bytes in a model file of weights, biases and scales of a layer with a matrix.
    pub fn bytes(&self) -> u64 {
        let weights = self.weight.len() + self.expand.as_ref().map_or(0, Vec::len);
        let (bytes, scales) = self.scales.as_ref().map_or((2, 0), |scales| (1, scales.len()));
        (bytes * weights + 4 * (self.bias.len() + scales)) as u64
    }
}

/// A network without batch normalisation, in the operations of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// Shape of the input image.
    pub input: Shape,
    /// What the input is.
    pub input_kind: InputKind,
    /// What the result is.
    pub output_kind: OutputKind,
    /// Number of logits, or of the result's values.
    pub classes: u32,
    /// How pixels become the input.
    pub normalization: Normalization,
    /// The operations, with pairs where layers were factored.
    pub ops: Vec<Op<String>>,
    /// Weights by name of layer.
    pub weights: BTreeMap<String, LayerWeights>,
}

/// What factoring a layer kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FactoredLayer {
    /// Name of the layer.
    pub name: String,
    /// Rank of the pair.
    pub rank: usize,
    /// Share of the energy of the BN-rectified weight that the factors keep, 0 to 1, before any transfer.
    pub energy_kept: f64,
}

impl Folded {
    /// Merges batch normalisation and factors the layers of `plan`.
    ///
    /// A row of a dense layer becomes α·w with bias β + α·(b − μ); a pair factors diag(α)·M, so its expand
    /// already has α. With `energy_transfer` each pair gets the whole energy of its layer (for weights that
    /// were never projected).
    ///
    /// # Errors
    /// Those of [`Checkpoint::check`], and [`ExportError::Lrpet`].
    pub fn new(
        network: &Network,
        checkpoint: &Checkpoint,
        plan: &RankPlan,
        normalization: Normalization,
        energy_transfer: bool,
    ) -> Result<(Folded, Vec<FactoredLayer>), ExportError> {
        checkpoint.check(network)?;
        let fold = |layer: &PlannedLayer| -> Result<_, ExportError> {
            let name = &layer.name;
            let merged = Merged::new(network, layer.index, checkpoint);
            let Some(rank) = layer.rank else {
                return Ok((name.clone(), merged.dense(), None));
            };
            let (rows, alpha) = (merged.bias.len(), merged.alpha.as_deref());
            let factors =
                Factors::of_weight(name, merged.weight, rows, alpha, rank as usize, energy_transfer)?;
            let report =
                FactoredLayer { name: name.clone(), rank: factors.rank, energy_kept: factors.energy_kept };
            let weights = LayerWeights::new(factors.thin, Some(factors.expand), merged.bias);
            Ok((name.clone(), weights, Some(report)))
        };
        let layers: Vec<_> = plan.layers.par_iter().map(fold).collect();
        let (mut weights, mut reports) = (BTreeMap::new(), Vec::new());
        for layer in layers {
            let (name, layer, report) = layer?;
            weights.insert(name, layer);
            reports.extend(report);
        }
        for op in network.layers.iter().map(|layer| &layer.op) {
            let (Some(name), None) = (op.layer(), op.weights()) else { continue };
            let values = |suffix: &str| checkpoint.values(&format!("{name}.{suffix}")).map(<[f32]>::to_vec);
            let first = if matches!(op, Op::Activate(_)) { "slope" } else { "scale" };
            let weight = values(first).unwrap_or_default();
            let bias = values("bias").unwrap_or_default();
            weights.insert(name.clone(), LayerWeights::new(weight, None, bias));
        }
        let (input, classes) = (network.input, network.classes);
        let (input_kind, output_kind) = (network.input_kind, network.output_kind);
        Ok((
            Folded {
                input,
                input_kind,
                output_kind,
                classes,
                normalization,
                ops: plan.apply(network),
                weights,
            },
            reports,
        ))
    }

    /// `network` at the ranks of `plan`, all weights zero.
    pub fn zeros(network: &Network, plan: &RankPlan, normalization: Normalization) -> Folded {
        let weights = plan.layers.iter().map(|layer| {
            let (rows, columns) = (layer.matrix.rows as usize, layer.matrix.columns as usize);
            let rank = layer.rank.map(|rank| rank as usize);
            let weights = LayerWeights::new(
                vec![0.0; rank.unwrap_or(rows) * columns],
                rank.map(|rank| vec![0.0; rows * rank]),
                vec![0.0; rows],
            );
            (layer.name.clone(), weights)
        });
        let shapes = network.value_shapes().expect("a network built by the network module chains");
        let singles = network.layers.iter().filter_map(|layer| {
            let (name, None) = (layer.op.layer()?, layer.op.weights()) else { return None };
            let channels = shapes[usize::from(layer.op.inputs().first())].channels as usize;
            let bias = if matches!(layer.op, Op::Activate(_)) { 0 } else { channels };
            Some((name.clone(), LayerWeights::new(vec![0.0; channels], None, vec![0.0; bias])))
        });
        let weights = weights.chain(singles);
        Folded {
            input: network.input,
            input_kind: network.input_kind,
            output_kind: network.output_kind,
            classes: network.classes,
            normalization,
            ops: plan.apply(network),
            weights: weights.collect(),
        }
    }

    /// The same network with every weight rounded to f16, as the model file holds it.
    pub fn rounded(&self) -> Folded {
        let round = |values: &[f32]| values.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
        let layer = |layer: &LayerWeights| LayerWeights {
            weight: round(&layer.weight),
            expand: layer.expand.as_deref().map(round),
            bias: layer.bias.clone(),
            // Its weights are f16 already.
            scales: layer.scales.clone(),
        };
        // Numbers for each channel stay f32.
        let single =
            |name: &String| self.ops.iter().any(|op| op.layer() == Some(name) && op.weights().is_none());
        let one = |(name, weights): (&String, &LayerWeights)| {
            (name.clone(), if single(name) { weights.clone() } else { layer(weights) })
        };
        Folded { weights: self.weights.iter().map(one).collect(), ..self.clone() }
    }

    /// Bytes that weights of 8 bits save.
    pub fn bytes_saved(&self) -> u64 {
        let wide = |weights: &LayerWeights| LayerWeights { scales: None, ..weights.clone() }.bytes();
        let eights = self.weights.values().filter(|weights| weights.scales.is_some());
        eights.map(|weights| wide(weights).saturating_sub(weights.bytes())).sum()
    }

    /// The values of an image (H×W×C bytes), normalised, C×H×W.
    pub fn input_values(&self, image: &[u8]) -> Vec<f32> {
        self.normalization.values(image, self.input)
    }

    /// Shapes of all values, the input first.
    pub fn value_shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![self.input];
        for op in &self.ops {
            let output = op.output_shape(shapes[usize::from(op.inputs().first())]);
            shapes.push(output.expect("the network's layers chain, and ranks do not change shapes"));
        }
        shapes
    }
}

/// Spectrum of the BN-rectified weight of every layer of `network`, by name: for ranks by energy.
///
/// # Errors
/// Those of [`Checkpoint::check`], and [`ExportError::Lrpet`].
pub fn spectra(
    network: &Network,
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<String, Spectrum>, ExportError> {
    checkpoint.check(network)?;
    let spectrum = |(index, name, _): (usize, &str, _)| {
        let merged = Merged::new(network, index, checkpoint);
        let spectrum = Spectrum::new(name, merged.weight, merged.bias.len(), merged.alpha.as_deref())?;
        Ok((name.to_owned(), spectrum))
    };
    network.matrices().into_iter().map(spectrum).collect()
}

/// Weights of every layer of `network` with a matrix, by name, dense, with batch normalisation merged.
///
/// # Errors
/// Those of [`Checkpoint::check`].
pub fn merged(
    network: &Network,
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<String, LayerWeights>, ExportError> {
    checkpoint.check(network)?;
    let one = |(index, name, _): (usize, &str, _)| {
        (name.to_owned(), Merged::new(network, index, checkpoint).dense())
    };
    Ok(network.matrices().into_iter().map(one).collect())
}

/// A layer's weight with the scale and bias of the normalisation that follows.
struct Merged<'a> {
    weight: &'a [f32],
    alpha: Option<Vec<f64>>,
    bias: Vec<f32>,
}

impl<'a> Merged<'a> {
    /// `checkpoint` has passed its check against `network`.
    fn new(network: &Network, index: usize, checkpoint: &'a Checkpoint) -> Merged<'a> {
        let layer = &network.layers[index];
        let name = layer.op.name();
        let values = |name: &str| checkpoint.values(name).unwrap_or_default();
        let weight = values(&format!("{name}.weight"));
        let own_bias = checkpoint.values(&format!("{name}.bias"));
        let rows = checkpoint.tensors.get(&format!("{name}.weight")).map_or(0, |array| array.shape[0]);
        // A normalisation without tensors is in weight and bias already.
        let norm = layer.norm.as_ref().filter(|norm| checkpoint.values(&norm.variance()).is_some());
        let Some(norm) = norm else {
            let bias = own_bias.map_or_else(|| vec![0.0; rows], <[f32]>::to_vec);
            return Merged { weight, alpha: None, bias };
        };
        let affine = |name: Option<String>, usual: f32| {
            name.map_or_else(|| vec![usual; rows], |name| values(&name).to_vec())
        };
        let (gamma, beta) = (affine(norm.gamma(), 1.0), affine(norm.beta(), 0.0));
        let alpha = bn_scale(&gamma, values(&norm.variance()), norm.epsilon);
        let mean = values(&norm.mean());
        let bias = (0..alpha.len()).map(|row| {
            let own = own_bias.map_or(0.0, |bias| f64::from(bias[row]));
            (f64::from(beta[row]) + alpha[row] * (own - f64::from(mean[row]))) as f32
        });
        Merged { weight, bias: bias.collect(), alpha: Some(alpha) }
    }

    fn dense(self) -> LayerWeights {
        let columns = self.weight.len() / self.bias.len();
        let scaled = |(at, &value): (usize, &f32)| match &self.alpha {
            Some(alpha) => (alpha[at / columns] * f64::from(value)) as f32,
            None => value,
        };
        let weight = self.weight.iter().enumerate().map(scaled).collect();
        LayerWeights::new(weight, None, self.bias)
    }
}
