//! The runtime against the reference, layer by layer.
//!
//! Each layer is computed in f64 from what the runtime itself stored as the layer's inputs. So no layer answers for the roundings of
//! those before it, and what the layer stored must lie between the roundings of two exact bounds: its sums in f32, in any order, or by
//! Winograd's tiles where the runtime says that it computed them so.

use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::{Isa, Method, WinogradTile, winograd_error};
use lrpet_runtime::model::{Conv, Model, Op, PoolKind, Shape, Weights};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::reference::{Bounded, activated};
use lrpet_runtime::session::{Hook, RunError, Session};

use super::reference::{activate, activation, bounded, sums};
use super::{ExportError, Folded, LayerWeights};

/// Roundings of a sum beside those of its products: bias, residual, a division, and rooms left.
const MORE: usize = 6;

/// Largest value that f16 holds; stored values stop there.
pub const LARGEST: f64 = 65504.0;

/// What the runtime computed of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// What each layer but the last stored, as bits of f16, C×H×W.
    pub stored: Vec<Vec<u16>>,
    /// The logits.
    pub logits: Vec<f32>,
    /// The tiles by which each layer was computed; none where every product was made.
    pub tiles: Vec<Option<WinogradTile>>,
}

impl Hook for Trace {
    fn stored(&mut self, _layer: usize, values: &[u16]) {
        self.stored.push(values.to_vec());
    }
}

impl Trace {
    /// Runs `image` (H×W×C bytes) on the best instruction set of this machine, convolutions by `method`.
    ///
    /// # Errors
    /// [`ExportError::Model`] where the runtime refuses the model or the image.
    pub fn of(model: &Model<'_>, image: &[u8], method: Method) -> Result<Trace, ExportError> {
        Trace::by(model, method, |session, logits, trace| session.run_image(image, logits, trace))
    }

    /// As [`Trace::of`], of normalised values C×H×W.
    ///
    /// # Errors
    /// As [`Trace::of`].
    pub fn of_values(model: &Model<'_>, values: &[f32], method: Method) -> Result<Trace, ExportError> {
        Trace::by(model, method, |session, logits, trace| session.run_values(values, logits, trace))
    }

    /// What `run` lets a session compute.
    fn by(
        model: &Model<'_>,
        method: Method,
        run: impl FnOnce(&mut Session<'_>, &mut [f32], &mut Trace) -> Result<(), RunError>,
    ) -> Result<Trace, ExportError> {
        let refused = |error: &dyn std::fmt::Display| ExportError::Model {
            what: "model".into(),
            reason: error.to_string(),
        };
        let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(&error))?;
        let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
        let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(&error))?;
        let mut session = session.with_method(method);
        let mut trace = Trace::default();
        let mut logits = vec![0.0; session.classes()];
        run(&mut session, &mut logits, &mut trace).map_err(|error| refused(&error))?;
        trace.tiles = (0..model.program().len()).map(|layer| session.tile(layer)).collect();
        Ok(Trace { logits, ..trace })
    }
}

/// A network, weights as the model file has them, ready to be held against traces.
#[derive(Debug)]
pub struct Reference<'a> {
    network: &'a Folded,
    /// The same with all weights and biases made positive: of positive inputs it makes the sums of magnitudes.
    magnitudes: Folded,
    shapes: Vec<Shape>,
}

impl<'a> Reference<'a> {
    /// `network` as it is in the file ([`Folded::rounded`]).
    pub fn new(network: &'a Folded) -> Reference<'a> {
        let positive = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<f32>>();
        let layer = |layer: &LayerWeights| LayerWeights {
            weight: positive(&layer.weight),
            expand: layer.expand.as_deref().map(positive),
            bias: positive(&layer.bias),
            scales: None,
        };
        let weights = network.weights.iter().map(|(name, weights)| (name.clone(), layer(weights))).collect();
        let magnitudes = Folded { weights, ..network.clone() };
        Reference { network, magnitudes, shapes: network.value_shapes() }
    }

    /// Holds every value that the runtime stored, and the logits, against what sums in f32 explain; `image` is self-check sample
    /// `sample`, H×W×C bytes. Returns by how much the sums of its last layer may move a logit.
    ///
    /// # Errors
    /// [`ExportError::Activation`] where a value is beyond f16, [`ExportError::Disagreement`] with the first layer that computes
    /// something else.
    pub fn check(&self, sample: usize, image: &[u8], trace: &Trace) -> Result<f64, ExportError> {
        self.check_values(sample, &self.network.input_values(image), trace)
    }

    /// As [`Reference::check`], of normalised values C×H×W.
    ///
    /// # Errors
    /// As [`Reference::check`].
    pub fn check_values(&self, sample: usize, input: &[f32], trace: &Trace) -> Result<f64, ExportError> {
        let network = self.network;
        let input: Vec<f64> = input.iter().map(|&value| f16::from_f32(value).to_f64()).collect();
        if input.iter().any(|value| !value.is_finite()) {
            return Err(ExportError::Activation { layer: "input".to_owned(), sample });
        }
        let mut values = vec![input];
        let mut last = 0.0;
        for index in 0..network.ops.len() {
            let found: Vec<f64> = match trace.stored.get(index) {
                Some(stored) => stored.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect(),
                None => trace.logits.iter().map(|&logit| f64::from(logit)).collect(),
            };
            let tile = trace.tiles.get(index).copied().flatten();
            last = self.layer(sample, index, &values, &found, tile)?;
            values.push(found);
        }
        Ok(last)
    }

    /// Holds what the runtime computed in operation `index`, `found`, against its inputs in `values`; `tile` says by which tiles.
    /// Returns the largest error of its sums, before any rounding to f16.
    pub(super) fn layer(
        &self,
        sample: usize,
        index: usize,
        values: &[Vec<f64>],
        found: &[f64],
        tile: Option<WinogradTile>,
    ) -> Result<f64, ExportError> {
        let op = &self.network.ops[index];
        let layer = || op.name().to_owned();
        if op.is_general() {
            let sums = bounded(self.network, &self.shapes, index, values);
            return self.activated(sample, index, sums, found);
        }
        let exact = sums(self.network, &self.shapes, index, values);
        if found.len() != exact.len() {
            return Err(ExportError::Values { layer: layer(), expected: exact.len(), found: found.len() });
        }
        let errors = match gamma(self.terms(index)) {
            0.0 => vec![0.0; exact.len()],
            unit => {
                let mut sizes: Vec<Vec<f64>> = vec![Vec::new(); values.len()];
                for &input in op.inputs().values() {
                    let input = usize::from(input);
                    sizes[input] = values[input].iter().map(|value| value.abs()).collect();
                }
                let sizes = sums(&self.magnitudes, &self.shapes, index, &sizes);
                match (tile, op) {
                    (Some(tile), Op::Conv(layer)) => self.errors_of_tiles(tile, index, layer, values, &sizes),
                    _ => sizes.into_iter().map(|size| size * unit).collect(),
                }
            }
        };
        if !op.activation().is_plain() {
            let sums = exact.into_iter().zip(errors).map(|(value, error)| Bounded { value, error }).collect();
            return self.activated(sample, index, sums, found);
        }
        let last = index + 1 == self.network.ops.len();
        let store = |value: f64| match last {
            true => value,
            false => f16::from_f64(value.clamp(-LARGEST, LARGEST)).to_f64(),
        };
        for (element, ((&found, exact), error)) in found.iter().zip(exact).zip(&errors).enumerate() {
            let [low, middle, high] =
                [exact - error, exact, exact + error].map(|sum| activate(sum, activation(op)));
            if !last && middle.abs() > LARGEST {
                return Err(ExportError::Activation { layer: layer(), sample });
            }
            // False for a NaN.
            if !(store(low) <= found && found <= store(high)) {
                let expected = [store(low), store(high)];
                return Err(ExportError::Disagreement { layer: layer(), sample, element, found, expected });
            }
        }
        Ok(errors.into_iter().fold(0.0, f64::max))
    }

    /// Holds `found` against the activation of `sums`, which may fall where they rise: within what each may be off.
    fn activated(
        &self,
        sample: usize,
        index: usize,
        sums: Vec<Bounded>,
        found: &[f64],
    ) -> Result<f64, ExportError> {
        let op = &self.network.ops[index];
        let layer = || op.name().to_owned();
        if found.len() != sums.len() {
            return Err(ExportError::Values { layer: layer(), expected: sums.len(), found: found.len() });
        }
        let last = index + 1 == self.network.ops.len();
        // As the runtime stores it: a value in f32, rounded.
        let store = |value: f64| match last {
            true => value,
            false => f16::from_f32(value.clamp(-LARGEST, LARGEST) as f32).to_f64(),
        };
        let mut largest = 0.0f64;
        for (element, (&found, sum)) in found.iter().zip(sums).enumerate() {
            let Bounded { value, error } = activated(op.activation(), sum);
            if !last && value.abs() > LARGEST {
                return Err(ExportError::Activation { layer: layer(), sample });
            }
            let expected = [store(value - error), store(value + error)];
            // False for a NaN.
            if !(expected[0] <= found && found <= expected[1]) {
                return Err(ExportError::Disagreement { layer: layer(), sample, element, found, expected });
            }
            largest = largest.max(error);
        }
        Ok(largest)
    }

    /// Errors of convolution `index` by tiles, of its inputs in `values`; `sizes` are the sums of its magnitudes.
    ///
    /// Those of its sums over the input come from the runtime's bound. A dense layer adds bias and residual to them; a pair sums
    /// products of them.
    fn errors_of_tiles(
        &self,
        tile: WinogradTile,
        index: usize,
        layer: &Conv<String>,
        values: &[Vec<f64>],
        sizes: &[f64],
    ) -> Vec<f64> {
        let (weights, input) = (&self.network.weights[&layer.name], usize::from(layer.input));
        let filters: Vec<f64> = weights.weight.iter().map(|&weight| f64::from(weight)).collect();
        let errors = winograd_error(tile, &values[input], self.shapes[input], &layer.window, &filters);
        let Some(expand) = &weights.expand else {
            let unit = gamma(MORE);
            return errors.iter().zip(sizes).map(|(error, size)| error + unit * (size + error)).collect();
        };
        let pixels = self.shapes[index + 1].pixels();
        let rank = errors.len() / pixels;
        let unit = gamma(rank + MORE);
        let mut all = Vec::with_capacity(sizes.len());
        for (row, sizes) in expand.chunks_exact(rank).zip(sizes.chunks_exact(pixels)) {
            let mut carried = vec![0.0; pixels];
            for (weight, errors) in row.iter().zip(errors.chunks_exact(pixels)) {
                let weight = f64::from(weight.abs());
                carried.iter_mut().zip(errors).for_each(|(sum, error)| *sum += weight * error);
            }
            all.extend(carried.iter().zip(sizes).map(|(error, size)| error + unit * (size + error)));
        }
        all
    }

    /// Roundings that meet in a sum of operation `index`: a product and an addition for each weight, and some for what follows. 0
    /// where values are only copied.
    fn terms(&self, index: usize) -> usize {
        let op = &self.network.ops[index];
        let input = self.shapes[usize::from(op.inputs().first())];
        let products = |weights: Weights, taps: usize| {
            MORE + match weights {
                Weights::Dense => input.channels as usize * taps,
                Weights::Depthwise => taps,
                Weights::Pair { rank } => input.channels as usize * taps + rank as usize,
            }
        };
        match op {
            Op::Conv(layer) => products(layer.weights, layer.window.taps() as usize),
            Op::Linear(layer) => products(layer.weights, input.pixels()),
            Op::Pool(layer) if layer.kind == PoolKind::Average => layer.window.taps() as usize + MORE,
            Op::GlobalAveragePool { .. } => input.pixels() + MORE,
            Op::Add { .. } => MORE,
            _ => 0,
        }
    }
}

/// Relative error of a sum of `terms` products in f32, in any order, with or without fused operations, as a share of the sum of
/// their magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
fn gamma(terms: usize) -> f64 {
    let n = terms as f64 * f64::from(f32::EPSILON) / 2.0;
    n / (1.0 - n)
}
