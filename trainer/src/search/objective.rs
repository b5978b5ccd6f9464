//! What a rank of a layer is worth.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use super::table::ranks_to_measure;
use crate::data::{Dataset, Normalization};
use crate::export::{Checkpoint, Engine, Folded, Logits};
use crate::lrpet::{RankList, RankPlan, Scope, Spectrum};
use crate::network::Network;

use super::LayerShape;

/// Ranks of one layer at which the loss is measured, at most.
const MOST_RANKS: usize = 8;

/// Worth of each rank of each layer: by name, of rank 1 first. A dense layer is worth 0.
pub type Values = BTreeMap<String, Vec<f64>>;

/// ln of the share of energy that each rank keeps of the BN-rectified weight: Σ is the logarithm of the product, because
/// a signal passes all layers and what one loses no other one makes good.
pub fn energy(network: &Network, scope: Scope, spectra: &BTreeMap<String, Spectrum>) -> Values {
    let layer = |(name, shape): (String, LayerShape)| {
        let op = network.layers.iter().map(|layer| &layer.op).find(|op| op.name() == name)?;
        let spectrum = spectra.get(&name).filter(|_| scope.contains(op))?;
        // An energy of zero would have no logarithm; no finite spectrum keeps less than this.
        let value = |rank: u64| spectrum.energy_kept(rank as usize).max(f64::MIN_POSITIVE).ln();
        Some((name, shape.paying().map(value).collect()))
    };
    LayerShape::all(network).into_iter().filter_map(layer).collect()
}

/// Minus the rise of the loss (nats) on `images` when one layer alone is cut to a rank and raised to its energy, all
/// others dense; measured at a few ranks, on straight lines between them, and never falling with the rank.
///
/// # Errors
/// Where the checkpoint is not of this network, or the images are not for it.
pub fn loss(
    network: &Network,
    scope: Scope,
    checkpoint: &Checkpoint,
    normalization: &Normalization,
    images: &std::sync::Arc<Dataset>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Values> {
    ensure!(!images.labels.is_empty(), "no image to measure the loss on");
    let measure = |plan: &RankPlan| -> Result<f64> {
        let (folded, _) = Folded::new(network, checkpoint, plan, normalization.clone(), true)?;
        Ok(cross_entropy(&Engine::new(&folded, &Device::Cpu)?.logits(images)?, &images.labels))
    };
    let dense = measure(&RankPlan::dense(network))?;
    let mut layers = Vec::new();
    for (name, shape) in LayerShape::all(network) {
        let op = network.layers.iter().map(|layer| &layer.op).find(|op| op.name() == name);
        if op.is_some_and(|op| scope.contains(op)) && !shape.paying().is_empty() {
            layers.push((name, shape));
        }
    }
    let mut values = Values::new();
    let total = layers.len();
    for (done, (name, shape)) in layers.into_iter().enumerate() {
        progress(done, total);
        let mut known = BTreeMap::new();
        for rank in spread(&ranks_to_measure(&shape)) {
            let list = RankList::from(BTreeMap::from([(name.clone(), rank)]));
            let rise = measure(&RankPlan::listed(network, &list)?)? - dense;
            known.insert(rank, -rise.max(0.0));
        }
        let line = shape.paying().map(|rank| between(&known, rank));
        let line = line.collect::<Option<Vec<f64>>>().context("no rank was measured")?;
        values.insert(name, rising(line));
    }
    Ok(values)
}

/// At most [`MOST_RANKS`] of `ranks`, closer together where they are small; the first and the last among them.
fn spread(ranks: &[u64]) -> Vec<u64> {
    let last = ranks.len().saturating_sub(1);
    let at = |step: usize| {
        let share = step as f64 / (MOST_RANKS - 1) as f64;
        ranks.get((share * share * last as f64).round() as usize).copied()
    };
    let mut picked: Vec<u64> = (0..MOST_RANKS).filter_map(at).collect();
    picked.dedup();
    picked
}

/// The value at `rank`, on a straight line between known ones.
fn between(known: &BTreeMap<u64, f64>, rank: u64) -> Option<f64> {
    let (&below, &low) = known.range(..=rank).next_back()?;
    let (&above, &high) = known.range(rank..).next()?;
    let share = if above == below { 0.0 } else { (rank - below) as f64 / (above - below) as f64 };
    Some(low + share * (high - low))
}

/// The values with each raised to the largest before it.
fn rising(mut values: Vec<f64>) -> Vec<f64> {
    let mut most = f64::NEG_INFINITY;
    for value in &mut values {
        most = most.max(*value);
        *value = most;
    }
    values
}

/// Mean cross-entropy in nats.
fn cross_entropy(logits: &Logits, labels: &[u32]) -> f64 {
    let image = |(row, label): (&[f32], &u32)| {
        let most = row.iter().fold(f32::NEG_INFINITY, |most, &value| most.max(value));
        let sum: f64 = row.iter().map(|&value| f64::from(value - most).exp()).sum();
        sum.ln() - f64::from(row.get(*label as usize).copied().unwrap_or(most) - most)
    };
    logits.rows().zip(labels).map(image).sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_the_softmax() {
        let logits = Logits { values: vec![0.0, 0.0, 3.0, 1.0], classes: 2 };
        let expected = (2f64.ln() + (1.0 + 2f64.exp()).ln()) / 2.0;
        assert!((cross_entropy(&logits, &[0, 1]) - expected).abs() < 1e-6);
    }

    #[test]
    fn ranks_are_spread_and_joined_by_lines() {
        assert_eq!(spread(&[1, 2, 3]), [1, 2, 3]);
        let ranks: Vec<u64> = (1..=57).collect();
        let picked = spread(&ranks);
        assert!(picked.len() <= MOST_RANKS && picked[0] == 1 && picked.last() == Some(&57), "{picked:?}");
        let known = BTreeMap::from([(1, -3.0), (5, -1.0), (9, -2.0)]);
        let line: Vec<f64> = (1..=9).map(|rank| between(&known, rank).unwrap()).collect();
        assert_eq!(line[1], -2.5);
        assert_eq!(rising(line)[8], -1.0);
        assert_eq!(between(&known, 10), None);
    }
}
