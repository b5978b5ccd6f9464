//! Mean of each plane.
#![allow(unsafe_code)]

use super::Vector;
use crate::kernel::f16;

/// Most lanes of a register.
const MOST_LANES: usize = 16;

/// Registers summed side by side.
const CHAINS: usize = 4;

/// The mean of each plane of `pixels` f16, rounded to f16. To be inlined into a function that has the instruction set.
#[inline(always)]
pub(super) fn average<V: Vector>(input: &[u16], pixels: usize, output: &mut [u16]) {
    for (plane, to) in input.chunks_exact(pixels.max(1)).zip(output) {
        let mut lanes = [0.0f32; MOST_LANES];
        // SAFETY: the chunks have the elements that are read; a register has at most as many lanes as `lanes`.
        unsafe {
            let mut sums = [V::splat(0.0); CHAINS];
            let chunks = plane.chunks_exact(CHAINS * V::LANES);
            let rest = chunks.remainder();
            for chunk in chunks {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = V::add(*sum, V::widen(chunk.as_ptr().add(i * V::LANES), V::LANES));
                }
            }
            for chunk in rest.chunks(V::LANES) {
                sums[0] = V::add(sums[0], V::widen(chunk.as_ptr(), chunk.len()));
            }
            let sum = V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3]));
            V::store(sum, lanes.as_mut_ptr());
        }
        // Halves on halves: four additions deep.
        let mut width = MOST_LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
            width /= 2;
        }
        *to = f16::narrow(lanes[0] / pixels as f32);
    }
}
