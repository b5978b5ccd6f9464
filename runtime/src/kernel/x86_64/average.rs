//! Mean of each plane.
#![allow(unsafe_code)]

use super::Vector;
use crate::kernel::f16;
use crate::kernel::portable::halved;

/// Most lanes of a register.
const MOST_LANES: usize = 16;

/// The mean of each plane of rows of `width` f16, rounded to f16; rows are summed up and added one after another, as everywhere. To be
/// inlined into a function that has the instruction set.
#[inline(always)]
pub(super) fn average<V: Vector>(input: &[u16], [pixels, width]: [usize; 2], output: &mut [u16]) {
    for (plane, to) in input.chunks_exact(pixels.max(1)).zip(output) {
        let mut sum = 0.0;
        for row in plane.chunks_exact(width.max(1)) {
            let mut lanes = [0.0f32; MOST_LANES];
            // SAFETY: the chunks have the elements that are read; a register has at most as many lanes as `lanes`.
            unsafe {
                let mut sums = V::splat(0.0);
                for chunk in row.chunks(V::LANES) {
                    sums = V::add(sums, V::widen(chunk.as_ptr(), chunk.len()));
                }
                V::store(sums, lanes.as_mut_ptr());
            }
            sum += halved(lanes.get_mut(..V::LANES).unwrap_or_default());
        }
        *to = f16::narrow(sum / pixels as f32);
    }
}
