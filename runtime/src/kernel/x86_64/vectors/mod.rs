//! x86-64: the kernels on packed weights for AVX2 and AVX-512, and what both turn over in registers.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

mod avx2;
mod avx512;

use avx2::Avx2;
pub(in crate::kernel) use avx2::{avx2_average, avx2_conv, avx2_linear, avx2_multiply_adds};
pub(in crate::kernel) use avx512::{avx512_average, avx512_conv, avx512_linear, avx512_multiply_adds};

use super::sums::Clamp;
use super::winograd::Spread;
use super::{Turned, Vector};
use crate::kernel::f16;

/// Finishes sums that lie pixel by pixel, 8 channels × 8 pixels at a time.
///
/// # Safety
///
/// As `Vector` states it; the machine must have AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn turn(turned: &Turned) {
    let Turned { sums, step, channels, pixels, to, second, plane, activation } = *turned;
    let clamp = Clamp::<Avx2>::of(activation);
    for channel in (0..channels).step_by(8) {
        for pixel in (0..pixels).step_by(8) {
            let count = 8.min(pixels - pixel);
            // SAFETY: sums of whole eights are there; channels and pixels that exist are in the output.
            unsafe {
                let from = sums.add(pixel * step + channel);
                let rows = transpose([0, 1, 2, 3, 4, 5, 6, 7].map(|i| _mm256_loadu_ps(from.add(i * step))));
                for (i, row) in rows.into_iter().enumerate().take(channels - channel) {
                    let at = (channel + i) * plane + pixel;
                    let mut value = row;
                    if !second.is_null() {
                        value = _mm256_add_ps(value, Avx2::widen(second.add(at), count));
                    }
                    Avx2::narrow(clamp.clamp(value), to.add(at), count);
                }
            }
        }
    }
}

/// Columns of eight rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x, y| (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
    let ((ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    let fours = |x, y| (_mm256_shuffle_ps::<0x44>(x, y), _mm256_shuffle_ps::<0xee>(x, y));
    let ((a, b), (c, d)) = (fours(ab, cd), fours(ab2, cd2));
    let ((e, f), (g, h)) = (fours(ef, gh), fours(ef2, gh2));
    let low = |x, y| _mm256_permute2f128_ps::<0x20>(x, y);
    let high = |x, y| _mm256_permute2f128_ps::<0x31>(x, y);
    [low(a, e), low(b, f), low(c, g), low(d, h), high(a, e), high(b, f), high(c, g), high(d, h)]
}

/// Widens planes pixel by pixel, 8 planes × 8 pixels at a time.
///
/// # Safety
///
/// As `Spread` states it; the machine must have AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn spread(spread: &Spread) {
    let Spread { from, plane, planes, pixels, to, step } = *spread;
    // SAFETY: these pixels of these planes are there, and the destination has 8 elements for each pixel.
    unsafe {
        if pixels < 8 {
            for pixel in 0..pixels {
                for i in 0..8 {
                    let value = if i < planes { f16::widen(*from.add(i * plane + pixel)) } else { 0.0 };
                    *to.add(pixel * step + i) = value;
                }
            }
            return;
        }
        for pixel in (0..pixels).step_by(8) {
            // The last ones with some of those before them.
            let pixel = pixel.min(pixels - 8);
            let from = from.add(pixel);
            let rows = if planes == 8 {
                [0, 1, 2, 3, 4, 5, 6, 7].map(|i| _mm_loadu_si128(from.add(i * plane).cast()))
            } else {
                [0, 1, 2, 3, 4, 5, 6, 7].map(|i| match i < planes {
                    true => _mm_loadu_si128(from.add(i * plane).cast()),
                    false => _mm_setzero_si128(),
                })
            };
            for (i, column) in transpose_halves(rows).into_iter().enumerate() {
                _mm256_storeu_ps(to.add((pixel + i) * step), _mm256_cvtph_ps(column));
            }
        }
    }
}

/// Columns of eight rows of f16.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose_halves(rows: [__m128i; 8]) -> [__m128i; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |x, y| (_mm_unpacklo_epi16(x, y), _mm_unpackhi_epi16(x, y));
    let ((ab, ab2), (cd, cd2), (ef, ef2), (gh, gh2)) = (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    let fours = |x, y| (_mm_unpacklo_epi32(x, y), _mm_unpackhi_epi32(x, y));
    let ((a, b), (c, d)) = (fours(ab, cd), fours(ab2, cd2));
    let ((e, f), (g, h)) = (fours(ef, gh), fours(ef2, gh2));
    let eights = |x, y| [_mm_unpacklo_epi64(x, y), _mm_unpackhi_epi64(x, y)];
    let ([i0, i1], [i2, i3], [i4, i5], [i6, i7]) = (eights(a, e), eights(b, f), eights(c, g), eights(d, h));
    [i0, i1, i2, i3, i4, i5, i6, i7]
}
