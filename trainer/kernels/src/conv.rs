//! The dense convolution, all channels connected, as sweeps of the micro-kernels.

use lrpet_runtime::model::{Shape, Window};
use rayon::prelude::*;

use super::convolution::Convolution;
use super::geometry::Geometry;
use super::isa::Isa;
use super::lanes::{LANES, whole};
use super::sweep::{self, Sweep};
use super::sweep_weights::correlate_weights;

/// A convolution with weights `[n, c, kh, kw]`.
#[derive(Clone, Debug)]
pub struct Conv {
    geometry: Geometry,
    forward: Sweep,
    weights: Sweep,
    /// One for each phase of the geometry, with the place where its packed weights begin.
    phases: Vec<(Sweep, usize)>,
}

impl Conv {
    /// A convolution of `input`; `None` where the window does not fit it or a size is zero.
    pub fn new(input: Shape, out_channels: u32, window: &Window) -> Option<Conv> {
        let geometry = Geometry::new(input, out_channels, window, input.channels as usize)?;
        let ([_, _, c], [oh, ow, n], [kh, kw]) = (geometry.input, geometry.output, geometry.kernel);
        let forward = Sweep {
            runs: kh,
            run_len: kw * c,
            run_pitch: geometry.input_frame.pitch().row,
            rows: oh,
            cols: ow,
            input: geometry.windows,
            output: geometry.results(),
            channels: n,
        };
        let slope = geometry.slope_frame.pitch();
        let weights = Sweep { output: slope, ..forward };
        let mut packed = 0;
        let mut phases = Vec::new();
        for phase in &geometry.phases {
            let sweep = Sweep {
                runs: phase.taps[0].len(),
                run_len: phase.taps[1].len() * slope.pixel,
                run_pitch: slope.row,
                rows: phase.rows,
                cols: phase.cols,
                input: slope,
                output: phase.pixels,
                channels: c,
            };
            phases.push((sweep, packed));
            packed += sweep.packed_len();
        }
        Some(Conv { geometry, forward, weights, phases })
    }
}

impl Convolution for Conv {
    #[allow(private_interfaces)]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// n·c·kh·kw.
    fn weight_len(&self) -> usize {
        let Geometry { input, output, kernel, .. } = &self.geometry;
        output[2] * input[2] * kernel[0] * kernel[1]
    }

    fn packed_len(&self) -> usize {
        self.forward.packed_len()
    }

    fn pack(&self, isa: Isa, weights: &[f32], packed: &mut [f32]) {
        let ([kh, kw], c) = (self.geometry.kernel, self.geometry.input[2]);
        let taps = [0..kh, 0..kw].map(Vec::from_iter);
        let index = |n, within, i, j| ((n * c + within) * kh + i) * kw + j;
        pack(isa, &taps, c, c, self.forward.channels, packed, |n, within, i, j| {
            weights[index(n, within, i, j)]
        });
    }

    fn packed_transposed_len(&self) -> usize {
        self.phases.iter().map(|(sweep, _)| sweep.packed_len()).sum()
    }

    fn pack_transposed(&self, isa: Isa, weights: &[f32], packed: &mut [f32]) {
        let ([kh, kw], c, n) = (self.geometry.kernel, self.geometry.input[2], self.geometry.output[2]);
        let index = |c_, within, i, j| ((within * c + c_) * kh + i) * kw + j;
        for (phase, (sweep, at)) in self.geometry.phases.iter().zip(&self.phases) {
            let packed = &mut packed[*at..][..sweep.packed_len()];
            pack(isa, &phase.taps, n, whole(n), c, packed, |c_, within, i, j| {
                weights[index(c_, within, i, j)]
            });
        }
    }

    fn unpack(&self, isa: Isa, packed: &[f32], gradient: &mut [f32]) {
        let ([kh, kw], c, n) = (self.geometry.kernel, self.geometry.input[2], self.geometry.output[2]);
        let (row, width) = (c * kh * kw, group_width(isa, n));
        let groups = packed.par_chunks(width * row).zip(gradient.par_chunks_mut(width * row));
        groups.for_each(|(packed, gradient)| {
            let width = packed.len() / row;
            for (tap, lanes) in packed.chunks_exact(width).enumerate() {
                let (place, within) = (tap / c, tap % c);
                for (gradient, value) in gradient.chunks_exact_mut(row).zip(lanes) {
                    gradient[within * kh * kw + place] = *value;
                }
            }
        });
    }

    fn forward(&self, isa: Isa, frames: &[f32], packed: &[f32], output: &mut [f32]) {
        let images = output.len() / self.output_len();
        sweep::correlate(isa, &self.forward, images, frames, packed, output, false);
    }

    fn input_gradient(
        &self,
        isa: Isa,
        slopes: &[f32],
        packed: &[f32],
        gradient: &mut [f32],
        accumulate: bool,
    ) {
        if !accumulate && self.phases.iter().any(|(sweep, _)| sweep.runs * sweep.run_len == 0) {
            gradient.fill(0.0); // some pixels meet no tap
        }
        let images = gradient.len() / self.input_len();
        for (phase, (sweep, at)) in self.geometry.phases.iter().zip(&self.phases) {
            let from = &slopes[phase.from.min(slopes.len())..];
            sweep::correlate(isa, sweep, images, from, &packed[*at..], &mut gradient[phase.to..], accumulate);
        }
    }

    /// One slice for each group of output channels and each kernel row.
    fn slices(&self, isa: Isa) -> Vec<usize> {
        let Sweep { runs, run_len, channels, .. } = self.weights;
        let lens = sweep::groups(isa, channels)
            .flat_map(|(_, vectors)| std::iter::repeat_n(run_len * vectors * LANES, runs));
        lens.collect()
    }

    fn weight_gradient(&self, isa: Isa, slice: usize, frames: &[f32], slopes: &[f32], gradient: &mut [f32]) {
        let images = slopes.len() / self.geometry.slope_frame.len();
        let slopes = &slopes[self.geometry.first_slope()..];
        let (group, run) = (slice / self.weights.runs, slice % self.weights.runs);
        correlate_weights(isa, &self.weights, [group, run], images, frames, slopes, gradient);
    }
}

/// Packs weights as `[group][row tap][column tap][pitch][lanes]`: `inner` values a tap, zeros up to `pitch`, and zero
/// lanes above `channels`. `weight(lane, inner, row, column)` is the weight.
fn pack(
    isa: Isa,
    taps: &[Vec<usize>; 2],
    inner: usize,
    pitch: usize,
    channels: usize,
    packed: &mut [f32],
    weight: impl Fn(usize, usize, usize, usize) -> f32 + Sync,
) {
    let width = group_width(isa, channels);
    let values = taps[0].len() * taps[1].len() * pitch;
    if values == 0 {
        return;
    }
    packed.par_chunks_mut(width * values).enumerate().for_each(|(group, packed)| {
        let first = group * width;
        let mut lanes = packed.chunks_exact_mut(packed.len() / values);
        for &i in &taps[0] {
            for &j in &taps[1] {
                for (within, lanes) in (0..pitch).zip(&mut lanes) {
                    for (lane, value) in lanes.iter_mut().enumerate() {
                        let real = within < inner && first + lane < channels;
                        *value = if real { weight(first + lane, within, i, j) } else { 0.0 };
                    }
                }
            }
        }
    });
}

/// Lanes of each group of channels but the last, which may have fewer.
fn group_width(isa: Isa, channels: usize) -> usize {
    sweep::groups(isa, channels).next().map_or(LANES, |(_, vectors)| vectors * LANES)
}
