//! A convolution, tile by tile.
#![allow(unsafe_code)]

use core::arch::aarch64::{vld1q_u16, vst1q_u16};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::depthwise::Part;
use super::fill::{EIGHT, fill};
use super::finish::{finish, some, store};
use super::geometry::{MOST_ROWS, Runs};
use super::kernels::Kernels;
use super::matrix::{Group, Matrix, Taps};
use super::pack::Packed;
use super::product::{To, product};
use super::squares;
use super::sums::Output;
use crate::kernel::team::Team;
use crate::kernel::tiling::CACHE_LINE;
use crate::kernel::{self, Buffers, Second};

/// Runs a packed convolution, its tiles shared by `team`; false, and nothing done, where a buffer does not fit it or the
/// result goes to logits. The machine must have the instructions of `E`.
pub(super) fn run<E: Kernels>(
    conv: &Packed<E::Bits>,
    buffers: &mut Buffers<'_>,
    team: Option<&mut Team>,
) -> bool {
    let kernel::Output::Half(output) = &mut buffers.output else { return false };
    let second = match buffers.second {
        Second::None => core::ptr::null(),
        Second::InPlace => output.as_ptr(),
        Second::Other(second) if second.len() == output.len() => second.as_ptr(),
        Second::Other(_) => return false,
    };
    let needed = conv.scratch();
    let fits = buffers.input.len() == conv.input.len()
        && output.len() == conv.output.len()
        && buffers.scratch.len() >= needed;
    if !fits {
        return false;
    }
    if let Some(squares) = &conv.squares {
        let buffers = (buffers.input.as_ptr(), output.as_mut_ptr(), second, &mut *buffers.scratch);
        // SAFETY: `fits`.
        unsafe { squares::run::<E>(conv, squares, buffers, team.filter(|team| team.scratch() >= needed)) };
        return true;
    }
    let layer = Placed::<E> { conv, input: buffers.input.as_ptr(), output: output.as_mut_ptr(), second };
    match team.filter(|team| team.scratch() >= needed) {
        // SAFETY: `fits`.
        None => unsafe { layer.tiles(buffers.scratch, (conv.patch.rows, 1), &AtomicUsize::new(0)) },
        Some(team) if conv.depthwise => {
            let next = AtomicUsize::new(0);
            let tile = (conv.patch.rows, team.threads().min(conv.input.channels as usize));
            // SAFETY: `fits`, and the team's scratch is large enough too; its threads have these instructions.
            team.share(buffers.scratch, &|scratch| unsafe {
                layer.tiles(scratch, tile, &next);
            });
        }
        Some(team) => {
            let share = (conv.output.height as usize).div_ceil(team.threads());
            // Whole strips where that leaves nobody idle.
            let rows = if share > conv.strip { share.next_multiple_of(conv.strip) } else { share };
            let rows = rows.clamp(1, conv.patch.rows.max(1));
            let next = AtomicUsize::new(0);
            team.share(buffers.scratch, &|scratch| {
                // SAFETY: `fits`, and the team's scratch is large enough too; its threads have these instructions.
                unsafe { layer.tiles(scratch, (rows, 1), &next) }
            });
        }
    }
    true
}

/// A convolution with its buffers, which have the sizes that it states.
struct Placed<'a, E: Kernels> {
    conv: &'a Packed<E::Bits>,
    input: *const u16,
    output: *mut u16,
    second: *const u16,
}

// SAFETY: threads write to different tiles of the output; the residual of a tile, where it is the output itself, is read
// only by the thread that writes it.
unsafe impl<E: Kernels> Sync for Placed<'_, E> {}

impl<E: Kernels> Placed<'_, E> {
    /// Computes tiles of `rows` ≤ `conv.patch.rows` rows, of a depthwise layer one of `parts` parts of its channels: the
    /// `next` one again and again, until there is none left.
    ///
    /// # Safety
    ///
    /// The buffers have the sizes that the convolution states, `scratch` that of [`Patch::scratch`], and the machine has
    /// the instructions of `E`.
    ///
    /// [`Patch::scratch`]: crate::kernel::tiling::Patch::scratch
    unsafe fn tiles(&self, scratch: &mut [f32], (rows, parts): (usize, usize), next: &AtomicUsize) {
        let conv = self.conv;
        let aligned = scratch.as_ptr().align_offset(CACHE_LINE);
        let scratch = scratch.get_mut(aligned..).unwrap_or_default();
        let patch = (conv.patch.len() * size_of::<E::Bits>()).next_multiple_of(CACHE_LINE) / size_of::<f32>();
        let Some((patch, rest)) = scratch.split_at_mut_checked(patch) else { return };
        let area = conv.patch.area(conv.strip);
        let Some((middle, sums)) = rest.split_at_mut_checked(conv.rank * area) else { return };
        if sums.len() < MOST_ROWS * area {
            return;
        }
        if conv.window.padding != [0; 4] {
            patch.fill(0.0);
        }
        let tile = Tile::<E> {
            conv,
            patch: patch.as_mut_ptr().cast(),
            middle: middle.as_mut_ptr(),
            sums: sums.as_mut_ptr(),
            output: self.output,
            second: self.second,
        };
        let height = conv.output.height as usize;
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            let (y, part) = ((item / parts).saturating_mul(rows), item % parts);
            if y >= height {
                return;
            }
            let rows = rows.min(height - y);
            let all = if conv.depthwise { conv.input.channels as usize } else { 1 };
            let channels = part * all / parts..(part + 1) * all / parts;
            // SAFETY: the caller's promise; the fields of a packed convolution fit each other.
            unsafe {
                if conv.by_rows() {
                    let Tile { patch, output, second, .. } = tile;
                    let input = self.input;
                    E::depthwise(&Part { conv, input, patch, output, second, y, rows, channels });
                    continue;
                }
                for channel in channels {
                    fill::<E>(&conv.frame(), self.input, tile.patch, (y, rows, channel));
                    for strip in (0..rows).step_by(conv.strip) {
                        tile.strip(channel, y, strip, conv.strip.min(rows - strip));
                    }
                }
            }
        }
    }
}

/// What one tile needs. The pointers are to buffers of the sizes that `conv` states.
struct Tile<'a, E: Kernels> {
    conv: &'a Packed<E::Bits>,
    patch: *mut E::Bits,
    middle: *mut f32,
    sums: *mut f32,
    output: *mut u16,
    second: *const u16,
}

impl<E: Kernels> Tile<'_, E> {
    /// Output rows `strip`… `strip` + `rows` of the tile that begins with output row `y`.
    unsafe fn strip(&self, channel: usize, y: usize, strip: usize, rows: usize) {
        let conv = self.conv;
        // Rows of weights are as far apart in a last, shorter strip as in the others.
        let (runs, area, row) = (conv.patch.runs(rows), conv.patch.area(rows), conv.patch.area(conv.strip));
        // SAFETY: the strip's pixels lie in the patch, its sums in their buffers, its results in the output.
        unsafe {
            let x = self.patch.add(strip * conv.patch.pitch).cast_const();
            if let Some(expand) = &conv.expand {
                // Sums in f16 that need no carry are the intermediate values.
                let direct = conv.taps.steps.len() <= E::CARRY && E::LANES == 8;
                for group in &conv.first.groups {
                    let to = To { sums: self.middle, first: group.first * row, row, direct };
                    product::<E>(&conv.first, group, &conv.taps, (x, runs), None, to, None);
                }
                let x = if direct {
                    self.middle.cast::<E::Bits>().cast_const()
                } else {
                    E::intermediate(self.middle, conv.rank * row)
                };
                let runs = Runs { runs: 1, registers: area / E::LANES, pitch: 0 };
                self.results(expand, &expand.groups, &conv.middle, (x, runs), (y + strip, rows));
                return;
            }
            let groups = if conv.depthwise { channel..channel + 1 } else { 0..conv.first.groups.len() };
            let groups = conv.first.groups.get(groups).unwrap_or_default();
            self.results(&conv.first, groups, &conv.taps, (x, runs), (y + strip, rows));
        }
    }

    /// The results of some groups of a matrix for output rows `y`… `y` + `rows`.
    unsafe fn results(
        &self,
        matrix: &Matrix<E::Bits>,
        groups: &[Group],
        taps: &Taps,
        pixels: (*const E::Bits, Runs),
        (y, rows): (usize, usize),
    ) {
        let conv = self.conv;
        let (area, plane, width) = (conv.patch.area(rows), conv.output.pixels(), conv.patch.width);
        // Straight from the registers where these are full, all of them or all but the last of a run, and the activation has
        // instructions there.
        let (valid, plain) = (rows * width, conv.activation.is_plain());
        let joined = conv.patch.runs(rows).runs == 1 && plain;
        let full = area == valid && plain;
        let whole = valid / E::LANES;
        let row = conv.patch.area(conv.strip);
        let to = To { sums: self.sums, first: 0, row, direct: false };
        for group in groups {
            let at = group.first * plane + y * width;
            // SAFETY: as for `strip`.
            unsafe {
                let second =
                    |at: usize| if self.second.is_null() { self.second } else { self.second.add(at) };
                let output = Output {
                    to: self.output.add(at),
                    second: second(at),
                    row: plane,
                    run: width,
                    step: 0,
                    activation: conv.activation,
                    near: conv.near::<E>(taps.steps.len(), group.first, self.second),
                };
                let (x, runs) = pixels;
                if full || !joined {
                    let output = Some(output).filter(|_| full);
                    product::<E>(matrix, group, taps, (x, runs), Some(&conv.bias), to, output);
                    if !full {
                        self.finish(group, y, rows);
                    }
                    continue;
                }
                let (most, last) = (Runs { registers: whole, ..runs }, Runs { registers: 1, ..runs });
                product::<E>(matrix, group, taps, (x, most), Some(&conv.bias), to, Some(output));
                // The last register of a run, by way of whole ones.
                let done = whole * E::LANES;
                let (at, count) = (at + done, valid - done);
                let mut halves = [[0u16; EIGHT]; MOST_ROWS];
                for (n, eight) in halves.iter_mut().enumerate().take(group.rows) {
                    if !self.second.is_null() {
                        vst1q_u16(eight.as_mut_ptr(), some(self.second.add(at + n * plane), count));
                    }
                }
                let to_halves = halves.as_mut_ptr().cast::<u16>();
                let second = if self.second.is_null() { self.second } else { to_halves };
                let output = Output { to: to_halves, second, row: EIGHT, run: EIGHT, ..output };
                product::<E>(matrix, group, taps, (x.add(done), last), Some(&conv.bias), to, Some(output));
                for n in 0..group.rows {
                    let eight = vld1q_u16(to_halves.add(n * EIGHT));
                    store(eight, self.output.add(at + n * plane), count);
                }
            }
        }
    }

    /// Finishes the sums of a group for output rows `y`… `y` + `rows`.
    unsafe fn finish(&self, group: &Group, y: usize, rows: usize) {
        let (conv, pixels) = (self.conv, self.conv.output.pixels());
        let (runs, row, width) = (conv.patch.runs(rows), conv.patch.area(conv.strip), conv.patch.width);
        let run = runs.registers * E::LANES;
        // Rows that fill their registers follow one another.
        let (runs, count) = if runs.runs == 1 || run == width { (1, rows * width) } else { (rows, width) };
        for n in 0..group.rows {
            let at = (group.first + n) * pixels + y * width;
            for r in 0..runs {
                // SAFETY: as for `strip`.
                unsafe {
                    let (sums, at) = (self.sums.add(n * row + r * run), at + r * width);
                    let second = if self.second.is_null() { self.second } else { self.second.add(at) };
                    finish(sums, second, self.output.add(at), count, conv.activation);
                }
            }
        }
    }
}
