//! The inner loops in Rust, for machines that only test or simulate the device. They round as it does.

use super::super::super::f16;
use super::depthwise::Arguments;
use super::store::Store;
use super::{Accumulate, Element, FillArguments, Taps};

/// What the device has in assembler.
pub(in super::super) trait Loops: Copy {
    /// a + weight · x, rounded once.
    fn mul_add(a: Self, weight: u32, x: Self) -> Self;
    /// Of the sums between two carries.
    fn wide(self) -> f32;
    /// A weight as the loops take it.
    fn weight(half: u16) -> u32;
    /// From a vector's lane of a word.
    fn lane(word: u32) -> Self;
    /// After residual and activation, as stored.
    fn stored(self, residual: u16, bounds: [Self; 2]) -> u16;

    /// # Safety
    /// As in [`super::accumulate`].
    unsafe fn accumulate(taps: Taps, outs: usize, arguments: &mut Accumulate)
    where
        Self: Element,
    {
        let pixels = Self::LANES.pixels;
        let size = size_of::<Self>();
        let Accumulate { mut x, mut sums, mut start, .. } = *arguments;
        for _ in 0..arguments.rows {
            let mut group = x;
            for _ in 0..arguments.groups {
                for out in 0..outs {
                    for pixel in 0..pixels {
                        // SAFETY: the caller's lengths.
                        unsafe {
                            let at = out * pixels + Self::place(pixel);
                            let initial = *start.add(at);
                            // f32 begin with what was there; f16 are added to it.
                            let mut sum =
                                if size == 4 { Self::lane(initial.to_bits()) } else { Self::default() };
                            let mut weights = arguments.weights.add(out);
                            let mut walk = group;
                            let mut tap = |x: *const u8| {
                                let x = *x.cast::<Self>().add(pixel);
                                sum = Self::mul_add(sum, *weights, x);
                                weights = weights.wrapping_add(outs);
                            };
                            for round in 0..arguments.count {
                                match taps {
                                    Taps::Single => {
                                        let offsets: *const u32 =
                                            core::ptr::with_exposed_provenance(arguments.step);
                                        tap(group.add(*offsets.add(round) as usize));
                                    }
                                    Taps::Strided => {
                                        tap(walk);
                                        walk = walk.wrapping_add(arguments.step);
                                    }
                                    Taps::Square | Taps::Square2 => {
                                        let (second, row) = match taps {
                                            Taps::Square => ([size, 2 * size], arguments.step),
                                            _ => ([arguments.step, size], 2 * arguments.step),
                                        };
                                        for y in 0..3 {
                                            tap(walk);
                                            tap(walk.add(second[0]));
                                            tap(walk.add(second[1]));
                                            let next = if y < 2 { row } else { arguments.channel };
                                            walk = walk.wrapping_add(next);
                                        }
                                    }
                                }
                            }
                            *sums.add(at) = if size == 4 { sum.wide() } else { initial + sum.wide() };
                        }
                    }
                }
                start = start.wrapping_byte_add(arguments.start_group);
                sums = sums.wrapping_byte_add(arguments.sums_group);
                group = group.wrapping_add(arguments.x_group);
            }
            x = x.wrapping_add(arguments.x_row);
        }
    }

    /// # Safety
    /// As in [`super::store::expand`].
    unsafe fn expand(arguments: &Store)
    where
        Self: Element,
    {
        let value = |group: usize, out: usize, pixel: usize| {
            let pixels = Self::LANES.pixels;
            // SAFETY: the caller's lengths.
            unsafe {
                let start = *arguments.start.cast::<u32>().add(out * 4);
                let from = arguments.from.cast::<Self>().add(group * arguments.ranks * pixels + pixel);
                (0..arguments.ranks).fold(Self::lane(start), |sum, rank| {
                    let weight = *arguments.weights.add(rank * arguments.outs + out);
                    Self::mul_add(sum, weight, *from.add(rank * pixels))
                })
            }
        };
        // SAFETY: the caller's lengths.
        unsafe { each::<Self, Self>(arguments, value) }
    }

    /// # Safety
    /// As in [`super::store::finish`].
    unsafe fn finish(arguments: &Store)
    where
        Self: Element,
    {
        let value = |group: usize, out: usize, pixel: usize| {
            let pixels = Self::LANES.pixels;
            let next = arguments.outs * pixels * size_of::<f32>() + arguments.from_group;
            // SAFETY: the caller's lengths.
            unsafe {
                let from: *const f32 = arguments.from.add(group * next).cast();
                *from.add(out * pixels + Self::place(pixel))
            }
        };
        // SAFETY: the caller's lengths.
        unsafe { each::<Self, f32>(arguments, value) }
    }

    /// # Safety
    /// As in [`super::panel`].
    unsafe fn panel(from: *const u16, pitch: usize, rows: usize, count: usize, to: *mut u32) {
        for i in 0..count * rows {
            // SAFETY: the caller's lengths.
            unsafe { *to.add(i) = Self::weight(*from.byte_add((i % rows) * pitch).add(i / rows)) };
        }
    }

    /// # Safety
    /// As in [`super::panel`].
    unsafe fn eights(from: *const i8, [pitch, rows, count]: [usize; 3], to: *mut u32, scales: *const f32) {
        for i in 0..count * rows {
            // SAFETY: the caller's lengths.
            unsafe {
                let value = f32::from(*from.add((i % rows) * pitch + i / rows));
                *to.add(i) = Self::weight(f16::narrow(value * *scales.add(i % rows)));
            }
        }
    }

    /// # Safety
    /// As in [`super::fill`].
    unsafe fn fill(arguments: &FillArguments)
    where
        Self: Element,
    {
        // SAFETY: the caller's lengths.
        unsafe { fill::<Self>(arguments, false) }
    }

    /// # Safety
    /// As in [`super::fill`].
    unsafe fn fill_phases(arguments: &FillArguments)
    where
        Self: Element,
    {
        // SAFETY: the caller's lengths.
        unsafe { fill::<Self>(arguments, true) }
    }
}

/// # Safety
/// As in [`super::fill`].
unsafe fn fill<E: Element>(arguments: &FillArguments, phases: bool) {
    let FillArguments { mut from, mut to, .. } = *arguments;
    for _ in 0..arguments.channels {
        for _ in 0..arguments.rows {
            // From the last on: second values that are not wanted lie where first ones follow.
            for i in (0..arguments.count).rev() {
                let (at, second) = if phases { (i / 2, i % 2 == 1) } else { (i, false) };
                let to = if second { to.wrapping_offset(arguments.second) } else { to };
                if !second || arguments.second != 0 {
                    // SAFETY: the caller's lengths.
                    unsafe { *to.cast::<E>().add(at) = E::of(*from.add(i)) };
                }
            }
            from = from.wrapping_byte_add(arguments.from_row);
            to = to.wrapping_add(arguments.to_row);
        }
        from = from.wrapping_byte_add(arguments.from_channel);
        to = to.wrapping_add(arguments.to_channel);
    }
}

/// Stores each output pixel's value, after residual and activation in the arithmetic `T`.
///
/// # Safety
/// As in [`super::store::expand`].
unsafe fn each<E: Element, T: Loops>(arguments: &Store, value: impl Fn(usize, usize, usize) -> T) {
    let groups = arguments.columns.div_ceil(E::LANES.pixels);
    for row in 0..arguments.rows {
        for column in 0..arguments.columns {
            let group = row * groups + column / E::LANES.pixels;
            for out in 0..arguments.outs {
                let at = row * arguments.width + out * arguments.plane + column * 2;
                // SAFETY: the caller's lengths.
                unsafe {
                    let bound = |i: usize| T::lane(*arguments.bounds.add(16 * i).cast());
                    let residual = arguments.residual;
                    let added = if residual.is_null() { 0 } else { *residual.byte_add(at) };
                    let value = value(group, out, column % E::LANES.pixels);
                    *arguments.output.byte_add(at) = value.stored(added, [bound(0), bound(1)]);
                }
            }
        }
    }
}

impl Loops for f32 {
    fn mul_add(a: f32, weight: u32, x: f32) -> f32 {
        a + f32::from_bits(weight) * x
    }

    fn wide(self) -> f32 {
        self
    }

    fn weight(half: u16) -> u32 {
        f16::widen(half).to_bits()
    }

    fn lane(word: u32) -> f32 {
        f32::from_bits(word)
    }

    fn stored(self, residual: u16, [low, high]: [f32; 2]) -> u16 {
        f16::narrow((self + f16::widen(residual)).max(low).min(high))
    }
}

impl Loops for u16 {
    fn mul_add(a: u16, weight: u32, x: u16) -> u16 {
        // The product of two f16 is exact in f32.
        f16::narrow(f16::widen(weight as u16) * f16::widen(x) + f16::widen(a))
    }

    fn wide(self) -> f32 {
        f16::widen(self)
    }

    fn weight(half: u16) -> u32 {
        u32::from(half)
    }

    fn lane(word: u32) -> u16 {
        word as u16
    }

    fn stored(self, residual: u16, [low, high]: [u16; 2]) -> u16 {
        let sum = f16::widen(f16::narrow(f16::widen(self) + f16::widen(residual)));
        f16::narrow(sum.max(f16::widen(low)).min(f16::widen(high)))
    }
}

pub(super) fn widen_one(half: u16) -> f32 {
    f16::widen(half)
}

/// # Safety
/// As in [`super::depthwise::depthwise`].
pub(super) unsafe fn depthwise(stride: usize, arguments: &mut Arguments) {
    let Arguments { x, row, phase, x_row, channel, weights, bias, output, width, plane, .. } = *arguments;
    for at in 0..arguments.channels {
        for y in 0..arguments.rows {
            for column in 0..arguments.columns {
                // SAFETY: the caller's lengths.
                unsafe {
                    let mut sum = *bias.add(at);
                    for tap in 0..9 {
                        let shift = match (stride, tap % 3) {
                            (1, kx) => kx * 4,
                            (_, 1) => phase,
                            (_, kx) => kx / 2 * 4,
                        };
                        let x = x.byte_add(at * channel + y * x_row + tap / 3 * row + shift).add(column);
                        sum = <f32 as Loops>::mul_add(sum, *weights.add(at * 9 + tap), *x);
                    }
                    let bounds = (*arguments.bounds).map(|bound| f32::from_bits(bound[0]));
                    *output.byte_add(at * plane + y * width).add(column) = sum.stored(0, bounds);
                }
            }
        }
    }
}

/// # Safety
/// `count` words.
pub(super) unsafe fn clear(to: *mut u32, count: usize) {
    // SAFETY: the caller's length.
    (0..count).for_each(|i| unsafe { *to.add(i) = 0 });
}

/// # Safety
/// `count` groups of eight sums.
pub(super) unsafe fn narrow_groups(sums: *mut f32, count: usize) {
    for group in 0..count {
        // SAFETY: the caller's lengths.
        unsafe {
            let values: [f32; 8] = *sums.add(group * 8).cast();
            let to = sums.cast::<u16>().add(group * 8);
            (0..8).for_each(|pixel| *to.add(pixel) = f16::narrow(values[<u16 as Element>::place(pixel)]));
        }
    }
}

/// # Safety
/// `count` values.
pub(super) unsafe fn sum(from: *const u16, count: usize) -> f32 {
    // SAFETY: the caller's length.
    across(count, |i| unsafe { f16::widen(*from.add(i)) })
}

/// # Safety
/// `count` weights and values.
pub(super) unsafe fn dot_half(weights: *const u16, x: *const u16, count: usize) -> f32 {
    // SAFETY: the caller's length.
    across(count, |i| unsafe { f16::widen(*weights.add(i)) * f16::widen(*x.add(i)) })
}

/// # Safety
/// `count` weights and values.
pub(super) unsafe fn dot_full(weights: *const u16, x: *const f32, count: usize) -> f32 {
    // SAFETY: the caller's length.
    across(count, |i| unsafe { f16::widen(*weights.add(i)) * *x.add(i) })
}

/// A sum in four parts.
fn across(count: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut parts = [0.0; 4];
    (0..count).for_each(|i| parts[i % 4] += value(i));
    (parts[0] + parts[1]) + (parts[2] + parts[3])
}

/// # Safety
/// `count` summands and places.
pub(super) unsafe fn add(a: *const u16, b: *const u16, to: *mut u16, count: usize, bounds: *const [u32; 4]) {
    for i in 0..count {
        // SAFETY: the caller's lengths.
        unsafe {
            let bounds = [*bounds, *bounds.add(1)].map(|bound| bound[0] as u16);
            *to.add(i) = (*a.add(i)).stored(*b.add(i), bounds);
        }
    }
}
