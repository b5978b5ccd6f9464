//! The inner loops: checked entries, and what they do in assembler on the device and in Rust elsewhere.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
#[path = "arm/mod.rs"]
mod inner;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
#[path = "plain.rs"]
mod inner;

use super::forms::{note, take};
use super::{OUTS, PIXELS};
use crate::kernel::{Operations, Set, WeightMatrix};
use crate::model::Activation;

mod channels;
mod depthwise;
mod expand;
mod five;
mod lines;
mod winograd;

pub(super) use channels::{Channels, widen_channels};
pub(super) use depthwise::{Depthwise, depthwise, depthwise_five};
pub(super) use expand::{Expand, expand};
pub(super) use five::five;
pub(super) use inner::overflow;
pub(super) use lines::{Lines, line_pixels, line_products, line_sums};
pub(super) use winograd::{transform_pixels, transform_sums, transform_weights};

/// Which taps share a load of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taps {
    /// Each tap loads its pixels: one offset a tap.
    Single,
    /// The same where the four pixels of each tap follow one another: no offsets.
    Ranks,
    /// Three taps of a row one pixel apart: one offset a row.
    Row,
    /// Three taps of a row two pixels apart, in two phases: one offset a row.
    Stride2,
}

impl Taps {
    /// Taps of one offset.
    pub fn each(self) -> usize {
        if matches!(self, Taps::Row | Taps::Stride2) { 3 } else { 1 }
    }

    /// The loops of one channel, two and four.
    fn loops(self) -> [Set; 3] {
        match self {
            Taps::Single => Set::SINGLE,
            Taps::Ranks => Set::RANKS,
            Taps::Row => Set::ROW,
            Taps::Stride2 => Set::STRIDE_2,
        }
    }
}

/// Lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub rows: usize,
    /// Groups of pixels in a row.
    pub groups: usize,
    /// From a group to the next in `x`.
    pub x_group: usize,
    /// From the first group of a row to that of the next in `x`.
    pub x_row: usize,
    /// From a group to the next in the sums.
    pub sums_group: usize,
    /// From phase 0 to phase 1 in `x` ([`Taps::Stride2`]).
    pub phase: usize,
    /// From the weights of a row to those of the next ([`Taps::Ranks`]); 0 where all have the same.
    pub weights_row: usize,
}

/// Where the pixels of each tap (or row of three) begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets<'a> {
    bytes: &'a [u32],
    /// Taps, or rows of three.
    count: usize,
    /// The largest offset in bytes.
    farthest: usize,
}

impl<'a> Offsets<'a> {
    /// Of offsets in bytes.
    pub fn new(bytes: &'a [u32]) -> Self {
        let farthest = bytes.iter().max().map_or(0, |bytes| *bytes as usize);
        Self { bytes, count: bytes.len(), farthest }
    }

    /// The first ones, at most `count`.
    pub fn first(self, count: usize) -> Self {
        let bytes = self.bytes.get(..count).unwrap_or(self.bytes);
        Self { bytes, count: bytes.len(), ..self }
    }

    /// Of `count` ranks, for [`Taps::Ranks`].
    pub fn ranks(count: usize) -> Self {
        Self { bytes: &[], count, farthest: count.saturating_sub(1) * PIXELS * size_of::<f32>() }
    }
}

/// Of forms for one channel, two and four, the one for so many.
fn of_outs([one, two, four]: [Set; 3], outs: usize) -> Set {
    match outs {
        1 => one,
        2 => two,
        _ => four,
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
struct Accumulate {
    x: *const f32,
    x_row: usize,
    rows: usize,
    groups: usize,
    offsets: *const u32,
    /// Behind the offsets; behind the weights of [`Taps::Ranks`].
    end: *const u32,
    weights: *const f32,
    sums: *mut f32,
    sums_group: usize,
    start: *const f32,
    start_group: usize,
    x_group: usize,
    phase: usize,
    weights_row: usize,
}

/// For each group of pixels and each of `outs` channels (1, 2 or 4): adds to its four sums, for every offset and each of
/// its taps, weight · pixels. `weights` holds for each tap one weight a
/// channel. Does nothing where a length does not fit.
pub(super) fn accumulate<U: Operations>(
    taps: Taps,
    outs: usize,
    (x, offsets): (&[f32], Offsets<'_>),
    weights: &[f32],
    sums: &mut [f32],
    sweep: Sweep,
    start: Start<'_>,
) {
    const F32: usize = size_of::<f32>();
    let Sweep { rows, groups, x_group, x_row, sums_group, phase, weights_row } = sweep;
    let count = offsets.count;
    // Ranks are taken in twos; this says whether one is left.
    let phase = if taps == Taps::Ranks { count % 2 } else { phase };
    if rows == 0
        || groups == 0
        || count == 0
        || (taps == Taps::Ranks) != offsets.bytes.is_empty()
        || !matches!(outs, 1 | 2 | OUTS)
    {
        return;
    }
    // The farthest pixels and sums that are met.
    let span = match taps {
        Taps::Single | Taps::Ranks => PIXELS,
        Taps::Row => PIXELS + 2,
        Taps::Stride2 => PIXELS + phase.max(1),
    };
    let reach = offsets.farthest / F32 + (rows - 1) * x_row + (groups - 1) * x_group + span;
    let kept = (rows * groups - 1) * sums_group + outs * PIXELS;
    let of_row = count * taps.each() * outs;
    let weighed = match weights_row {
        0 => weights.len() == of_row,
        _ => taps == Taps::Ranks && weights.len() == (rows - 1) * weights_row + of_row,
    };
    if reach > x.len() || kept > sums.len() || !weighed || note(of_outs(taps.loops(), outs)) {
        return;
    }
    static ZERO: [f32; OUTS * PIXELS] = [0.0; OUTS * PIXELS];
    let initial: [f32; OUTS * PIXELS];
    let initial = match start {
        Start::Bias(bias) if !bias.is_empty() => {
            let [a, b, c, d]: [f32; OUTS] =
                core::array::from_fn(|out| bias.get(out).copied().unwrap_or_default());
            initial = [a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d];
            initial.as_ptr()
        }
        Start::Bias(_) => ZERO.as_ptr(),
        Start::Resume => sums.as_ptr(),
    };
    let ends = [offsets.bytes.as_ptr_range().end, weights.as_ptr().wrapping_add(of_row).cast()];
    let mut arguments = Accumulate {
        x: x.as_ptr(),
        x_row: x_row * F32,
        rows,
        groups,
        offsets: offsets.bytes.as_ptr(),
        end: if taps == Taps::Ranks { ends[1] } else { ends[0] },
        weights: weights.as_ptr(),
        sums: sums.as_mut_ptr(),
        sums_group: sums_group * F32,
        start: initial,
        start_group: if let Start::Resume = start { sums_group * F32 } else { 0 },
        x_group: x_group * F32,
        phase: phase * F32,
        weights_row: weights_row * F32,
    };
    // SAFETY: pixels up to `reach` and sums up to `kept` are there, checked above; each offset has its taps' weights;
    // the initial sums are 16 values, or the sums themselves.
    unsafe { inner::accumulate::<U>(taps, outs, &mut arguments) }
}

/// What [`finish`]'s loops read and count down; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
struct Finish {
    sums: *const f32,
    sums_group: usize,
    output: *mut u16,
    residual: *const u16,
    groups: usize,
    rows: usize,
    /// From behind the last pixel of a row to the first of the next, in output and residual.
    gap: usize,
    /// Pixels of a row behind its last whole group.
    rest: usize,
    channels: usize,
    /// From a channel to the next, in output and residual.
    plane: usize,
}

/// What is added to the sums before activation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Residual<'a> {
    None,
    /// What the output holds.
    InPlace,
    Other(&'a [u16]),
}

/// Rows of pixels that are finished; lengths in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    /// Channels, whose sums of a group follow one another.
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
    /// From a group to the next in the sums, of which each row has whole groups.
    pub sums_group: usize,
    /// From a row to the next in the output.
    pub width: usize,
    /// From a channel to the next in the output.
    pub plane: usize,
}

/// Adds the residual to sums, activates them and stores them in `output`, which begins with the first row's first
/// pixel, as does the residual. f16 overflow becomes an infinity and is seen by [`overflow`].
pub(super) fn finish<U: Operations>(
    sums: &[f32],
    output: &mut [u16],
    residual: Residual<'_>,
    shape: Rows,
    activation: Activation,
) {
    let Rows { channels, rows, columns, sums_group, width, plane } = shape;
    if channels == 0 || rows == 0 || columns == 0 || columns > width {
        return;
    }
    let pixels = (channels - 1) * plane + (rows - 1) * width + columns;
    let kept = (rows * columns.div_ceil(PIXELS) - 1) * sums_group + channels * PIXELS;
    let (residual, there) = match residual {
        Residual::None => (core::ptr::null(), usize::MAX),
        Residual::InPlace => (output.as_ptr(), usize::MAX),
        Residual::Other(values) => (values.as_ptr(), values.len()),
    };
    if pixels > output.len().min(there) || kept > sums.len() || note(stored(residual, activation)) {
        return;
    }
    let mut arguments = Finish {
        sums: sums.as_ptr(),
        sums_group: sums_group * size_of::<f32>(),
        output: output.as_mut_ptr(),
        residual,
        groups: columns / PIXELS,
        rows,
        gap: (width - columns) * size_of::<u16>(),
        rest: columns % PIXELS,
        channels,
        plane: plane * size_of::<u16>(),
    };
    // SAFETY: the pixels and sums that are met are there, checked above. A residual in the output is read before its
    // place is written.
    unsafe { inner::finish::<U>(activation, &mut arguments) }
}

/// The form of [`finish`] with this residual.
fn stored(residual: *const u16, activation: Activation) -> Set {
    let [none, relu, relu6] = if residual.is_null() { Set::STORED } else { Set::ADDED };
    match activation {
        Activation::None => none,
        Activation::Relu => relu,
        _ => relu6,
    }
}

/// What [`widen_rows`]'s loops read. The assembler knows the order of the fields.
#[repr(C)]
struct WidenRows {
    to: *mut f32,
    from: *const u16,
    /// Bytes from a row to the next.
    pitch: usize,
    rows: usize,
    before: usize,
    inside: usize,
    behind: usize,
    /// Bytes from there to the next row.
    gap: usize,
}

/// f16 bits → f32, row by row: `rows` rows of `inside` values that begin `pitch` apart, between zeros `before` and
/// `behind`. Does nothing where a length does not fit.
pub(super) fn widen_rows(from: &[u16], pitch: usize, rows: usize, to: &mut [f32], shape: [usize; 3]) {
    let [before, inside, behind] = shape;
    if rows == 0 || (rows - 1) * pitch + inside > from.len() || rows * (before + inside + behind) > to.len() {
        return;
    }
    let (to, from, pitch) = (to.as_mut_ptr(), from.as_ptr(), pitch * size_of::<u16>());
    // SAFETY: the values are there, checked above.
    unsafe { inner::widen_rows(&WidenRows { to, from, pitch, rows, before, inside, behind, gap: 0 }) }
}

/// What the loops of [`phases`] read. The assembler knows the order of the fields.
#[repr(C)]
struct WidenPhases {
    even: *mut f32,
    odd: *mut f32,
    from: *const u16,
    /// Bytes from a row to the next.
    from_row: usize,
    to_row: usize,
    rows: usize,
    /// Zeros before the first value of each phase.
    before: [usize; 2],
    /// 1 where the first value belongs to the odd ones.
    first: usize,
    pairs: usize,
    /// 1 where the last value belongs to the even ones.
    last: usize,
    behind: [usize; 2],
}

impl WidenPhases {
    /// Of no rows.
    fn nothing() -> Self {
        let (to, from, none) = (core::ptr::null_mut(), core::ptr::null(), [0; 2]);
        Self {
            even: to,
            odd: to,
            from,
            from_row: 0,
            to_row: 0,
            rows: 0,
            before: none,
            first: 0,
            pairs: 0,
            last: 0,
            behind: none,
        }
    }
}

/// f16 bits → f32, row by row, even elements of a row before odd ones, each half `pitch` long; or, with `odd` false,
/// the even ones alone. A row has its values from element `begin` to `end`, and zeros around them. The rows of `from`
/// begin `from_row` apart. `None` where a length does not fit. Zeros and values of a phase are `pitch` elements; odd ones that are not
/// wanted lie where even ones follow.
fn phases(
    (from, from_row): (&[u16], usize),
    rows: usize,
    to: &mut [f32],
    (pitch, odd): (usize, bool),
    [begin, end]: [usize; 2],
) -> Option<WidenPhases> {
    let row = if odd { 2 * pitch } else { pitch };
    let fits = rows > 0 && begin < end && end <= 2 * pitch && rows * row <= to.len();
    if !fits || (rows - 1) * from_row + (end - begin) > from.len() {
        return None;
    }
    // Without odd elements their place is that of the even ones, which are written behind them.
    let skipped = if odd { 0 } else { begin % 2 };
    let first = if odd { begin % 2 } else { 0 };
    let values = end - begin - first - skipped;
    let before = [begin.div_ceil(2), if odd { begin / 2 } else { 0 }];
    let even = values.div_ceil(2);
    let behind = [pitch - before[0] - even, if odd { pitch - before[1] - first - values / 2 } else { 0 }];
    let even = to.as_mut_ptr();
    Some(WidenPhases {
        even,
        odd: even.wrapping_add(if odd { pitch } else { before[0] }),
        from: from.as_ptr().wrapping_add(skipped),
        from_row: from_row * size_of::<u16>(),
        to_row: row * size_of::<f32>(),
        rows,
        before,
        first,
        pairs: values / 2,
        last: values % 2,
        behind,
    })
}

/// What [`widen_groups`]'s loops read; lengths in bytes. The assembler knows the order of the fields.
#[repr(C)]
struct WidenGroups {
    from: *const u16,
    to: *mut f32,
    /// From a channel to the next.
    plane: usize,
    /// From a group to the next.
    group: usize,
    pixels: usize,
    channels: usize,
}

/// f16 bits → f32: `pixels` of each of `channels` planes that begin `plane` apart, in groups of four pixels of each
/// channel. What fills up the last group is left as it is. Does nothing where a length does not fit.
pub(super) fn widen_groups(from: &[u16], plane: usize, channels: usize, pixels: usize, to: &mut [f32]) {
    let groups = pixels.div_ceil(PIXELS);
    if channels == 0
        || pixels == 0
        || (channels - 1) * plane + pixels > from.len()
        || groups * channels * PIXELS > to.len()
    {
        return;
    }
    let arguments = WidenGroups {
        from: from.as_ptr(),
        to: to.as_mut_ptr(),
        plane: plane * size_of::<u16>(),
        group: channels * PIXELS * size_of::<f32>(),
        pixels,
        channels,
    };
    // SAFETY: the values and their places are there, checked above.
    unsafe { inner::widen_groups(&arguments) }
}

/// Weights → f32: the first `count` elements of `rows` (1, 2 or 4) that begin `pitch` apart, element by element. False, and nothing
/// done, where a length does not fit.
pub(super) fn widen_panel<U: Operations>(
    from: WeightMatrix<'_>,
    pitch: usize,
    rows: usize,
    count: usize,
    to: &mut [f32],
) -> bool {
    let there =
        matches!(rows, 1 | 2 | OUTS) && (rows - 1) * pitch + count <= from.len() && rows * count <= to.len();
    if there {
        // SAFETY: the elements are there, checked above.
        unsafe { panel::<U>(from, pitch, rows, count, to.as_mut_ptr()) }
    }
    there
}

/// As [`widen_panel`].
///
/// # Safety
/// The elements are there.
unsafe fn panel<U: Operations>(
    from: WeightMatrix<'_>,
    pitch: usize,
    rows: usize,
    count: usize,
    to: *mut f32,
) {
    let dry = note(of_outs(Set::PANEL, rows));
    match from {
        WeightMatrix::Half(from) => {
            if take::<U>(Set::HALVES) && !dry {
                // SAFETY: the caller's lengths.
                unsafe { inner::widen_panel::<U>(from.as_ptr(), pitch, rows, count, to) }
            }
        }
        WeightMatrix::Eight(eights) => {
            let (values, scales) = eights.parts();
            if note(if scales.is_empty() { Set::THIN } else { Set::SCALED }) {
                return;
            }
            let given: [f32; OUTS];
            let scales = match scales.first_chunk() {
                _ if scales.is_empty() => None,
                Some(scales) => Some(scales),
                None => {
                    given = core::array::from_fn(|row| scales.get(row).copied().unwrap_or_default());
                    Some(&given)
                }
            };
            // SAFETY: as above.
            unsafe { inner::widen_eights::<U>(values.as_ptr(), pitch, rows, count, to, scales) }
        }
    }
}
