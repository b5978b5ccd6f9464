//! How near the values of each layer come to the end of f16, where the runtime saturates without a word.

use std::fmt::Write;

use lrpet_runtime::model::Model;
use lrpet_runtime::session::Hook;
use serde::Serialize;

use super::agreement::LARGEST;

/// Bits of the largest f16.
const LARGEST_BITS: u16 = 0x7bff;
/// A layer whose values come nearer to the end than this factor is worth a word: other images may go further.
pub const SCARCE: f64 = 4.0;
/// Smallest magnitude that f16 holds with all its digits: 2^−14.
const NORMAL: f64 = 1.0 / 16384.0;

/// Watches what the layers of a model store, over any number of images. It is a hook of the runtime's session.
#[derive(Debug, Clone, Default)]
pub struct Ranges {
    /// Bits of the largest magnitude, and how many values are at the end of f16, of each layer but the last.
    layers: Vec<(u16, u64)>,
}

impl Hook for Ranges {
    fn stored(&mut self, layer: usize, values: &[u16]) {
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, (0, 0));
        }
        let most = values.iter().fold(0, |most, bits| most.max(bits & 0x7fff));
        let (peak, saturated) = &mut self.layers[layer];
        *peak = most.max(*peak);
        if most >= LARGEST_BITS {
            *saturated += values.iter().filter(|bits| **bits & 0x7fff >= LARGEST_BITS).count() as u64;
        }
    }
}

/// How far the values of a layer go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerRange {
    /// Name of the layer, or what it does.
    pub layer: String,
    /// Largest magnitude that was stored.
    pub peak: f64,
    /// 65504 / peak; none where all values are 0.
    pub headroom: Option<f64>,
    /// Values that were stored as ±65504, the largest number of f16: they would be larger.
    pub saturated: u64,
}

impl Ranges {
    /// Adds what another one saw of the same model.
    pub fn join(&mut self, other: &Ranges) {
        let most = self.layers.len().max(other.layers.len());
        self.layers.resize(most, (0, 0));
        for ((peak, saturated), (other_peak, more)) in self.layers.iter_mut().zip(&other.layers) {
            *peak = (*peak).max(*other_peak);
            *saturated += more;
        }
    }

    /// The layers of `model`, all but the last, in order.
    pub fn of(&self, model: &Model<'_>) -> Vec<LayerRange> {
        let layers = model.program().layers().zip(&self.layers);
        layers
            .map(|(layer, &(bits, saturated))| {
                let peak = half::f16::from_bits(bits).to_f64();
                let headroom = (peak > 0.0).then(|| LARGEST / peak);
                LayerRange { layer: layer.op.name().to_string(), peak, headroom, saturated }
            })
            .collect()
    }
}

/// The layers with values at the end of f16.
pub fn saturated(layers: &[LayerRange]) -> impl Iterator<Item = &LayerRange> {
    layers.iter().filter(|layer| layer.saturated > 0)
}

/// Warnings about layers near the end of f16 or at it, one line each, and about the first that has only values too small for it;
/// empty where all have room.
pub fn warnings(layers: &[LayerRange]) -> String {
    let mut text = String::new();
    if let Some(LayerRange { layer, peak, .. }) = layers.iter().find(|layer| layer.peak < NORMAL) {
        let _ = writeln!(
            text,
            "warning: layer {layer}: no value is larger than {peak:.1e}, and f16 loses digits below {NORMAL:.1e}: results may have nothing \
             to do with those in f32; raise the weights of the layers up to it, as training does"
        );
    }
    for LayerRange { layer, peak, headroom, saturated } in layers {
        let Some(headroom) = headroom.filter(|headroom| *headroom < SCARCE) else { continue };
        let _ = match saturated {
            0 => writeln!(
                text,
                "warning: layer {layer}: values up to {peak} of the {LARGEST} that f16 holds (headroom {headroom:.2}); larger ones of \
                 other images would be cut off there"
            ),
            _ => writeln!(
                text,
                "warning: layer {layer}: {saturated} values are cut off at {LARGEST}, the largest that f16 holds; candle in f32 computes \
                 something else: train with weight decay or a lower learning rate"
            ),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_too_small_for_f16_are_told_of_once() {
        let range = |layer: &str, peak: f64| LayerRange {
            layer: layer.to_owned(),
            peak,
            headroom: (peak > 0.0).then(|| LARGEST / peak),
            saturated: 0,
        };
        assert_eq!(warnings(&[range("a", 1.0), range("b", 1e-4)]), "");
        let text = warnings(&[range("a", 1.0), range("b", 6e-5), range("c", 0.0), range("d", 3e4)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("warning: layer b: no value is larger than 6.0e-5"), "{text}");
        assert!(lines[1].starts_with("warning: layer d:"), "{text}");
    }
}
