//! A strip of a convolution: transforms, sums of products, results.
#![allow(unsafe_code)]

use core::arch::aarch64::*;

use super::super::fill::Frame;
use super::super::finish::{Limits, activated, finish, store};
use super::super::geometry::{MOST_ROWS, Runs, registers};
use super::super::matrix::Group;
use super::super::pack::Packed;
use super::super::planes::Planes;
use super::super::product::{To, product};
use super::super::sums::{Job, Output, Sums};
use super::pack::Squared;
use super::transform::{Strip, Tiles, add, back, forth, four, intermediate, two};
use crate::kernel::winograd::TOGETHER;

/// What sums of products begin with.
const ZEROS: &[f32; MOST_ROWS] = &[0.0; MOST_ROWS];

/// A convolution with its buffers, which have the sizes that it states.
pub(in crate::kernel::aarch64) struct Placed<'a, E: Sums> {
    pub(super) conv: &'a Packed<E::Bits>,
    pub(super) squared: &'a Squared<E::Bits>,
    pub(super) input: *const u16,
    pub(super) output: *mut u16,
    pub(super) second: *const u16,
}

// SAFETY: threads write to different rows of the output; the residual of one, where it is the output itself, is read only
// by the thread that writes it.
unsafe impl<E: Sums> Sync for Placed<'_, E> {}

/// Computes a strip of a layer by tiles of SIDE×SIDE inputs and OUT×OUT outputs. To be inlined into a function that has the
/// instructions of `E`.
///
/// # Safety
///
/// The buffers have the sizes that the convolution states.
#[inline(always)]
pub(in crate::kernel::aarch64) unsafe fn strip<E: Sums + Tiles<SIDE>, const SIDE: usize, const OUT: usize>(
    layer: &Placed<'_, E>,
    strip: &Strip<E::Bits>,
) {
    // SAFETY: as for this function.
    unsafe { layer.strip::<SIDE, OUT>(strip) }
}

impl<E: Sums> Placed<'_, E> {
    #[inline(always)]
    unsafe fn strip<const SIDE: usize, const OUT: usize>(&self, strip: &Strip<E::Bits>)
    where
        E: Tiles<SIDE>,
    {
        let (conv, squared) = (self.conv, self.squared);
        let plan = &squared.plan;
        let channels = conv.input.channels as usize;
        let frame = Frame { patch: &plan.patch, columns: &squared.columns, input: conv.input };
        // SAFETY: the strip's tiles lie in its buffers, its results in the output.
        unsafe {
            let rows = (strip.top * OUT, strip.rows * OUT);
            let planes = Planes::new::<E>(&frame, self.input, strip.patch, rows);
            for channel in 0..channels {
                planes.fill::<E>(channel);
                forth::<E, SIDE, OUT>(plan, strip, channel, channels);
            }
            for group in &squared.groups {
                self.sums::<SIDE>(strip, group, channels);
                for n in 0..group.rows {
                    if conv.expand.is_some() {
                        let to = strip.middle.add((group.first + n) * plan.area());
                        back::<E, SIDE, OUT>(plan, strip, (group.rows, n), |tile, y, x| {
                            for (i, outputs) in tile.into_iter().enumerate() {
                                intermediate::<E, OUT>(
                                    outputs,
                                    to.add((y * OUT + i) * plan.width() + x * OUT),
                                );
                            }
                        });
                    } else if conv.activation.is_plain() {
                        self.dense::<SIDE, OUT, true>(strip, group, n);
                    } else {
                        self.dense::<SIDE, OUT, false>(strip, group, n);
                    }
                }
            }
            if let Some(expand) = &conv.expand {
                self.expand::<OUT>(strip, &expand.groups);
            }
        }
    }

    /// The sums of a group's products over all channels.
    #[inline(always)]
    unsafe fn sums<const SIDE: usize>(&self, strip: &Strip<E::Bits>, group: &Group, channels: usize) {
        let (squared, plan) = (self.squared, &self.squared.plan);
        let column = group.rows.next_multiple_of(E::LANES);
        let runs = Runs { runs: 1, registers: (strip.rows * plan.across).div_ceil(E::LANES), pitch: 0 };
        for product in 0..SIDE * SIDE {
            for first in (0..channels).step_by(TOGETHER) {
                let taps = TOGETHER.min(channels - first);
                let at = group.at + (product * channels + first) * column;
                let weights = squared.weights.get(at..).unwrap_or_default();
                let steps = squared.steps.get(first..).unwrap_or_default();
                runs.blocks(registers(group.rows), |block| {
                    let at = block.register * E::LANES;
                    // SAFETY: blocks are in the strip's values, and so are their sums.
                    unsafe {
                        let job = Job {
                            weights: weights.as_ptr(),
                            steps: steps.as_ptr(),
                            taps,
                            x: strip
                                .values
                                .add(product * plan.product(channels) + first * plan.pitch + at)
                                .cast_const(),
                            pitch: 0,
                            bias: ZEROS.as_ptr(),
                            resume: first > 0,
                            to: strip.sums.add(product * group.rows * plan.pitch + at),
                            row: plan.pitch,
                            run: 0,
                            blocks: block.count,
                            step: [block.registers * E::LANES; 2],
                            direct: false,
                            output: None,
                        };
                        E::compute(group.rows, block.runs, block.registers, &job);
                    }
                });
            }
        }
    }

    /// The results of one filter of a dense layer, whose activation is `PLAIN`.
    #[inline(always)]
    unsafe fn dense<const SIDE: usize, const OUT: usize, const PLAIN: bool>(
        &self,
        strip: &Strip<E::Bits>,
        group: &Group,
        n: usize,
    ) {
        let (conv, plan) = (self.conv, &self.squared.plan);
        let (height, width) = (conv.output.height as usize, conv.output.width as usize);
        let channel = group.first + n;
        let (Some(bias), limits) = (conv.bias.get(channel), Limits::of(conv.activation)) else { return };
        let plane = channel * conv.output.pixels();
        // SAFETY: rows and columns that are in the image are in the output.
        unsafe {
            let bias = vdupq_n_f32(*bias);
            back::<E, SIDE, OUT>(plan, strip, (group.rows, n), |tile, y, x| {
                let (y, x) = ((strip.top + y) * OUT, x * OUT);
                let count = (width - x).min(4 * OUT);
                for (i, outputs) in tile.into_iter().enumerate().take(height - y) {
                    let at = plane + (y + i) * width + x;
                    let mut outputs = outputs.map(|output| vaddq_f32(output, bias));
                    if !self.second.is_null() {
                        outputs = add::<OUT>(outputs, self.second.add(at), count);
                    }
                    if !PLAIN {
                        for at in (0..OUT).step_by(2) {
                            [outputs[at], outputs[at + 1]] =
                                activated([outputs[at], outputs[at + 1]], conv.activation);
                        }
                    }
                    let to = self.output.add(at);
                    let (a, b) = (limits.round([outputs[0], outputs[1]]), outputs.get(2..4));
                    if let Some(&[c, d]) = b {
                        let b = limits.round([c, d]);
                        let [a, b] = four(a, b);
                        if count == 16 {
                            vst1q_u16_x2(to, uint16x8x2_t(a, b));
                        } else {
                            store(a, to, count.min(8));
                            store(b, to.wrapping_add(8), count.saturating_sub(8));
                        }
                    } else {
                        store(two(a), to, count);
                    }
                }
            });
        }
    }

    /// The results of a pair, of its intermediate values.
    #[inline(always)]
    unsafe fn expand<const OUT: usize>(&self, strip: &Strip<E::Bits>, groups: &[Group]) {
        let (conv, plan) = (self.conv, &self.squared.plan);
        let (height, width, pixels) =
            (conv.output.height as usize, conv.output.width as usize, conv.output.pixels());
        let y = strip.top * OUT;
        let rows = (strip.rows * OUT).min(height - y);
        let Some(expand) = &conv.expand else { return };
        let valid = rows * plan.width();
        let runs = Runs { runs: 1, registers: valid.div_ceil(E::LANES), pitch: 0 };
        let full = plan.width() == width && valid.is_multiple_of(E::LANES) && conv.activation.is_plain();
        let row = plan.area().next_multiple_of(E::LANES);
        let to = To { sums: strip.sums, first: 0, row, direct: false };
        let x = strip.middle.cast_const();
        for group in groups {
            let at = group.first * pixels + y * width;
            // SAFETY: as for `strip`.
            unsafe {
                let second =
                    |at: usize| if self.second.is_null() { self.second } else { self.second.add(at) };
                let near = conv.near::<E>(conv.rank, group.first, self.second);
                let output = Output {
                    to: self.output.add(at),
                    second: second(at),
                    row: pixels,
                    run: width,
                    step: 0,
                    activation: conv.activation,
                    near,
                };
                // Results that are no sums in f32 go by way of the buffer of the sums as they are.
                let halves = strip.sums.cast::<u16>();
                let output = match (full, near) {
                    (true, _) => Some(output),
                    (false, Some(_)) => Some(Output { to: halves, row, ..output }),
                    (false, None) => None,
                };
                product::<E>(expand, group, &conv.middle, (x, runs), Some(&conv.bias), to, output);
                for n in 0..if full { 0 } else { group.rows } {
                    for i in 0..rows {
                        let (at, from) = (at + n * pixels + i * width, n * row + i * plan.width());
                        if near.is_some() {
                            self.output.add(at).copy_from_nonoverlapping(halves.add(from), width);
                            continue;
                        }
                        let sums = strip.sums.add(from).cast_const();
                        finish(sums, second(at), self.output.add(at), width, conv.activation);
                    }
                }
            }
        }
    }
}
