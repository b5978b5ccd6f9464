//! A convolution, tile by tile.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Part, Turned, Vector};
use super::pack::{Block, Channels};
use super::sums::Job;
use super::{MOST_PIXELS, like};
use crate::kernel::team::Team;
use crate::kernel::tiling::CACHE_LINE;
use crate::model::{Activation, Shape};

/// Runs a packed convolution, shared by `team`.
///
/// # Safety
///
/// `input`, `output` and, unless it is null, `second` have the elements of the convolution's shapes; `scratch` and the
/// team's have [`Channels::scratch`]; the machine has the instruction set.
pub(in crate::kernel::x86_64) unsafe fn run<V: Vector>(
    conv: &Channels,
    (input, output, second): (*const u16, *mut u16, *const u16),
    scratch: &mut [f32],
    team: Option<&mut Team>,
) {
    let target = Target { output, second, shape: conv.output, activation: conv.activation };
    let layer = Placed { conv, input, target };
    let (height, blocks) = (conv.output.height as usize, conv.first.count());
    let next = AtomicUsize::new(0);
    match team {
        // SAFETY: the caller's promise.
        None => unsafe { layer.tiles::<V>(scratch, (conv.rows, blocks), &next) },
        Some(team) => {
            let threads = team.threads();
            let size = match conv.expand {
                // Both halves of a row's pixels are done by one thread.
                Some(_) => (conv.rows.min(height.div_ceil(threads)).max(1), blocks),
                None => {
                    let tiles = height.div_ceil(conv.rows.max(1));
                    (conv.rows, (blocks * tiles).div_ceil(threads).clamp(1, blocks))
                }
            };
            // SAFETY: the caller's promise; the team's threads have this instruction set.
            team.share(scratch, &|scratch| unsafe { layer.tiles::<V>(scratch, size, &next) });
        }
    }
}

/// A convolution with its buffers, which have the sizes that it states.
struct Placed<'a> {
    conv: &'a Channels,
    input: *const u16,
    target: Target,
}

/// The output of a convolution whose sums lie pixel by pixel.
pub(in crate::kernel::x86_64) struct Target {
    pub(in crate::kernel::x86_64) output: *mut u16,
    /// What is added, placed as the output is; null for nothing. May be the output itself.
    pub(in crate::kernel::x86_64) second: *const u16,
    pub(in crate::kernel::x86_64) shape: Shape,
    pub(in crate::kernel::x86_64) activation: Activation,
}

// SAFETY: threads write to different pixels or channels of the output; the residual of one, where it is the output itself,
// is read only by the thread that writes it.
unsafe impl Sync for Placed<'_> {}

impl Placed<'_> {
    /// Computes tiles of `rows` rows and, of a dense layer, `blocks` blocks of channels: the `next` one again and again,
    /// until there is none left.
    unsafe fn tiles<V: Vector>(
        &self,
        scratch: &mut [f32],
        (rows, blocks): (usize, usize),
        next: &AtomicUsize,
    ) {
        let conv = self.conv;
        let aligned = scratch.as_ptr().align_offset(CACHE_LINE);
        let scratch = scratch.get_mut(aligned..).unwrap_or_default();
        let Some((patch, rest)) = scratch.split_at_mut_checked(conv.tile.patch_len()) else { return };
        let turned = conv.tile.turned(conv.rows * conv.output.width as usize);
        let Some((turned, middle)) = rest.split_at_mut_checked(turned) else { return };
        let parts = conv.first.count().div_ceil(blocks.max(1));
        let mut filled = None;
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            let y = (item / parts).saturating_mul(rows);
            if y >= conv.output.height as usize {
                return;
            }
            let rows = rows.min(conv.output.height as usize - y);
            // SAFETY: the caller's promise; the fields of a packed convolution fit each other.
            unsafe {
                if filled != Some(y) {
                    V::fill(&conv.fill, self.input, patch.as_mut_ptr(), conv.part(y, rows));
                    filled = Some(y);
                }
                let pixels = rows * conv.output.width as usize;
                let x = (patch.as_ptr(), conv.pixels.get(..pixels).unwrap_or_default());
                let turned = turned.as_mut_ptr();
                match &conv.expand {
                    None => {
                        for block in conv.first.all().skip(item % parts * blocks).take(blocks) {
                            product::<V>(&block, &conv.offsets, x, (turned, block.registers * V::LANES));
                            self.target.finish::<V>(
                                block.first,
                                block.registers * V::LANES,
                                turned,
                                y,
                                pixels,
                            );
                        }
                    }
                    Some((expand, places, ranks)) => {
                        let step = conv.tile.middle(conv.first.rows);
                        let middle = middle.as_mut_ptr();
                        for block in conv.first.all() {
                            product::<V>(&block, &conv.offsets, x, (middle.add(block.first), step));
                        }
                        let x = (middle.cast_const(), places.get(..pixels).unwrap_or_default());
                        for block in expand.all() {
                            product::<V>(&block, ranks, x, (turned, block.registers * V::LANES));
                            self.target.finish::<V>(
                                block.first,
                                block.registers * V::LANES,
                                turned,
                                y,
                                pixels,
                            );
                        }
                    }
                }
            }
        }
    }
}

impl Target {
    /// Finishes the sums of `step` channels from `first` on, as far as they exist, for `pixels` pixels from row `y` on.
    ///
    /// # Safety
    ///
    /// The sums of as many pixels as fill up registers of 8 are there, each `step` elements behind the one before; the output
    /// has this shape, the pixels are in it, and the machine has the instruction set.
    pub(in crate::kernel::x86_64) unsafe fn finish<V: Vector>(
        &self,
        first: usize,
        step: usize,
        sums: *const f32,
        y: usize,
        pixels: usize,
    ) {
        let plane = self.shape.pixels();
        let at = first * plane + y * self.shape.width as usize;
        // SAFETY: these pixels of these channels are in the output.
        unsafe {
            V::turn(&Turned {
                sums,
                step,
                channels: step.min(self.shape.channels as usize - first),
                pixels,
                to: self.output.add(at),
                second: if self.second.is_null() { self.second } else { self.second.add(at) },
                plane,
                activation: self.activation,
            });
        }
    }
}

impl Channels {
    /// What the patch of output rows `y`… is filled with.
    fn part(&self, y: usize, rows: usize) -> Part {
        let channels = self.fill.input().channels as usize;
        let stride = if self.tile.is_point() { 1 } else { usize::from(self.window.stride[0]) };
        let (y, rows) = (y * stride, (rows - 1) * stride + 1);
        Part { y, rows, channel: 0, channels }
    }
}

/// A block of a matrix times pixels at places behind `x`. The first pixel's sums go to `to`, the others' `step` elements on.
///
/// # Safety
///
/// Pixels with their taps are behind `x`, sums in the destination; the machine has the instruction set.
pub(in crate::kernel::x86_64) unsafe fn product<V: Vector>(
    block: &Block<'_>,
    offsets: &[u32],
    (x, places): (*const f32, &[u32]),
    (to, step): (*mut f32, usize),
) {
    for (first, count) in like(places.len(), V::pixels(block.registers)) {
        let mut pixels = [x; MOST_PIXELS];
        for (pixel, place) in pixels.iter_mut().zip(places.get(first..first + count).unwrap_or_default()) {
            *pixel = x.wrapping_add(*place as usize);
        }
        // SAFETY: pixels with their taps are in the patch, sums in the destination.
        unsafe {
            let job = Job {
                weights: block.weights.as_ptr(),
                offsets: offsets.as_ptr(),
                taps: offsets.len(),
                x: pixels,
                bias: block.bias.as_ptr(),
                to: to.add(first * step),
                step,
            };
            piece::<V>(count, block.registers, &job);
        }
    }
}

/// Calls the kernel for `pixels` pixels and `registers` registers of channels.
unsafe fn piece<V: Vector>(pixels: usize, registers: usize, job: &Job) {
    macro_rules! kernels {
        ($(($q:literal, $($p:literal)*))*) => {
            match (pixels, registers) {
                // SAFETY: as for this function.
                $($(($p, $q) => unsafe { V::channels::<$p, $q>(job) },)*)*
                _ => {}
            }
        };
    }
    kernels!((1, 1 2 3 4 5 6 7 8 9)(2, 1 2 3 4 5 6 7 8 9)(3, 1 2 3 4 5 6 7 8 9)(4, 1 2 3 4 5 6))
}
