//! The inner loops: checked entries, and what they do in assembler on the device and in Rust elsewhere.
//!
//! `E` is the element of patches and intermediate values: f32, or f16 as its bits (`u16`). A group of pixels is one
//! vector of it. Sums are f32; those of a vector of f16 lie with the even pixels before the odd ones.
#![allow(unsafe_code)]

mod depthwise;
#[cfg(cortex_m55)]
#[path = "arm/mod.rs"]
mod inner;
#[cfg(not(cortex_m55))]
#[path = "plain.rs"]
mod inner;
mod other;
mod store;

use bytemuck::Pod;

use super::super::cortex_m::tile::Geometry;
use super::super::{THIN_SCALE, WeightMatrix, f16};
use super::tile::Lanes;
use inner::Loops;

pub(super) use depthwise::{Depthwise, depthwise};
pub(super) use other::{add, dot, dot_wide, sum};
pub(super) use store::{Epilogue, Expand, Residual, Rows, expand, finish};

/// An element of vectors.
pub(super) trait Element: Pod + Default + Loops {
    const LANES: Lanes;
    /// Of f16 bits.
    fn of(half: u16) -> Self;
    /// Lanes of a vector register that hold this value.
    fn word(value: f32) -> u32;
    /// Where the sum of a group's pixel lies.
    fn place(pixel: usize) -> usize;
    /// A patch, where it is in f32.
    fn full(patch: &[Self]) -> Option<&[f32]>;
}

impl Element for f32 {
    const LANES: Lanes = Lanes { pixels: 4, outs: 7, interval: 1 << 16, ranks: 64 };

    fn of(half: u16) -> f32 {
        inner::widen_one(half)
    }

    fn word(value: f32) -> u32 {
        value.to_bits()
    }

    fn place(pixel: usize) -> usize {
        pixel
    }

    fn full(patch: &[f32]) -> Option<&[f32]> {
        Some(patch)
    }
}

impl Element for u16 {
    // A carry takes two registers.
    const LANES: Lanes = Lanes { pixels: 8, outs: 6, interval: 36, ranks: 32 };

    fn of(half: u16) -> u16 {
        half
    }

    fn word(value: f32) -> u32 {
        u32::from(f16::narrow(value)) * 0x0001_0001
    }

    fn place(pixel: usize) -> usize {
        pixel % 2 * 4 + pixel / 2
    }

    fn full(_patch: &[u16]) -> Option<&[f32]> {
        None
    }
}

/// Most channels computed together, of all elements.
const OUTS: usize = 7;

/// Which taps share addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taps {
    /// One offset a tap.
    Single,
    /// One tap a channel: pixels a fixed distance apart.
    Strided,
    /// 3×3, pixels of a row one apart.
    Square,
    /// 3×3, pixels of a row two apart, in two phases.
    Square2,
}

impl Taps {
    /// Of a convolution.
    pub fn of(geometry: &Geometry) -> Self {
        match (geometry.kernel, geometry.stride[1]) {
            ([1, 1], _) => Taps::Strided,
            ([3, 3], 1) => Taps::Square,
            ([3, 3], 2) => Taps::Square2,
            _ => Taps::Single,
        }
    }

    /// Taps of one round of the inner loop.
    pub fn each(self) -> usize {
        if matches!(self, Taps::Square | Taps::Square2) { 9 } else { 1 }
    }
}

/// Where the pixels lie that the taps meet; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub taps: Taps,
    /// Channels, or taps of [`Taps::Single`].
    pub count: usize,
    /// Of [`Taps::Single`], in bytes.
    pub offsets: &'a [u32],
    /// From a channel to the next.
    pub channel: usize,
    /// From a row of a phase to the next of the same channel.
    pub pitch: usize,
    pub rows: usize,
    /// Groups of pixels in a row.
    pub groups: usize,
    /// From a group to the next.
    pub group: usize,
    /// From the first group of a row to that of the next.
    pub row: usize,
}

impl Walk<'_> {
    /// Elements up to behind the last that is met.
    fn reach<E: Element>(&self) -> usize {
        let last = match self.taps {
            Taps::Single => self.offsets.iter().max().map_or(0, |bytes| *bytes as usize / size_of::<E>()),
            Taps::Strided => (self.count - 1) * self.channel,
            Taps::Square => (self.count - 1) * self.channel + 2 * self.pitch + 2,
            // The odd ones lie behind the even ones, which reach one further.
            Taps::Square2 => (self.count - 1) * self.channel + 5 * self.pitch + 1,
        };
        last + (self.rows - 1) * self.row + (self.groups - 1) * self.group + E::LANES.pixels
    }
}

/// What sums start from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    /// One value for each output channel; zero where there is none.
    Bias(&'a [f32]),
    /// What they hold.
    Resume,
}

/// What [`accumulate`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct Accumulate {
    x: *const u8,
    x_row: usize,
    rows: usize,
    groups: usize,
    weights: *const u32,
    /// Rounds of the inner loop.
    count: usize,
    sums: *mut f32,
    sums_group: usize,
    start: *const f32,
    start_group: usize,
    /// From a row to the next, from a phase to the other, from a channel to the next, or the offsets.
    step: usize,
    /// From the last row or tap of a channel to the first of the next.
    channel: usize,
    x_group: usize,
    /// Groups left, for the loops.
    left: usize,
}

/// For each group of pixels and each of `outs` channels (at least 1): adds to its sums, for every tap, weight · pixels.
/// `panel` holds for each tap one weight a channel, `sums` for each group the sums of the channels, of which the groups
/// have room for `sums_group` f32. Does nothing where a length does not fit.
pub(super) fn accumulate<E: Element>(
    walk: Walk<'_>,
    outs: usize,
    (x, panel): (&[E], &[u32]),
    (sums, sums_group): (&mut [f32], usize),
    start: Start<'_>,
) {
    const F32: usize = size_of::<f32>();
    let pixels = E::LANES.pixels;
    let Walk { taps, count, rows, groups, .. } = walk;
    if rows == 0 || groups == 0 || count == 0 || !(1..=E::LANES.outs).contains(&outs) {
        return;
    }
    let kept = (rows * groups - 1) * sums_group + outs * pixels;
    let listed = taps != Taps::Single || walk.offsets.len() == count;
    let fits = walk.reach::<E>() <= x.len()
        && kept <= sums.len()
        && sums_group >= outs * pixels
        && panel.len() == count * taps.each() * outs;
    if !(fits && listed) {
        return;
    }
    static ZERO: [f32; OUTS * 8] = [0.0; OUTS * 8];
    // Four at a time: a vector of f16 has eight.
    let initial: [[f32; 4]; OUTS * 2];
    let from = match start {
        Start::Bias(bias) if !bias.is_empty() => {
            initial = core::array::from_fn(|i| [bias.get(i * 4 / pixels).copied().unwrap_or_default(); 4]);
            initial.as_ptr().cast()
        }
        Start::Bias(_) => ZERO.as_ptr(),
        Start::Resume => sums.as_ptr(),
    };
    let (pitch, channel) = (walk.pitch * size_of::<E>(), walk.channel * size_of::<E>());
    let (step, channel) = match taps {
        Taps::Single => (walk.offsets.as_ptr().expose_provenance(), 0),
        Taps::Strided => (channel, 0),
        Taps::Square => (pitch, channel.wrapping_sub(2 * pitch)),
        Taps::Square2 => (pitch, channel.wrapping_sub(4 * pitch)),
    };
    let mut arguments = Accumulate {
        x: x.as_ptr().cast(),
        x_row: walk.row * size_of::<E>(),
        rows,
        groups,
        weights: panel.as_ptr(),
        count,
        sums: sums.as_mut_ptr(),
        sums_group: sums_group * F32,
        start: from,
        start_group: if let Start::Resume = start { sums_group * F32 } else { 0 },
        step,
        channel,
        x_group: walk.group * size_of::<E>(),
        left: 0,
    };
    // SAFETY: pixels up to `reach` and sums up to `kept` are there, checked above; each tap has its weights; the
    // initial sums are those of `outs` channels, or the sums themselves.
    unsafe { E::accumulate(taps, outs, &mut arguments) }
}

/// Output channels of a panel, at most.
const MOST_OUTS: usize = 8;

/// Weights of `rows` (at least 1) rows that begin `pitch` apart, `count` of each, into words, element by element: each
/// as an f32, or as f16 bits. False, and nothing done, where a length does not fit.
pub(super) fn panel<E: Element>(
    from: WeightMatrix<'_>,
    pitch: usize,
    rows: usize,
    count: usize,
    to: &mut [u32],
) -> bool {
    let there = (1..=MOST_OUTS).contains(&rows)
        && count > 0
        && (rows - 1) * pitch + count <= from.len()
        && rows * count <= to.len();
    match from {
        _ if !there => {}
        // SAFETY: the elements are there, checked above.
        WeightMatrix::Half(from) => unsafe {
            E::panel(from.as_ptr(), pitch * size_of::<u16>(), rows, count, to.as_mut_ptr());
        },
        WeightMatrix::Eight(eights) => {
            let (values, scales) = eights.parts();
            static THIN: [f32; MOST_OUTS] = [THIN_SCALE; MOST_OUTS];
            let scales = if scales.len() < rows { THIN.as_ptr() } else { scales.as_ptr() };
            // SAFETY: as above, and there is a scale for each row.
            unsafe { E::eights(values.as_ptr(), [pitch, rows, count], to.as_mut_ptr(), scales) }
        }
    }
    there
}

/// Parts of planes and where they go; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub channels: usize,
    pub rows: usize,
    /// Values of a row.
    pub count: usize,
    /// From a row to the next and from a plane to the next of the source.
    pub from_row: usize,
    pub from_channel: usize,
    /// The same of the patch.
    pub to_row: usize,
    pub to_channel: usize,
    /// Where in the patch the first value goes.
    pub first: usize,
    /// Where the second one goes, where every second value goes elsewhere or, with the same place as the first,
    /// nowhere.
    pub second: Option<usize>,
}

/// What [`fill`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
pub(super) struct FillArguments {
    from: *const u16,
    from_row: usize,
    to: *mut u8,
    to_row: usize,
    /// From `to` to where the second values go.
    second: isize,
    rows: usize,
    count: usize,
    channels: usize,
    /// From behind the last row of a channel to the first of the next.
    from_channel: usize,
    to_channel: usize,
}

/// Copies rows of f16 into a patch, as f32 or as they are. Does nothing where a length does not fit.
pub(super) fn fill<E: Element>(from: &[u16], to: &mut [E], shape: &Fill) {
    let Fill { channels, rows, count, from_row, from_channel, to_row, to_channel, first, second } = *shape;
    if channels == 0 || rows == 0 || count == 0 {
        return;
    }
    let each = if second.is_some() { count.div_ceil(2) } else { count };
    let last = (channels - 1) * from_channel + (rows - 1) * from_row + count;
    let begin = first.max(second.unwrap_or(first));
    let end = (channels - 1) * to_channel + (rows - 1) * to_row + begin + each;
    if last > from.len() || end > to.len() || rows * to_row > to_channel {
        return;
    }
    let size = size_of::<E>();
    let arguments = FillArguments {
        from: from.as_ptr(),
        from_row: from_row * 2,
        to: to.as_mut_ptr().wrapping_add(first).cast(),
        to_row: to_row * size,
        second: second.map_or(0, |second| (second as isize - first as isize) * size as isize),
        rows,
        count,
        channels,
        from_channel: (from_channel * 2).wrapping_sub(rows * from_row * 2),
        to_channel: (to_channel - rows * to_row) * size,
    };
    // SAFETY: the values and their places are there, checked above.
    unsafe {
        match second {
            None => E::fill(&arguments),
            Some(_) => E::fill_phases(&arguments),
        }
    }
}

/// Zeroes.
pub(super) fn clear<E: Element>(to: &mut [E]) {
    let words: Result<&mut [u32], _> = bytemuck::try_cast_slice_mut(to);
    match words {
        // SAFETY: all words of the slice.
        Ok(words) => unsafe { inner::clear(words.as_mut_ptr(), words.len()) },
        Err(_) => to.fill(E::default()),
    }
}

/// Sums of groups, in place, into elements: f16 where the elements are. Returns the elements.
pub(super) fn settle<E: Element>(sums: &mut [f32]) -> &[E] {
    if size_of::<E>() == 2 {
        // SAFETY: all whole groups of the slice, each read before the half of its place is written.
        unsafe { inner::narrow_groups(sums.as_mut_ptr(), sums.len() / 8) }
    }
    bytemuck::try_cast_slice(sums).unwrap_or_default()
}
