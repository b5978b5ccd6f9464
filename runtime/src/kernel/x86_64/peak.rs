//! The speed of multiply-adds alone, against which kernels are measured.
#![allow(unsafe_code)]

use super::Vector;

/// Sums that do not wait for each other: more than latency times throughput of any core here.
const CHAINS: usize = 12;

/// Does `rounds` rounds of independent multiply-adds in registers and returns their number. To be inlined into a
/// function that has the instruction set.
#[inline(always)]
pub(super) fn multiply_adds<V: Vector>(rounds: u32) -> u64 {
    use core::hint::black_box;
    // SAFETY: no memory but `lanes` is touched, which has as many as any register.
    unsafe {
        let (a, b) = (V::splat(black_box(0.5)), V::splat(black_box(0.25)));
        let mut sums = [V::splat(black_box(1.0)); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = V::mul_add(*sum, a, b);
            }
        }
        let mut lanes = [0.0f32; 16];
        for sum in sums {
            V::store(sum, lanes.as_mut_ptr());
            black_box(&lanes);
        }
    }
    u64::from(rounds) * (CHAINS * V::LANES) as u64
}
