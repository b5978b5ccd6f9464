//! What a rank of a layer is worth.

use std::collections::BTreeMap;

use lrpet_network::lrpet::{Scope, Spectrum};
use lrpet_network::network::Network;

use super::LayerShape;

/// Worth of each rank of each layer: by name, of rank 1 first. A dense layer is worth 0.
pub type Values = BTreeMap<String, Vec<f64>>;

/// ln of the share of energy that each rank keeps of the BN-rectified weight: Σ is the logarithm of the product, because
/// a signal passes all layers and what one loses no other one makes good.
pub fn worth(network: &Network, scope: Scope, spectra: &BTreeMap<String, Spectrum>) -> Values {
    let layer = |(name, shape): (String, LayerShape)| {
        let op = network.layers.iter().map(|layer| &layer.op).find(|op| op.name() == name)?;
        let spectrum = spectra.get(&name).filter(|_| scope.contains(op))?;
        // An energy of zero would have no logarithm; no finite spectrum keeps less than this.
        let value = |rank: u64| spectrum.energy_kept(rank as usize).max(f64::MIN_POSITIVE).ln();
        Some((name, shape.paying().map(value).collect()))
    };
    LayerShape::all(network).into_iter().filter_map(layer).collect()
}
