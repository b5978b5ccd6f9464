//! Sixteen f32 lanes in registers, on each instruction set: what the micro-kernels are written in.

#![allow(unsafe_code)]

/// Lanes of one vector on every instruction set, so that packed weights have one layout.
pub(super) const LANES: usize = 16;

/// `n` rounded up to whole vectors.
pub(super) const fn whole(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Arithmetic on [`LANES`] values.
///
/// # Safety
/// The methods execute instructions of the implementing set: the machine must have them. Pointers must be valid for
/// the [`LANES`] values (or the one value, or the `count` values) that a method reads or writes; no alignment is assumed.
pub(super) unsafe trait Lanes {
    /// A vector.
    type Reg: Copy;
    /// Vectors across the output channels that one tile holds.
    const ACROSS: usize;
    /// Most pixels of a forward tile, for one and for two vectors across.
    const PIXELS: [usize; 2];
    /// Most taps of a weight-gradient tile, for one and for two vectors across.
    const TAPS: [usize; 2];

    unsafe fn zero() -> Self::Reg;
    unsafe fn load(from: *const f32) -> Self::Reg;
    unsafe fn store(to: *mut f32, value: Self::Reg);
    unsafe fn splat(from: *const f32) -> Self::Reg;
    /// a·b + c in every lane.
    unsafe fn fma(a: Self::Reg, b: Self::Reg, c: Self::Reg) -> Self::Reg;

    /// The first `count` ≤ 16 lanes; the others are zero.
    unsafe fn load_some(from: *const f32, count: usize) -> Self::Reg;
    /// Writes the first `count` ≤ 16 lanes.
    unsafe fn store_some(to: *mut f32, value: Self::Reg, count: usize);
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::Lanes;

    /// One 512-bit register; 24 accumulators leave room for weights and a broadcast value in 32 registers.
    pub(crate) struct Avx512;

    // SAFETY: every method is one AVX-512F instruction on the memory that the trait's contract names.
    unsafe impl Lanes for Avx512 {
        type Reg = __m512;
        const ACROSS: usize = 2;
        const PIXELS: [usize; 2] = [12, 12];
        const TAPS: [usize; 2] = [24, 12];

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> __m512 {
            unsafe { _mm512_set1_ps(*from) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> __m512 {
            unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) }
        }
        #[inline(always)]
        unsafe fn store_some(to: *mut f32, value: __m512, count: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), value) }
        }
    }

    /// The mask of the first `count` ≤ 16 lanes.
    #[inline(always)]
    fn first_lanes(count: usize) -> u16 {
        ((1u32 << count) - 1) as u16
    }

    /// Two 256-bit registers; 6 tiles of them, two for weights and one broadcast value fill 15 of 16 registers.
    pub(crate) struct Avx2;

    // SAFETY: every method is AVX2 or FMA instructions on the memory that the trait's contract names.
    unsafe impl Lanes for Avx2 {
        type Reg = [__m256; 2];
        const ACROSS: usize = 1;
        const PIXELS: [usize; 2] = [6, 0];
        const TAPS: [usize; 2] = [6, 0];

        #[inline(always)]
        unsafe fn zero() -> [__m256; 2] {
            unsafe { [_mm256_setzero_ps(); 2] }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> [__m256; 2] {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: [__m256; 2]) {
            unsafe {
                _mm256_storeu_ps(to, value[0]);
                _mm256_storeu_ps(to.add(8), value[1]);
            }
        }
        #[inline(always)]
        unsafe fn splat(from: *const f32) -> [__m256; 2] {
            unsafe { [_mm256_set1_ps(*from); 2] }
        }
        #[inline(always)]
        unsafe fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        unsafe fn load_some(from: *const f32, count: usize) -> [__m256; 2] {
            unsafe {
                let [low, high] = masks(count);
                [_mm256_maskload_ps(from, low), _mm256_maskload_ps(from.wrapping_add(8), high)]
            }
        }
        #[inline(always)]
        unsafe fn store_some(to: *mut f32, value: [__m256; 2], count: usize) {
            unsafe {
                let [low, high] = masks(count);
                _mm256_maskstore_ps(to, low, value[0]);
                _mm256_maskstore_ps(to.wrapping_add(8), high, value[1]);
            }
        }
    }

    /// The masks of the first `count` ≤ 16 lanes of two registers.
    #[inline(always)]
    unsafe fn masks(count: usize) -> [__m256i; 2] {
        unsafe {
            let count = _mm256_set1_epi32(count as i32);
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let upper = _mm256_add_epi32(lanes, _mm256_set1_epi32(8));
            [_mm256_cmpgt_epi32(count, lanes), _mm256_cmpgt_epi32(count, upper)]
        }
    }
}

/// Plain arrays, vectorised by the compiler for the target's baseline.
pub(super) struct Portable;

// SAFETY: plain Rust on the memory that the trait's contract names.
unsafe impl Lanes for Portable {
    type Reg = [f32; LANES];
    const ACROSS: usize = 1;
    const PIXELS: [usize; 2] = [4, 0];
    const TAPS: [usize; 2] = [4, 0];

    #[inline(always)]
    unsafe fn zero() -> [f32; LANES] {
        [0.0; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; LANES]) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> [f32; LANES] {
        [unsafe { *from }; LANES]
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; LANES], b: [f32; LANES], mut c: [f32; LANES]) -> [f32; LANES] {
        // Two roundings: without the instruction, a fused multiply-add would be a call for each lane.
        for lane in 0..LANES {
            c[lane] += a[lane] * b[lane];
        }
        c
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, count: usize) -> [f32; LANES] {
        let mut all = [0f32; LANES];
        unsafe { core::ptr::copy_nonoverlapping(from, all.as_mut_ptr(), count) };
        all
    }
    #[inline(always)]
    unsafe fn store_some(to: *mut f32, value: [f32; LANES], count: usize) {
        unsafe { core::ptr::copy_nonoverlapping(value.as_ptr(), to, count) };
    }
}
