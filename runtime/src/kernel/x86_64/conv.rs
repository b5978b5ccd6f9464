//! A convolution, tile by tile.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::depthwise::{self, Planes};
use super::geometry::{Lines, STRIP};
use super::packed::{Lanes, PackedConv};
use super::pixels::{Matrix, Pixels};
use super::sums::{Job, Output, To};
use super::{Part, Vector, channels, winograd};
use crate::kernel::team::Team;
use crate::kernel::tiling::CACHE_LINE;
use crate::kernel::{self, Buffers, Second};

/// Runs a packed convolution, its tiles shared by `team`; false, and nothing done, where a buffer does not fit it or the
/// result goes to logits.
pub(super) fn run<V: Vector>(conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
    let kernel::Output::Half(output) = &mut buffers.output else { return false };
    let second = match buffers.second {
        Second::None => core::ptr::null(),
        Second::InPlace => output.as_ptr(),
        Second::Other(second) if second.len() == output.len() => second.as_ptr(),
        Second::Other(_) => return false,
    };
    let shapes = match &conv.0 {
        Lanes::Pixels(conv) => (conv.input, conv.output),
        Lanes::Channels(conv) => (conv.input(), conv.output()),
        Lanes::Winograd(conv) => conv.shapes(),
    };
    let fits = buffers.input.len() == shapes.0.len()
        && output.len() == shapes.1.len()
        && buffers.scratch.len() >= conv.scratch()
        && conv.lanes() == V::LANES;
    if !fits {
        return false;
    }
    let team = team.filter(|team| team.scratch() >= conv.scratch());
    let (input, output) = (buffers.input.as_ptr(), output.as_mut_ptr());
    // SAFETY: `fits`, and the team's scratch is large enough too.
    unsafe {
        match &conv.0 {
            Lanes::Pixels(conv) => pixels::<V>(conv, (input, output, second), buffers.scratch, team),
            Lanes::Channels(conv) => {
                channels::run::<V>(conv, (input, output, second), buffers.scratch, team);
            }
            Lanes::Winograd(conv) => {
                winograd::run::<V>(conv, (input, output, second), buffers.scratch, team);
            }
        }
    }
    true
}

/// Runs a convolution with pixels in the lanes.
///
/// # Safety
///
/// `input`, `output` and, unless it is null, `second` have the elements of the convolution's shapes; `scratch` and the
/// team's have [`Pixels::scratch`]; the machine has the instruction set.
unsafe fn pixels<V: Vector>(
    conv: &Pixels,
    (input, output, second): (*const u16, *mut u16, *const u16),
    scratch: &mut [f32],
    team: Option<&mut Team>,
) {
    let layer = Placed { conv, input, output, second };
    let (height, channels) = (conv.output.height as usize, conv.patch.channels);
    match team {
        // SAFETY: the caller's promise.
        None => unsafe { layer.tiles::<V>(scratch, (conv.patch.rows, channels), &AtomicUsize::new(0)) },
        Some(team) => {
            let size = match conv.depthwise {
                true => {
                    let share = (conv.input.channels as usize).div_ceil(team.threads());
                    (conv.patch.rows, channels.min(share).max(1))
                }
                false => (conv.patch.shared_rows(team.threads(), height), channels),
            };
            let next = AtomicUsize::new(0);
            // SAFETY: the caller's promise; the team's threads have this instruction set.
            team.share(scratch, &|scratch| unsafe { layer.tiles::<V>(scratch, size, &next) });
        }
    }
}

/// A convolution with its buffers, which have the sizes that it states.
struct Placed<'a> {
    conv: &'a Pixels,
    input: *const u16,
    output: *mut u16,
    second: *const u16,
}

// SAFETY: threads write to different tiles of the output; the residual of a tile, where it is the output itself, is read
// only by the thread that writes it.
unsafe impl Sync for Placed<'_> {}

impl Placed<'_> {
    /// Computes tiles of `rows` ≤ `conv.patch.rows` rows, of a depthwise layer for `channels` ≤ `conv.patch.channels`
    /// channels: the `next` one again and again, until there is none left.
    ///
    /// # Safety
    ///
    /// The buffers have the sizes that the convolution states, `scratch` that of [`Pixels::scratch`], and the machine
    /// has the instruction set.
    unsafe fn tiles<V: Vector>(
        &self,
        scratch: &mut [f32],
        (rows, channels): (usize, usize),
        next: &AtomicUsize,
    ) {
        let conv = self.conv;
        let aligned = scratch.as_ptr().align_offset(CACHE_LINE);
        let scratch = scratch.get_mut(aligned..).unwrap_or_default();
        let Some((patch, middle)) = scratch.split_at_mut_checked(conv.patch.len()) else { return };
        let tile = Tile {
            conv,
            input: self.input,
            patch: patch.as_mut_ptr(),
            middle: middle.as_mut_ptr(),
            output: self.output,
            second: self.second,
        };
        let height = conv.output.height as usize;
        let all = if conv.depthwise { conv.input.channels as usize } else { channels };
        let blocks = all.div_ceil(channels.max(1)).max(1);
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            let (y, channel) = ((item / blocks).saturating_mul(rows), item % blocks * channels);
            if y >= height {
                return;
            }
            let part = Part { y, rows: rows.min(height - y), channel, channels: channels.min(all - channel) };
            // SAFETY: the caller's promise; the fields of a packed convolution fit each other.
            unsafe {
                V::fill(&conv.fill, tile.input, tile.patch, part);
                if !conv.depthwise {
                    tile.compute::<V>(y, part.rows);
                    continue;
                }
                let Tile { output, second, .. } = tile;
                if !depthwise::run::<V>(&Planes { conv, patch: tile.patch, output, second, part }) {
                    for i in 0..part.channels {
                        tile.depthwise::<V>(y, part.rows, (channel + i, i));
                    }
                }
            }
        }
    }
}

/// What one tile needs. The pointers are to buffers of the sizes that `conv` states.
struct Tile<'a> {
    conv: &'a Pixels,
    input: *const u16,
    patch: *mut f32,
    middle: *mut f32,
    output: *mut u16,
    second: *const u16,
}

impl Tile<'_> {
    /// Dense and pair.
    unsafe fn compute<V: Vector>(&self, y: usize, rows: usize) {
        let conv = self.conv;
        let lines = conv.patch.lines(rows);
        let strip = lines.lines.min(STRIP);
        let out = y * conv.patch.width;
        for across in 0..lines.across {
            for line in (0..lines.lines).step_by(strip) {
                let count = strip.min(lines.lines - line);
                // SAFETY: the registers of these lines lie in the patch, their pixels in the output.
                unsafe {
                    let x = self.patch.add(across * V::LANES + line * lines.step).cast_const();
                    let output = self.output::<V>(&lines, across, line, count, out);
                    match &conv.expand {
                        None => self.product::<V>(
                            &conv.first,
                            &conv.offsets,
                            (x, lines.step, count),
                            &conv.bias,
                            To::Output(output),
                        ),
                        Some((expand, offsets)) => {
                            let row = conv.patch.middle(1);
                            let to = To::Middle { to: self.middle, row };
                            self.product::<V>(&conv.first, &conv.offsets, (x, lines.step, count), &[], to);
                            let middle = (self.middle.cast_const(), V::LANES, count);
                            self.product::<V>(expand, offsets, middle, &conv.bias, To::Output(output));
                        }
                    }
                }
            }
        }
    }

    /// Depthwise, for windows without a kernel of their own: a channel and its place in the patch.
    unsafe fn depthwise<V: Vector>(&self, y: usize, rows: usize, (channel, place): (usize, usize)) {
        let conv = self.conv;
        let lines = conv.patch.lines(rows);
        let out = channel * conv.output.pixels() + y * conv.patch.width;
        let Some(bias) = conv.bias.get(channel) else { return };
        for across in 0..lines.across {
            for line in (0..lines.lines).step_by(STRIP) {
                let count = STRIP.min(lines.lines - line);
                // SAFETY: as in `compute`.
                unsafe {
                    let at = place * conv.patch.channel() + across * V::LANES + line * lines.step;
                    let x = self.patch.add(at).cast_const();
                    let job = Job {
                        weights: conv.channel(channel).as_ptr(),
                        offsets: conv.offsets.as_ptr(),
                        taps: conv.offsets.len(),
                        x,
                        step: lines.step,
                        bias,
                        to: To::Output(self.output::<V>(&lines, across, line, count, out)),
                    };
                    registers::<V>(1, count, job);
                }
            }
        }
    }

    /// The output of lines `line`…, the tile's first pixel being at `out`.
    unsafe fn output<V: Vector>(
        &self,
        lines: &Lines,
        across: usize,
        line: usize,
        count: usize,
        out: usize,
    ) -> Output {
        let at = out + across * V::LANES + line * lines.out_step;
        let (last_column, last_line) = (across + 1 == lines.across, line + count == lines.lines);
        Output {
            // SAFETY: the pixel is in the image.
            to: unsafe { self.output.add(at) },
            second: if self.second.is_null() { self.second } else { unsafe { self.second.add(at) } },
            row: self.conv.output.pixels(),
            step: lines.out_step,
            count: if last_column { lines.count } else { V::LANES },
            last: match (last_column, last_line) {
                (true, true) => lines.last,
                (true, false) => lines.count,
                _ => V::LANES,
            },
            activation: self.conv.activation,
        }
    }

    /// A matrix times `count` registers of pixels.
    unsafe fn product<V: Vector>(
        &self,
        matrix: &Matrix,
        offsets: &[u32],
        (x, step, count): (*const f32, usize, usize),
        bias: &[f32],
        to: To,
    ) {
        for (first, rows, weights) in matrix.groups() {
            let bias = bias.get(first..first + rows).map_or(core::ptr::null(), <[f32]>::as_ptr);
            // SAFETY: row `first` of the destination is in it.
            let to = unsafe { to.behind(first, 0, 0) };
            let (weights, offsets, taps) = (weights.as_ptr(), offsets.as_ptr(), offsets.len());
            // SAFETY: as for this function.
            unsafe { registers::<V>(rows, count, Job { weights, offsets, taps, x, step, bias, to }) };
        }
    }
}

impl To {
    /// The destination `row` rows and `registers` registers of pixels behind, of which each has `lanes` f32.
    unsafe fn behind(self, row: usize, registers: usize, lanes: usize) -> To {
        // SAFETY: the caller goes on inside the destination.
        unsafe {
            match self {
                To::Middle { to, row: step } => {
                    To::Middle { to: to.add(row * step + registers * lanes), row: step }
                }
                To::Output(output) => {
                    let at = row * output.row + registers * output.step;
                    let second = if output.second.is_null() { output.second } else { output.second.add(at) };
                    To::Output(Output { to: output.to.add(at), second, ..output })
                }
            }
        }
    }

    /// The destination, with all of its registers whole but the last if `ends`.
    fn part(self, ends: bool) -> To {
        match self {
            To::Output(output) if !ends => To::Output(Output { last: output.count, ..output }),
            to => to,
        }
    }
}

/// Runs a job of `rows` rows over `count` registers of pixels in the largest pieces that fit the registers.
#[inline]
unsafe fn registers<V: Vector>(rows: usize, count: usize, job: Job) {
    let widest = V::registers(rows);
    let mut at = 0;
    while at < count {
        let pieces = widest.min(1 << (count - at).ilog2());
        // SAFETY: registers at..at + pieces are in the job.
        unsafe {
            let to = job.to.behind(0, at, V::LANES).part(at + pieces == count);
            let job = Job { x: job.x.add(at * job.step), to, ..job };
            piece::<V>(rows, pieces, &job);
        }
        at += pieces;
    }
}

/// Calls the kernel for `rows` rows and `pieces` registers.
unsafe fn piece<V: Vector>(rows: usize, pieces: usize, job: &Job) {
    macro_rules! kernels {
        ($(($n:literal, $($p:literal)*))*) => {
            match (rows, pieces) {
                // SAFETY: as for this function.
                $($(($n, $p) => unsafe { V::sums::<$n, $p>(job) },)*)*
                _ => {}
            }
        };
    }
    kernels!((1, 1 2 4 8)(2, 1 2 4 8)(3, 1 2 4 8)(4, 1 2 4)(5, 1 2 4)(6, 1 2 4))
}
