//! Depthwise convolutions of 3×3 and 5×5 with strides 1 and 2: the sums of some rows of one channel in registers.
//!
//! A register holds neighbouring pixels of a row. One load brings up to four of them, and each is multiplied for all of the
//! rows that it lies under; all weights of the channel are in registers, and are multiplied by element. Other windows are
//! one row of weights of [`super::sums`].
#![allow(unsafe_code, clippy::needless_range_loop)]

use core::arch::aarch64::*;
use core::ops::Range;

use super::element::Element;
use super::finish::{Limits, Near, activated, add, near, some, store};
use super::load;
use super::pack::Packed;
use super::planes::Planes;
use crate::model::Activation;

/// Most rows whose sums are held together, of up to four registers.
const ROWS: usize = 4;

/// Most registers of weights: 25 f32.
const WEIGHTS: usize = 7;

/// Elements of a channel's weights: whole registers.
pub(super) const fn weights(taps: usize, lanes: usize) -> usize {
    taps.next_multiple_of(lanes)
}

/// What a part of a layer needs. The pointers are to buffers of the sizes that `conv` states.
pub(super) struct Part<'a, B> {
    pub(super) conv: &'a Packed<B>,
    pub(super) input: *const u16,
    pub(super) patch: *mut B,
    pub(super) output: *mut u16,
    pub(super) second: *const u16,
    /// Output rows, and channels.
    pub(super) y: usize,
    pub(super) rows: usize,
    pub(super) channels: Range<usize>,
}

/// Computes a part. To be inlined into a function that has the instructions of `E`.
///
/// # Safety
///
/// The part's buffers have the sizes that its convolution states, whose window is one that is covered.
#[inline(always)]
pub(super) unsafe fn run<E: Element>(part: &Part<'_, E::Bits>) {
    // SAFETY: as for this function.
    unsafe {
        match (part.conv.window.kernel[0], part.conv.window.stride[0]) {
            (3, 1) => channels::<E, 3, 1>(part),
            (3, _) => channels::<E, 3, 2>(part),
            (_, 1) => channels::<E, 5, 1>(part),
            _ => channels::<E, 5, 2>(part),
        }
    }
}

/// Where the pixels of a block of one channel lie, and where its results go.
#[derive(Clone, Copy)]
struct Place<'a, B> {
    x: *const B,
    /// Bytes from the pixels of a tap to the next one's: from column phase to column phase and back, and from the last tap of
    /// a line to the first of the next, from either row phase.
    across: [isize; 2],
    down: [isize; 2],
    to: *mut u16,
    second: *const u16,
    /// Elements from one row of the output to the next.
    row: usize,
    /// Pixels of a row; whether whole registers of the last row may be stored, and of all rows where something is added. Of the
    /// other rows they may: what follows them is computed later.
    count: usize,
    whole: bool,
    /// True where registers reach farther than the next row.
    narrow: bool,
    weights: *const B,
    bias: f32,
    limits: &'a Limits,
    /// What is applied before the limits, where it is more than they are.
    activation: Option<Activation>,
    /// Where sums of f16 are finished in f16: the parts of the bias in all lanes.
    near: Option<(Near, [u16; 2])>,
}

/// The channels of a part, one after another.
#[inline(always)]
unsafe fn channels<E: Element, const K: usize, const S: usize>(part: &Part<'_, E::Bits>) {
    let conv = part.conv;
    let patch = &conv.patch;
    let (width, pixels, lanes) = (patch.width, conv.output.pixels(), E::LANES);
    let plane = patch.phase_rows * patch.pitch;
    let phase = patch.planes * plane;
    let bytes = |elements: usize| (elements * size_of::<E::Bits>()) as isize;
    // The last tap of a line, which is in its first plane: K is odd; and the steps there.
    let last = bytes((K - 1) / S);
    let (across, down) = match S {
        1 => ([bytes(1); 2], [bytes(patch.pitch) - last; 2]),
        _ => (
            [bytes(plane), bytes(1) - bytes(plane)],
            [bytes(phase) - last, bytes(patch.pitch) - bytes(phase) - last],
        ),
    };
    let (limits, frame) = (Limits::of(conv.activation), conv.frame());
    let registers = width.div_ceil(lanes);
    let of_weights = weights(K * K, lanes);
    // SAFETY: the caller's promise.
    let planes = unsafe { Planes::new::<E>(&frame, part.input, part.patch, (part.y, part.rows)) };
    for channel in part.channels.clone() {
        let Some(bias) = conv.bias.get(channel) else { return };
        // SAFETY: the caller's promise; blocks lie in the patch and in the output.
        unsafe {
            planes.fill::<E>(channel);
            let weights = conv.first.all().as_ptr().add(channel * of_weights);
            let near = conv
                .near::<E>(K * K, channel, part.second)
                .map(|(near, parts)| (near, parts.map(|part| *part)));
            let out = channel * pixels + part.y * width;
            // Behind the last row lies the first one of a channel that is computed later.
            let follows = part.rows == conv.output.height as usize && channel + 1 < part.channels.end;
            // From the right to the left: what is stored behind the end of a row is overwritten by the next row.
            let mut left = registers;
            while left > 0 {
                let odd = left % 4;
                let take = if odd == 0 { 4 } else { odd & odd.wrapping_neg() };
                left -= take;
                let x = left * lanes;
                let at = out + x;
                let count = (take * lanes).min(width - x);
                let second = part.second;
                let place = Place {
                    x: part.patch.add(x).cast_const(),
                    across,
                    down,
                    to: part.output.add(at),
                    second: if second.is_null() { second } else { second.add(at) },
                    row: width,
                    count,
                    narrow: take * lanes > count + width,
                    whole: false,
                    weights,
                    bias: *bias,
                    limits: &limits,
                    activation: (!conv.activation.is_plain()).then_some(conv.activation),
                    near,
                };
                let rows = (part.rows, follows);
                match take {
                    1 => column::<E, 1, K, S>(place, rows, patch.pitch),
                    2 => column::<E, 2, K, S>(place, rows, patch.pitch),
                    _ => column::<E, 4, K, S>(place, rows, patch.pitch),
                }
            }
        }
    }
}

/// C registers of each of `rows` rows, which lie `pitch` elements apart in the patch: some rows at a time. What is stored
/// behind the last of them is overwritten if another `follows`.
#[inline(always)]
unsafe fn column<E: Element, const C: usize, const K: usize, const S: usize>(
    mut place: Place<'_, E::Bits>,
    (rows, follows): (usize, bool),
    pitch: usize,
) {
    let mut left = rows;
    while left > 0 {
        let take = left.min(ROWS);
        left -= take;
        let behind = left > 0 || follows;
        place.whole = place.count == C * E::LANES || (place.second.is_null() && behind);
        // SAFETY: as for `channels`.
        unsafe {
            match take {
                1 => block::<E, 1, C, K, S>(&place),
                2 => block::<E, 2, C, K, S>(&place),
                3 => block::<E, 3, C, K, S>(&place),
                _ => block::<E, ROWS, C, K, S>(&place),
            }
        }
        place.x = place.x.wrapping_add(take * pitch);
        place.to = place.to.wrapping_add(take * place.row);
        if !place.second.is_null() {
            place.second = place.second.wrapping_add(take * place.row);
        }
    }
}

/// C registers of R rows.
#[inline(always)]
unsafe fn block<E: Element, const R: usize, const C: usize, const K: usize, const S: usize>(
    place: &Place<'_, E::Bits>,
) {
    // SAFETY: as for `channels`.
    unsafe {
        let mut sums = [[E::begin(place.bias); C]; R];
        let mut weights = [E::zero(); WEIGHTS];
        for i in 0..(K * K).div_ceil(E::LANES) {
            weights[i] = E::register(vld1q_u8(place.weights.add(i * E::LANES).cast()));
        }
        let mut x = place.x;
        let mut pixels = load::pixels(&mut x, place.step::<K, S>(0), C);
        macro_rules! lines {
            ($($i:literal)*) => {$(
                if $i < (R - 1) * S + K {
                    line::<E, R, C, K, S, $i>(&mut sums, &weights, (&mut x, &mut pixels), place);
                }
            )*};
        }
        // The longest are 5 rows of taps and 3 strides of 2.
        lines!(0 1 2 3 4 5 6 7 8 9 10);
        if place.second.is_null() {
            finish::<E, R, C, false>(&sums, place);
        } else {
            finish::<E, R, C, true>(&sums, place);
        }
    }
}

/// Finishes and stores a block of sums.
#[inline(always)]
unsafe fn finish<E: Element, const R: usize, const C: usize, const SECOND: bool>(
    sums: &[[E::Register; C]; R],
    place: &Place<'_, E::Bits>,
) {
    // SAFETY: as for `channels`.
    unsafe {
        if let (8, Some((how, parts))) = (E::LANES, place.near) {
            let [small, large] = parts.map(|part| E::register(vreinterpretq_u8_u16(vdupq_n_u16(part))));
            let registers = how.registers::<E>();
            let result = |r: usize, c: usize| near::<E>(sums[r][c], [(small, 0), (large, 0)], registers);
            if place.narrow {
                let mut results = [[vdupq_n_u16(0); C]; R];
                for r in 0..R {
                    results[r] = core::array::from_fn(|c| result(r, c));
                }
                return pieces(results.as_flattened(), C, place.to, [place.row, place.count]);
            }
            for r in 0..R {
                let to = place.to.add(r * place.row);
                let mut results = [vdupq_n_u16(0); 4];
                for c in 0..C {
                    results[c] = result(r, c);
                }
                if r + 1 == R && !place.whole {
                    ends(results[0], results[1], results[2], results[3], to, place.count);
                    return;
                }
                for c in 0..C {
                    vst1q_u16(to.add(8 * c), results[c]);
                }
            }
            return;
        }
        if place.narrow || place.activation.is_some() || (SECOND && !place.whole) {
            // Of copies: what a pointer leads to would be in memory from the beginning.
            let (sums, place) = (*sums, *place);
            return parts::<E, R, C>(&sums, &place);
        }
        for r in 0..R {
            let (to, second) = (place.to.add(r * place.row), place.second.wrapping_add(r * place.row));
            let mut results = [vdupq_n_u16(0); 4];
            for eight in 0..(C * E::LANES).div_ceil(8) {
                let full = carried::<E, C>(&sums[r], eight, place.bias);
                results[eight] = place.limits.round(match (SECOND, C * E::LANES) {
                    (false, _) => full,
                    (true, 4) => add(full, some(second, 4)),
                    _ => add(full, vld1q_u16(second.add(8 * eight))),
                });
            }
            if r + 1 == R && !place.whole {
                ends(results[0], results[1], results[2], results[3], to, place.count);
            } else if C * E::LANES == 4 {
                vst1_u16(to, vget_low_u16(results[0]));
            } else {
                for eight in 0..C * E::LANES / 8 {
                    vst1q_u16(to.add(8 * eight), results[eight]);
                }
            }
        }
    }
}

/// Eight sums of a row, or twice the four of a single register, in f32.
#[inline(always)]
unsafe fn carried<E: Element, const C: usize>(
    sums: &[E::Register; C],
    eight: usize,
    bias: f32,
) -> [float32x4_t; 2] {
    // SAFETY: no memory is touched.
    unsafe {
        let carried = |c: usize| E::carried(sums[c], core::ptr::null(), bias, false);
        match (E::LANES, C) {
            (8, _) => carried(eight),
            (_, 1) => [carried(0)[0]; 2],
            _ => [carried(2 * eight)[0], carried(2 * eight + 1)[0]],
        }
    }
}

/// Finishes a block of which nothing may be stored behind the rows, or that has an activation of its own.
#[inline(never)]
unsafe fn parts<E: Element, const R: usize, const C: usize>(
    sums: &[[E::Register; C]; R],
    place: &Place<'_, E::Bits>,
) {
    for r in 0..R {
        let mut at = 0;
        while at < place.count {
            let count = (place.count - at).min(8);
            // SAFETY: these pixels are in the output.
            unsafe {
                let (to, second) =
                    (place.to.add(r * place.row + at), place.second.wrapping_add(r * place.row + at));
                let mut full = carried::<E, C>(&sums[r], at / 8, place.bias);
                if !place.second.is_null() {
                    full = add(full, some(second, count));
                }
                if let Some(activation) = place.activation {
                    full = activated(full, activation);
                }
                store(place.limits.round(full), to, count);
            }
            at += 8;
        }
    }
}

/// Stores the first `count` results of each row, of `registers` registers, of which nothing may be stored behind the rows.
#[inline(never)]
unsafe fn pieces(results: &[uint16x8_t], registers: usize, to: *mut u16, [row, count]: [usize; 2]) {
    for (r, results) in results.chunks_exact(registers.max(1)).enumerate() {
        for (at, results) in (0..count).step_by(8).zip(results) {
            // SAFETY: there is room for `count`.
            unsafe { store(*results, to.add(r * row + at), (count - at).min(8)) }
        }
    }
}

/// Stores the first `count` results of a row. They come in registers: an array of them would be one in memory for the caller.
#[inline(never)]
// Only so do registers come in registers; no other language calls it.
#[allow(improper_ctypes_definitions)]
unsafe extern "C" fn ends(
    a: uint16x8_t,
    b: uint16x8_t,
    c: uint16x8_t,
    d: uint16x8_t,
    to: *mut u16,
    count: usize,
) {
    for (i, results) in [a, b, c, d].into_iter().enumerate() {
        let at = 8 * i;
        if at < count {
            // SAFETY: there is room for `count`.
            unsafe { store(results, to.add(at), (count - at).min(8)) }
        }
    }
}

impl<B> Place<'_, B> {
    /// Bytes from the pixels of tap `at`, counted over the lines of K taps, to those of the next.
    #[inline(always)]
    fn step<const K: usize, const S: usize>(&self, at: usize) -> isize {
        if at % K + 1 == K { self.down[at / K % S] } else { self.across[at % K % S] }
    }
}

/// Multiplies line I of the pixels for all of the R rows that it lies under: each row gets its taps in order.
#[inline(always)]
unsafe fn line<E: Element, const R: usize, const C: usize, const K: usize, const S: usize, const I: usize>(
    sums: &mut [[E::Register; C]; R],
    weights: &[E::Register; WEIGHTS],
    (x, pixels): (&mut *const E::Bits, &mut [uint8x16_t; 4]),
    place: &Place<'_, E::Bits>,
) {
    // SAFETY: as for `channels`.
    unsafe {
        macro_rules! taps {
            ($($kx:literal)*) => {$(
                if $kx < K {
                    let step = place.step::<K, S>(I * K + $kx + 1);
                    tap::<E, R, C, K, S, I, $kx>(sums, weights, (x, pixels), step);
                }
            )*};
        }
        // Not a loop: lanes must be known.
        taps!(0 1 2 3 4);
    }
}

/// Multiplies pixel KX of line I for the rows that it lies under; `step` is that of the next tap.
///
/// While those of a tap are multiplied those of the next are on their way, into the registers of the tap before, whose sums
/// must be made by then: else the compiler copies them.
#[inline(always)]
unsafe fn tap<
    E: Element,
    const R: usize,
    const C: usize,
    const K: usize,
    const S: usize,
    const I: usize,
    const KX: usize,
>(
    sums: &mut [[E::Register; C]; R],
    weights: &[E::Register; WEIGHTS],
    (x, pixels): (&mut *const E::Bits, &mut [uint8x16_t; 4]),
    step: isize,
) {
    let at = I * K + KX;
    // SAFETY: as for `channels`; behind the last tap the pointer is not read.
    unsafe {
        let next = match at % 2 {
            _ if at + 1 == ((R - 1) * S + K) * K => *pixels,
            0 => load::other_pixels(x, step, C),
            _ => load::pixels(x, step, C),
        };
        for r in 0..R {
            if I >= r * S && I < r * S + K {
                let tap = (I - r * S) * K + KX;
                for c in 0..C {
                    let (x, weights) = (E::register(pixels[c]), weights[tap / E::LANES]);
                    sums[r][c] = E::multiply_add(sums[r][c], x, weights, tap % E::LANES);
                }
                for c in 0..C {
                    *x = load::after(*x, E::bytes(sums[r][c]));
                }
            }
        }
        *pixels = next;
    }
}
