//! What the layers of a network read on calibration inputs.

use std::ops::Range;

use faer::Mat;
use half::f16;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Op, Shape, Window};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Hook, Session};
use rayon::prelude::*;

use crate::export::{ExportError, Folded};

/// Samples of a layer's input for each of its columns, as far as there are so many.
const SAMPLES_A_COLUMN: usize = 8;
/// Fewest that are wanted.
const FEWEST_SAMPLES: usize = 2048;
/// Samples that are multiplied at once.
const CHUNK: usize = 512;

/// Mean and covariance of what a layer reads at one pixel, in the order of a row of its weights.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Mean of each input.
    pub mean: Vec<f64>,
    /// Covariance.
    pub covariance: Mat<f64>,
}

/// Where a layer's samples come from.
#[derive(Debug, Clone)]
pub struct Reads {
    /// Index of the layer's operation.
    pub index: usize,
    /// Number of the value that it reads.
    value: usize,
    input: Shape,
    /// Of a convolution.
    window: Option<Window>,
    output: Shape,
    /// Values of one sample: c·kh·kw, or the features.
    pub columns: usize,
}

impl Reads {
    /// Of operation `index`, which must have a matrix; `shapes` are those of all values.
    pub fn new(op: &Op<String>, index: usize, shapes: &[Shape]) -> Reads {
        let value = usize::from(op.inputs().first());
        let (input, output) = (shapes[value], shapes[index + 1]);
        let window = match op {
            Op::Conv(conv) => Some(conv.window),
            _ => None,
        };
        let columns = match &window {
            Some(window) => input.channels as usize * window.taps() as usize,
            None => input.len(),
        };
        Reads { index, value, input, window, output, columns }
    }

    /// Pixels of an input that are taken.
    fn pixels(&self, inputs: usize) -> usize {
        let all = if self.window.is_some() { self.output.pixels() } else { 1 };
        let wanted = (SAMPLES_A_COLUMN * self.columns).max(FEWEST_SAMPLES);
        wanted.div_ceil(inputs.max(1)).clamp(1, all)
    }

    /// Bytes of all samples of so many inputs.
    pub fn bytes(&self, inputs: usize) -> usize {
        inputs * self.pixels(inputs) * self.columns * size_of::<f32>()
    }

    /// Samples, one after another, of input number `number` of `inputs`: pixels at even distances, which another input has elsewhere.
    fn samples(&self, values: &[f32], number: usize, inputs: usize) -> Vec<f32> {
        let Some(window) = &self.window else { return values.to_vec() };
        let (all, taken) = (self.output.pixels(), self.pixels(inputs));
        let (width, [kh, kw]) = (self.output.width as usize, window.kernel.map(usize::from));
        let [rows, columns] = [self.input.height as usize, self.input.width as usize];
        let mut samples = Vec::with_capacity(taken * self.columns);
        for i in 0..taken {
            let pixel = (i * all / taken + number * 31) % all;
            let top = (pixel / width) * usize::from(window.stride[0]);
            let left = (pixel % width) * usize::from(window.stride[1]);
            let at = |channel: usize, tap: usize| {
                let y = (top + tap / kw).checked_sub(usize::from(window.padding[0]));
                let x = (left + tap % kw).checked_sub(usize::from(window.padding[1]));
                let (y, x) = (y.filter(|y| *y < rows)?, x.filter(|x| *x < columns)?);
                values.get((channel * rows + y) * columns + x)
            };
            let channels = 0..self.input.channels as usize;
            samples.extend(
                channels.flat_map(|channel| {
                    (0..kh * kw).map(move |tap| at(channel, tap).copied().unwrap_or(0.0))
                }),
            );
        }
        samples
    }
}

/// Takes samples of what some layers read, while a session runs.
struct Sampler<'a> {
    reads: &'a [Reads],
    number: usize,
    inputs: usize,
    samples: Vec<Vec<f32>>,
}

impl Sampler<'_> {
    fn take(&mut self, value: usize, values: &[f32]) {
        for (reads, samples) in self.reads.iter().zip(&mut self.samples) {
            if reads.value == value {
                *samples = reads.samples(values, self.number, self.inputs);
            }
        }
    }
}

impl Hook for Sampler<'_> {
    fn stored(&mut self, layer: usize, values: &[u16]) {
        if self.reads.iter().any(|reads| reads.value == layer + 1) {
            let values: Vec<f32> = values.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect();
            self.take(layer + 1, &values);
        }
    }
}

/// How many of `reads` from the first on have samples of at most `most` bytes; at least one.
pub fn group(reads: &[Reads], inputs: usize, most: usize) -> Range<usize> {
    let mut bytes = 0;
    let fits = reads.iter().take_while(|reads| {
        bytes += reads.bytes(inputs);
        bytes <= most
    });
    0..fits.count().max(1).min(reads.len())
}

/// Runs `model`, the file of `network`, on `inputs` (normalised values, C×H×W) and returns the moments of what each of `reads` sees.
/// `progress` is told of each input.
///
/// # Errors
/// [`ExportError::Model`] where the runtime refuses the model or an input.
pub fn moments(
    network: &Folded,
    model: &Model<'_>,
    inputs: &[Vec<f32>],
    reads: &[Reads],
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Moments>, ExportError> {
    let refused = |reason: String| ExportError::Model { what: "model".into(), reason };
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(error.to_string()))?;
    let run = |(number, input): (usize, &Vec<f32>)| -> Result<Vec<Vec<f32>>, ExportError> {
        let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
        let mut session =
            Session::new(model, arena.as_mut_slice()).map_err(|error| refused(error.to_string()))?;
        let samples = vec![Vec::new(); reads.len()];
        let mut sampler = Sampler { reads, number, inputs: inputs.len(), samples };
        let stored: Vec<f32> = input.iter().map(|&value| f16::from_f32(value).to_f32()).collect();
        sampler.take(0, &stored);
        let mut logits = vec![0.0; network.classes as usize];
        session.run_values(input, &mut logits, &mut sampler).map_err(|error| refused(error.to_string()))?;
        progress();
        Ok(sampler.samples)
    };
    let samples: Vec<Vec<Vec<f32>>> =
        inputs.par_iter().enumerate().map(run).collect::<Result<_, ExportError>>()?;
    let of_layer = |(layer, reads): (usize, &Reads)| {
        let samples: Vec<f32> = samples.iter().flat_map(|layers| &layers[layer]).copied().collect();
        of_samples(&samples, reads.columns)
    };
    Ok(reads.par_iter().enumerate().map(of_layer).collect())
}

/// Moments of samples of `columns` values each.
fn of_samples(samples: &[f32], columns: usize) -> Moments {
    let count = (samples.len() / columns).max(1) as f64;
    let mut mean = vec![0.0; columns];
    for sample in samples.chunks_exact(columns) {
        mean.iter_mut().zip(sample).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    mean.iter_mut().for_each(|sum| *sum /= count);
    let mut covariance = Mat::<f64>::zeros(columns, columns);
    for chunk in samples.chunks(CHUNK * columns) {
        let centred = Mat::from_fn(columns, chunk.len() / columns, |column, sample| {
            f64::from(chunk[sample * columns + column]) - mean[column]
        });
        covariance += &centred * centred.transpose();
    }
    covariance *= faer::Scale(1.0 / count);
    Moments { mean, covariance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_samples() {
        let found = of_samples(&[1.0, 2.0, 3.0, 2.0, 5.0, 5.0], 2);
        assert_eq!(found.mean, [3.0, 3.0]);
        let expected = [[8.0 / 3.0, 2.0], [2.0, 2.0]];
        for (i, row) in expected.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((found.covariance[(i, j)] - value).abs() < 1e-12);
            }
        }
    }
}
