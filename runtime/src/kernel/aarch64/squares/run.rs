//! A convolution, strip by strip.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::kernels::Kernels;
use super::super::pack::Packed;
use super::pack::Squared;
use super::strip::Placed;
use super::transform::Strip;
use crate::kernel::team::Team;
use crate::kernel::tiling::CACHE_LINE;

/// Runs a convolution, its strips shared by `team`.
///
/// # Safety
///
/// `input`, `output` and, unless it is null, `second` have the elements of the convolution's shapes; `scratch` and the team's
/// have what [`Squares::scratch`] says; the machine has the instructions of `E`.
pub(in crate::kernel::aarch64) unsafe fn run<E: Kernels>(
    conv: &Packed<E::Bits>,
    squared: &Squared<E::Bits>,
    (input, output, second, scratch): (*const u16, *mut u16, *const u16, &mut [f32]),
    team: Option<&mut Team>,
) {
    let layer = Placed::<E> { conv, squared, input, output, second };
    let next = AtomicUsize::new(0);
    let plan = &squared.plan;
    match team {
        // SAFETY: the caller's promise.
        None => unsafe { layer.strips(scratch, plan.rows, &next) },
        Some(team) => {
            let rows = plan.down.div_ceil(team.threads()).clamp(1, plan.rows);
            // SAFETY: the caller's promise.
            team.share(scratch, &|scratch| unsafe { layer.strips(scratch, rows, &next) });
        }
    }
}

/// Cuts off a buffer of so many f32, in whole cache lines.
fn cut<'a>(scratch: &mut &'a mut [f32], count: usize) -> Option<&'a mut [f32]> {
    let all = core::mem::take(scratch);
    let (part, rest) = all.split_at_mut_checked(count.next_multiple_of(CACHE_LINE / size_of::<f32>()))?;
    *scratch = rest;
    Some(part)
}

impl<E: Kernels> Placed<'_, E> {
    /// Computes strips of `rows` rows of tiles, the `next` one again and again, until there is none left.
    unsafe fn strips(&self, scratch: &mut [f32], rows: usize, next: &AtomicUsize) {
        let (conv, plan) = (self.conv, &self.squared.plan);
        let aligned = scratch.as_ptr().align_offset(CACHE_LINE);
        let mut scratch = scratch.get_mut(aligned..).unwrap_or_default();
        let [patch, values, sums] = plan.parts(conv.input.channels as usize);
        let Some(patch) = cut(&mut scratch, patch) else { return };
        let Some(values) = cut(&mut scratch, values) else { return };
        let Some(sums) = cut(&mut scratch, sums) else { return };
        patch.fill(0.0);
        let (patch, values) = (patch.as_mut_ptr().cast(), values.as_mut_ptr().cast());
        let (sums, middle) = (sums.as_mut_ptr(), scratch.as_mut_ptr().cast());
        loop {
            let top = next.fetch_add(1, Ordering::Relaxed).saturating_mul(rows);
            if top >= plan.down {
                return;
            }
            let rows = rows.min(plan.down - top);
            // SAFETY: the caller's promise; the fields of a packed convolution fit each other.
            unsafe { E::strip(self, &Strip { patch, values, sums, middle, top, rows }) }
        }
    }
}
