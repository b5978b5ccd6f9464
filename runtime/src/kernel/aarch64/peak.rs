//! The speed of multiply-adds alone, against which kernels are measured.
#![allow(unsafe_code)]

use core::arch::aarch64::{vdupq_n_u16, vreinterpretq_u8_u16};
use core::hint::black_box;

use super::element::{Element, Full, Half};
use crate::kernel::Arithmetic;

/// Sums that do not wait for each other: more than latency times throughput of any core here.
const CHAINS: usize = 16;

/// Does `rounds` rounds of independent multiply-adds in registers and returns their number. For f16 the machine must have
/// FEAT_FP16.
pub(in crate::kernel) fn multiply_adds(arithmetic: Arithmetic, rounds: u32) -> u64 {
    #[target_feature(enable = "neon,fp16")]
    unsafe fn half(rounds: u32) -> u64 {
        // SAFETY: as for the caller.
        unsafe { chains::<Half>(rounds) }
    }
    // SAFETY: NEON is part of A64, and the caller has asked for more.
    unsafe {
        match arithmetic {
            Arithmetic::F32 => chains::<Full>(rounds),
            Arithmetic::F16 => half(rounds),
        }
    }
}

#[inline(always)]
unsafe fn chains<E: Element>(rounds: u32) -> u64 {
    // SAFETY: no memory but `lanes` is touched, which has as many as any register.
    unsafe {
        let half = vreinterpretq_u8_u16(vdupq_n_u16(black_box(0x3800)));
        let (x, weights) = (E::register(half), E::register(half));
        let mut sums = [E::begin(black_box(1.0)); CHAINS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = E::multiply_add(*sum, x, weights, 0);
            }
        }
        let mut lanes = [0.0f32; 8];
        for sum in sums {
            E::carry(sum, lanes.as_mut_ptr(), 0.0, false);
            black_box(&lanes);
        }
    }
    u64::from(rounds) * (CHAINS * E::LANES) as u64
}
