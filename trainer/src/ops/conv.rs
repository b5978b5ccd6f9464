//! Convolution of one channels-last image, and its two gradients, as sweeps of the micro-kernels.
//!
//! The gradient of the input of a convolution with stride s is s_h·s_w interleaved convolutions of the output's
//! gradient: the input rows (columns) with one remainder modulo the stride meet the same subset of the kernel's rows
//! (columns), in reverse order.

use lrpet_runtime::model::{Shape, Window};

use super::frame::Frame;
use super::isa::Isa;
use super::lanes::{LANES, whole};
use super::sweep::{self, Pitch, Sweep};

/// Geometry of a convolution with weights `[n, c, kh, kw]`, worked out once for all batches.
#[derive(Clone, Debug)]
pub struct Conv {
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 2],
    input_frame: Frame,
    slope_frame: Frame,
    forward: Sweep,
    weights: Sweep,
    phases: Vec<Phase>,
}

/// The pixels of the input whose coordinates have one remainder modulo the stride.
#[derive(Clone, Debug)]
struct Phase {
    sweep: Sweep,
    /// First window in the frame of the output's gradient, and first pixel in the input's gradient.
    from: usize,
    to: usize,
    /// The kernel rows and columns that reach these pixels, in the order of the sweep.
    taps: [Vec<usize>; 2],
    /// Where this phase's packed weights begin.
    packed: usize,
}

/// One axis of a phase.
struct AxisPhase {
    taps: Vec<usize>,
    /// First input coordinate and number of coordinates.
    first: usize,
    count: usize,
    /// Output coordinate of the first tap at the first input coordinate (may be outside).
    start: isize,
}

/// The phases of one axis, over `size` input coordinates.
fn axis_phases(size: usize, before: usize, kernel: usize, stride: usize) -> Vec<AxisPhase> {
    (0..stride.min(size))
        .map(|first| {
            let remainder = (first + before) % stride;
            let taps: Vec<usize> = (remainder..kernel).step_by(stride).rev().collect();
            let last_output = ((first + before) / stride) as isize;
            let start = last_output - taps.len() as isize + 1;
            AxisPhase { first, count: (size - first).div_ceil(stride), start, taps }
        })
        .collect()
}

/// Zero border before and after `outputs` coordinates that the phases of one axis reach.
fn axis_border(phases: &[AxisPhase], outputs: usize) -> (usize, usize) {
    let reached = phases.iter().filter(|phase| !phase.taps.is_empty());
    reached.fold((0, 0), |(before, after), phase| {
        let last = phase.start + (phase.count + phase.taps.len()) as isize - 2;
        let beyond = (last - (outputs as isize - 1)).max(0) as usize;
        (before.max((-phase.start).max(0) as usize), after.max(beyond))
    })
}

impl Conv {
    /// A convolution with all channels connected; `None` where the window does not fit the input or a size is zero.
    pub fn new(input: Shape, out_channels: u32, window: &Window) -> Option<Conv> {
        let (out_h, out_w) = window.output(input.height, input.width)?;
        input.len_checked()?;
        Shape::new(out_channels, out_h, out_w).len_checked()?;
        let [c, h, w] = [input.channels, input.height, input.width].map(|size| size as usize);
        let [n, oh, ow] = [out_channels, out_h, out_w].map(|size| size as usize);
        let [kh, kw] = window.kernel.map(usize::from);
        let [sh, sw] = window.stride.map(usize::from);
        let [top, left, ..] = window.padding.map(usize::from);

        let (rows, cols) = ((oh - 1) * sh + kh, (ow - 1) * sw + kw);
        let input_frame = Frame { rows, cols, top, left, map: [h, w, c], pixel: c };
        let forward = Sweep {
            runs: kh,
            run_len: kw * c,
            run_pitch: cols * c,
            rows: oh,
            cols: ow,
            input: Pitch { pixel: sw * c, row: sh * cols * c },
            output: Pitch { pixel: n, row: ow * n },
            channels: n,
        };

        let vertical = axis_phases(h, top, kh, sh);
        let horizontal = axis_phases(w, left, kw, sw);
        let (above, below) = axis_border(&vertical, oh);
        let (before, after) = axis_border(&horizontal, ow);
        let pixel = whole(n);
        let slope_frame = Frame {
            rows: above + oh + below,
            cols: before + ow + after,
            top: above,
            left: before,
            map: [oh, ow, n],
            pixel,
        };
        let pitch = Pitch { pixel, row: slope_frame.cols * pixel };
        let weights = Sweep { output: pitch, ..forward };

        let mut phases = Vec::new();
        let mut packed = 0;
        for v in &vertical {
            for h in &horizontal {
                let sweep = Sweep {
                    runs: v.taps.len(),
                    run_len: h.taps.len() * pixel,
                    run_pitch: pitch.row,
                    rows: v.count,
                    cols: h.count,
                    input: pitch,
                    output: Pitch { pixel: sw * c, row: sh * w * c },
                    channels: c,
                };
                let place = |start: isize, border: usize| (start + border as isize).max(0) as usize;
                let from = place(v.start, above) * pitch.row + place(h.start, before) * pixel;
                let to = (v.first * w + h.first) * c;
                phases.push(Phase { sweep, from, to, taps: [v.taps.clone(), h.taps.clone()], packed });
                packed += sweep.packed_len();
            }
        }
        Some(Conv {
            input: [h, w, c],
            output: [oh, ow, n],
            kernel: [kh, kw],
            input_frame,
            slope_frame,
            forward,
            weights,
            phases,
        })
    }

    /// Values of one input image.
    pub fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Values of one output image.
    pub fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// Rows, columns and channels of the output.
    pub fn output(&self) -> [usize; 3] {
        self.output
    }

    /// Number of weights, n·c·kh·kw.
    pub fn weight_len(&self) -> usize {
        self.output[2] * self.input[2] * self.kernel[0] * self.kernel[1]
    }

    /// Values of [`Conv::pack`]'s result and of a packed weight gradient.
    pub fn packed_len(&self) -> usize {
        self.forward.packed_len()
    }

    /// Values of the padded copy of an input image.
    pub fn input_frame_len(&self) -> usize {
        self.input_frame.len()
    }

    /// Values of the padded copy of an output image's gradient.
    pub fn slope_frame_len(&self) -> usize {
        self.slope_frame.len()
    }

    /// Pads an input image for [`Conv::forward`] and [`Conv::weight_gradient`].
    pub fn frame_input(&self, image: &[f32], frame: &mut [f32]) {
        self.input_frame.fill(image, frame);
    }

    /// Pads an output image's gradient for [`Conv::input_gradient`] and [`Conv::weight_gradient`].
    pub fn frame_slope(&self, image: &[f32], frame: &mut [f32]) {
        self.slope_frame.fill(image, frame);
    }

    /// Weights `[n, c, kh, kw]` in the order in which [`Conv::forward`] reads them.
    pub fn pack(&self, isa: Isa, weights: &[f32], packed: &mut [f32]) {
        let taps = [0..self.kernel[0], 0..self.kernel[1]].map(Vec::from_iter);
        let c = self.input[2];
        let index = |n, within, i, j| ((n * c + within) * self.kernel[0] + i) * self.kernel[1] + j;
        pack(isa, &taps, c, c, self.output[2], packed, |n, within, i, j| weights[index(n, within, i, j)]);
    }

    /// Values of [`Conv::pack_transposed`]'s result.
    pub fn packed_transposed_len(&self) -> usize {
        self.phases.iter().map(|phase| phase.sweep.packed_len()).sum()
    }

    /// Weights `[n, c, kh, kw]` in the order in which [`Conv::input_gradient`] reads them.
    pub fn pack_transposed(&self, isa: Isa, weights: &[f32], packed: &mut [f32]) {
        let [n, c] = [self.output[2], self.input[2]];
        let index = |c_, within, i, j| ((within * c + c_) * self.kernel[0] + i) * self.kernel[1] + j;
        for phase in &self.phases {
            let packed = &mut packed[phase.packed..][..phase.sweep.packed_len()];
            pack(isa, &phase.taps, n, whole(n), c, packed, |c_, within, i, j| {
                weights[index(c_, within, i, j)]
            });
        }
    }

    /// Adds a packed weight gradient up into `[n, c, kh, kw]`.
    pub fn unpack(&self, isa: Isa, packed: &[f32], gradient: &mut [f32]) {
        let (n, c, [kh, kw]) = (self.output[2], self.input[2], self.kernel);
        let mut rest = packed;
        for (first, vectors) in sweep::groups(isa, n) {
            let width = vectors * LANES;
            let count = width.min(n - first);
            for i in 0..kh {
                for j in 0..kw {
                    for within in 0..c {
                        let (lanes, after) = rest.split_at(width);
                        for (lane, value) in lanes[..count].iter().enumerate() {
                            gradient[(((first + lane) * c + within) * kh + i) * kw + j] = *value;
                        }
                        rest = after;
                    }
                }
            }
        }
    }

    /// One output image from a padded input image and packed weights.
    pub fn forward(&self, isa: Isa, frame: &[f32], packed: &[f32], output: &mut [f32]) {
        sweep::correlate(isa, &self.forward, frame, packed, output, false);
    }

    /// The gradient of one input image from the padded gradient of the output and transposed weights; added to what
    /// `gradient` holds where `accumulate` is set.
    pub fn input_gradient(
        &self,
        isa: Isa,
        slope: &[f32],
        packed: &[f32],
        gradient: &mut [f32],
        accumulate: bool,
    ) {
        if !accumulate && self.phases.iter().any(|phase| phase.sweep.runs * phase.sweep.run_len == 0) {
            gradient.fill(0.0); // some pixels meet no tap
        }
        for phase in &self.phases {
            let (from, packed) = (&slope[phase.from.min(slope.len())..], &packed[phase.packed..]);
            sweep::correlate(isa, &phase.sweep, from, packed, &mut gradient[phase.to..], accumulate);
        }
    }

    /// Adds one image's share to the packed gradient of the weights.
    pub fn weight_gradient(&self, isa: Isa, frame: &[f32], slope: &[f32], packed: &mut [f32]) {
        let first =
            (self.slope_frame.top * self.slope_frame.cols + self.slope_frame.left) * self.slope_frame.pixel;
        sweep::correlate_weights(isa, &self.weights, frame, &slope[first..], packed);
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
    weight: impl Fn(usize, usize, usize, usize) -> f32,
) {
    let mut rest = packed;
    for (first, vectors) in sweep::groups(isa, channels) {
        let width = vectors * LANES;
        for &i in &taps[0] {
            for &j in &taps[1] {
                for within in 0..pitch {
                    let (lanes, after) = std::mem::take(&mut rest).split_at_mut(width);
                    for (lane, value) in lanes.iter_mut().enumerate() {
                        let real = within < inner && first + lane < channels;
                        *value = if real { weight(first + lane, within, i, j) } else { 0.0 };
                    }
                    rest = after;
                }
            }
        }
    }
}
