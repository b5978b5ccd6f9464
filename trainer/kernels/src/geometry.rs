//! Geometry of a convolution and of its gradients, worked out once for all batches.
//!
//! The gradient of the input of a convolution with stride s is s_h·s_w interleaved convolutions of the output's
//! gradient: the input rows (columns) with one remainder modulo the stride meet the same subset of the kernel's rows
//! (columns), in reverse order.

use lrpet_runtime::model::{Shape, Window};

use super::frame::Frame;
use super::lanes::whole;
use super::sweep::Pitch;

/// Sizes, padded copies and phases of one convolution.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// Rows, columns and channels.
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 2],
    /// Padded copy of an input image.
    pub input_frame: Frame,
    /// Distances between windows in it.
    pub windows: Pitch,
    /// Padded copy of the gradient of an output image; its pixels have whole vectors of channels.
    pub slope_frame: Frame,
    pub phases: Vec<Phase>,
}

/// The pixels of the input whose coordinates have one remainder modulo the stride.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// Rows and columns of such pixels.
    pub rows: usize,
    pub cols: usize,
    /// The kernel rows and columns that reach these pixels, in the order of the walk.
    pub taps: [Vec<usize>; 2],
    /// First window in the frame of the output's gradient, and first pixel in the input's gradient.
    pub from: usize,
    pub to: usize,
    /// Distances between these pixels in the input's gradient.
    pub pixels: Pitch,
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

impl Geometry {
    /// The geometry of `window` over `input`, with `input_pixel` values a pixel of the padded input (at least its
    /// channels); `None` where the window does not fit the input or a size is zero.
    pub(super) fn new(
        input: Shape,
        out_channels: u32,
        window: &Window,
        input_pixel: usize,
    ) -> Option<Geometry> {
        let (out_h, out_w) = window.output(input.height, input.width)?;
        input.len_checked()?;
        Shape::new(out_channels, out_h, out_w).len_checked()?;
        let [c, h, w] = [input.channels, input.height, input.width].map(|size| size as usize);
        let [n, oh, ow] = [out_channels, out_h, out_w].map(|size| size as usize);
        let [kh, kw] = window.kernel.map(usize::from);
        let [sh, sw] = window.stride.map(usize::from);
        let [top, left, ..] = window.padding.map(usize::from);

        let (rows, cols) = ((oh - 1) * sh + kh, (ow - 1) * sw + kw);
        let input_frame = Frame { rows, cols, top, left, map: [h, w, c], pixel: input_pixel };
        let windows =
            Pitch { pixel: sw * input_pixel, row: sh * cols * input_pixel, image: input_frame.len() };

        let vertical = axis_phases(h, top, kh, sh);
        let horizontal = axis_phases(w, left, kw, sw);
        let (above, below) = axis_border(&vertical, oh);
        let (before, after) = axis_border(&horizontal, ow);
        let slope_frame = Frame {
            rows: above + oh + below,
            cols: before + ow + after,
            top: above,
            left: before,
            map: [oh, ow, n],
            pixel: whole(n),
        };
        let slope = slope_frame.pitch();
        let place = |start: isize, border: usize| (start + border as isize).max(0) as usize;
        let mut phases = Vec::new();
        for v in &vertical {
            for h in &horizontal {
                phases.push(Phase {
                    rows: v.count,
                    cols: h.count,
                    taps: [v.taps.clone(), h.taps.clone()],
                    from: place(v.start, above) * slope.row + place(h.start, before) * slope.pixel,
                    to: (v.first * w + h.first) * c,
                    pixels: Pitch { pixel: sw * c, row: sh * w * c, image: input.len() },
                });
            }
        }
        Some(Geometry {
            input: [h, w, c],
            output: [oh, ow, n],
            kernel: [kh, kw],
            input_frame,
            windows,
            slope_frame,
            phases,
        })
    }

    /// Values of one input image.
    pub(super) fn input_len(&self) -> usize {
        self.input.iter().product()
    }

    /// Values of one output image.
    pub(super) fn output_len(&self) -> usize {
        self.output.iter().product()
    }

    /// Distances between the pixels of an output image.
    pub(super) fn results(&self) -> Pitch {
        let [_, cols, channels] = self.output;
        Pitch { pixel: channels, row: cols * channels, image: self.output_len() }
    }

    /// Where the padded gradient of an output image has its first real pixel.
    pub(super) fn first_slope(&self) -> usize {
        let Frame { top, left, cols, pixel, .. } = self.slope_frame;
        (top * cols + left) * pixel
    }
}
