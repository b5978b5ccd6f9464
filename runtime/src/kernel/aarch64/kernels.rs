//! What an element has besides sums: each of these functions is compiled with its instructions.
#![allow(unsafe_code)]

use super::element::{Full, Half};
use super::sums::Sums;
use super::{depthwise, squares};

/// The kernels of an element.
///
/// # Safety
///
/// They do what their functions state, and touch no other memory.
pub(super) unsafe trait Kernels: Sums {
    /// Computes a part of a depthwise layer.
    ///
    /// # Safety
    ///
    /// As for [`depthwise::run`]; the machine has the element's instructions.
    unsafe fn depthwise(part: &depthwise::Part<'_, Self::Bits>);

    /// Computes a strip of a convolution by Winograd's tiles.
    ///
    /// # Safety
    ///
    /// As for [`squares::strip`]; the machine has the element's instructions.
    unsafe fn strip(layer: &squares::Placed<'_, Self>, strip: &squares::Strip<Self::Bits>);
}

unsafe impl Kernels for Full {
    unsafe fn depthwise(part: &depthwise::Part<'_, f32>) {
        // SAFETY: NEON is part of A64; otherwise as for the caller.
        unsafe { depthwise::run::<Full>(part) }
    }

    unsafe fn strip(layer: &squares::Placed<'_, Full>, strip: &squares::Strip<f32>) {
        // SAFETY: NEON is part of A64; otherwise as for the caller.
        unsafe { squares::strip::<Full, 6, 4>(layer, strip) }
    }
}

unsafe impl Kernels for Half {
    unsafe fn depthwise(part: &depthwise::Part<'_, u16>) {
        #[target_feature(enable = "neon,fp16")]
        unsafe fn run(part: &depthwise::Part<'_, u16>) {
            // SAFETY: as for the caller.
            unsafe { depthwise::run::<Half>(part) }
        }
        // SAFETY: as for the caller.
        unsafe { run(part) }
    }

    unsafe fn strip(layer: &squares::Placed<'_, Half>, strip: &squares::Strip<u16>) {
        #[target_feature(enable = "neon,fp16")]
        unsafe fn run(layer: &squares::Placed<'_, Half>, strip: &squares::Strip<u16>) {
            // SAFETY: as for the caller.
            unsafe { squares::strip::<Half, 4, 2>(layer, strip) }
        }
        // SAFETY: as for the caller.
        unsafe { run(layer, strip) }
    }
}
