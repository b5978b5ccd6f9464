//! Widening the input under a tile into its patch.
#![allow(unsafe_code)]

use super::Vector;
use super::pack::PackedConv;
use crate::kernel::f16;

/// Rows of one plane of the patch, in each of some channels.
pub(in crate::kernel) struct Rows {
    from: *const u16,
    to: *mut f32,
    channels: usize,
    rows: usize,
    /// Values in a row, and input columns from one to the next.
    count: usize,
    stride: usize,
    /// Elements from one channel and from one row to the next.
    from_step: [usize; 2],
    to_step: [usize; 2],
}

/// All planes of the patch in each of some channels, where a row of the patch is as long as one of the input.
pub(in crate::kernel) struct Planes<'a> {
    /// The first row that lies in the image, in the input and in the patch.
    from: *const u16,
    to: *mut f32,
    channels: usize,
    /// Elements of these rows.
    count: usize,
    /// Columns of padding on the left.
    left: usize,
    from_channel: usize,
    to_channel: usize,
    to_plane: usize,
    /// For each plane and register of its rows, the lanes that lie in the image.
    masks: core::slice::ChunksExact<'a, u32>,
}

/// Masks for [`Planes`], all registers of a plane one after another; empty where the patch's rows differ from the
/// input's.
pub(super) fn masks(conv: &PackedConv) -> std::vec::Vec<u32> {
    let (patch, width) = (&conv.patch, conv.patch.width);
    let left = usize::from(conv.window.padding[1]);
    if !patch.joined || conv.window.stride != [1, 1] || conv.input.width != conv.output.width {
        return std::vec::Vec::new();
    }
    let inside = |plane: usize, at: usize| (left..left + width).contains(&(at % width + plane));
    let mask = |plane, register| {
        (0..patch.lanes).filter(|lane| inside(plane, register * patch.lanes + lane)).map(|lane| 1 << lane).sum()
    };
    let registers = registers(conv);
    (0..patch.planes).flat_map(|plane| (0..registers).map(move |register| mask(plane, register))).collect()
}

/// Registers of a plane.
fn registers(conv: &PackedConv) -> usize {
    (conv.patch.phase_rows * conv.patch.pitch).div_ceil(conv.patch.lanes)
}

/// Columns of a plane that lie in the image: the first in the patch, their number, the first in the input.
fn columns(conv: &PackedConv, plane: usize) -> (usize, usize, usize) {
    let (width, stride) = (conv.input.width as usize, usize::from(conv.window.stride[1]));
    let (left, pitch) = (usize::from(conv.window.padding[1]), conv.patch.pitch);
    let to = left.saturating_sub(plane).div_ceil(stride).min(pitch);
    let end = (width + left).saturating_sub(plane).div_ceil(stride).clamp(to, pitch);
    (to, end - to, (to * stride + plane).saturating_sub(left))
}

/// Widens what the output rows from `y` on need of `input`: of all channels of the patch, from `channel` on. What lies
/// outside the image becomes zero; in the columns beside it only where `y` is 0, for they stay the same from tile to tile.
///
/// # Safety
///
/// `input` has the elements of the convolution's input, `to` those of its patch; output rows y… y + rows exist.
pub(super) unsafe fn fill<V: Vector>(
    conv: &PackedConv,
    input: *const u16,
    to: *mut f32,
    (y, rows, channel): (usize, usize, usize),
) {
    let patch = &conv.patch;
    let (height, width) = (conv.input.height as usize, conv.input.width as usize);
    let [sy, sx] = conv.window.stride.map(usize::from);
    let [top, left, _, _] = conv.window.padding.map(usize::from);
    let rows = rows + (patch.phase_rows - patch.rows);
    for phase in 0..patch.phases {
        // Row i of the phase is input row (y + i)·stride + phase − top.
        let at = y * sy + phase;
        let first = top.saturating_sub(at).div_ceil(sy).min(rows);
        let end = (height + top).saturating_sub(at).div_ceil(sy).clamp(first, rows);
        let from_row = (at + first * sy).saturating_sub(top).min(height - 1);
        // SAFETY: rows first..end and the columns lie in the image; plane, rows and columns in the patch.
        unsafe {
            let from = input.add((channel * height + from_row) * width);
            let phase = to.add(patch.plane(phase, 0));
            let to_plane = patch.phase_rows * patch.pitch;
            if V::MASKS && !conv.masks.is_empty() {
                V::fill_planes(&Planes {
                    from,
                    to: phase.add(first * patch.pitch),
                    channels: patch.channels,
                    count: (end - first) * width,
                    left,
                    from_channel: height * width,
                    to_channel: patch.channel(),
                    to_plane,
                    masks: conv.masks.chunks_exact(registers(conv)),
                });
            }
            for plane in 0..patch.planes {
                let to = phase.add(plane * to_plane);
                let (column, count, from_column) = columns(conv, plane);
                for c in 0..patch.channels {
                    let to = to.add(c * patch.channel());
                    zero(to, first * patch.pitch);
                    zero(to.add(end * patch.pitch), (rows - end) * patch.pitch);
                }
                if V::MASKS && !conv.masks.is_empty() {
                    continue;
                }
                let after = patch.pitch - column - count;
                if y == 0 && column + after > 0 {
                    for c in 0..patch.channels {
                        for row in 0..patch.phase_rows {
                            let to = to.add(c * patch.channel() + row * patch.pitch);
                            zero(to, column);
                            zero(to.add(column + count), after);
                        }
                    }
                }
                if first == end || count == 0 {
                    continue;
                }
                let rows = Rows {
                    from: from.add(from_column),
                    to: to.add(first * patch.pitch + column),
                    channels: patch.channels,
                    rows: end - first,
                    count,
                    stride: sx,
                    from_step: [height * width, sy * width],
                    to_step: [patch.channel(), patch.pitch],
                };
                V::fill_rows(&rows);
            }
        }
    }
}

/// Clears `count` elements, of which there are few.
#[inline(always)]
unsafe fn zero(to: *mut f32, count: usize) {
    for i in 0..count {
        // Volatile, or this becomes a call for each of many short runs. SAFETY: the caller has these elements.
        unsafe { to.add(i).write_volatile(0.0) };
    }
}

impl Rows {
    /// Widens the rows.
    ///
    /// # Safety
    ///
    /// `from` and `to` have all these elements. To be inlined into a function that has the instruction set.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn run<V: Vector>(&self) {
        let (whole, rest) = (self.count / V::LANES * V::LANES, self.count % V::LANES);
        for channel in 0..self.channels {
            for row in 0..self.rows {
                // SAFETY: as the caller promises.
                unsafe {
                    let from = self.from.add(channel * self.from_step[0] + row * self.from_step[1]);
                    let to = self.to.add(channel * self.to_step[0] + row * self.to_step[1]);
                    match self.stride {
                        1 => {
                            for x in (0..whole).step_by(V::LANES) {
                                V::store(V::widen(from.add(x), V::LANES), to.add(x));
                            }
                            if rest > 0 {
                                V::store_part(V::widen(from.add(whole), rest), to.add(whole), rest);
                            }
                        }
                        2 => {
                            for x in (0..whole).step_by(V::LANES) {
                                V::store(V::widen_even(from.add(2 * x), V::LANES), to.add(x));
                            }
                            if rest > 0 {
                                V::store_part(V::widen_even(from.add(2 * whole), rest), to.add(whole), rest);
                            }
                        }
                        stride => {
                            for x in 0..self.count {
                                *to.add(x) = f16::widen(*from.add(x * stride));
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Planes<'_> {
    /// Widens the planes, in ascending order: a register may write zeros over the beginning of what follows.
    ///
    /// # Safety
    ///
    /// As for [`Rows::run`]; where a mask has a lane, the input has its element. The patch has a register more than its
    /// channels.
    #[inline(always)]
    pub(in crate::kernel) unsafe fn run<V: Vector>(&self) {
        for channel in 0..self.channels {
            for (plane, masks) in self.masks.clone().enumerate() {
                let from = self.from.wrapping_add(channel * self.from_channel + plane).wrapping_sub(self.left);
                // SAFETY: as the caller promises.
                unsafe {
                    let to = self.to.add(channel * self.to_channel + plane * self.to_plane);
                    let mut at = 0;
                    for mask in masks {
                        if at >= self.count {
                            break;
                        }
                        let count = V::LANES.min(self.count - at);
                        let mask = mask & ((1 << count) - 1);
                        V::store(V::widen_masked(from.wrapping_add(at), mask), to.add(at));
                        at += V::LANES;
                    }
                }
            }
        }
    }
}
