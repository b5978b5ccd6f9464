//! A convolution, some rows of tiles at a time.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::Vector;
use super::super::channels::{Target, like, product};
use super::pack::{FilterBlock, Winograd};
use super::{Job, MOST_TILES, Row, Spread, Sums};
use crate::kernel::WinogradTile;
use crate::kernel::team::Team;
use crate::kernel::tiling::CACHE_LINE;

/// Runs a packed convolution, shared by `team`.
///
/// # Safety
///
/// `input`, `output` and, unless it is null, `second` have the elements of the convolution's shapes; `scratch` and the
/// team's have [`Winograd::scratch`]; the machine has the instruction set.
pub(in crate::kernel::x86_64) unsafe fn run<V: Vector>(
    conv: &Winograd,
    (input, output, second): (*const u16, *mut u16, *const u16),
    scratch: &mut [f32],
    team: Option<&mut Team>,
) {
    let target = Target { output, second, shape: conv.cut.output, activation: conv.activation };
    let layer = Placed { conv, input, target };
    let (down, rows, blocks) = (conv.cut.down, conv.cut.rows, conv.first.count());
    let next = AtomicUsize::new(0);
    match team {
        // SAFETY: the caller's promise.
        None => unsafe { layer.tiles::<V>(scratch, (rows, blocks), &next) },
        Some(team) => {
            let threads = team.threads();
            let size = if conv.expand.is_none() && down <= rows && blocks >= threads {
                // Everybody transforms the input and reads some of the weights.
                (rows, blocks.div_ceil(threads))
            } else {
                // The rows that are done soonest, as many together as may be.
                let turns = |rows: usize| down.div_ceil(rows).div_ceil(threads) * rows;
                ((1..=rows).rev().min_by_key(|rows| turns(*rows)).unwrap_or(1), blocks)
            };
            // SAFETY: the caller's promise; the team's threads have this instruction set.
            team.share(scratch, &|scratch| unsafe { layer.tiles::<V>(scratch, size, &next) });
        }
    }
}

/// A convolution with its buffers, which have the sizes that it states.
struct Placed<'a> {
    conv: &'a Winograd,
    input: *const u16,
    target: Target,
}

// SAFETY: threads write to different pixels or channels of the output; the residual of one, where it is the output itself,
// is read only by the thread that writes it.
unsafe impl Sync for Placed<'_> {}

/// The parts of the scratch.
struct Scratch {
    /// The transformed tiles.
    tiles: *mut f32,
    /// Input rows and columns, while they are transformed; products and what is turned over behind them, in their place.
    free: *mut f32,
    /// A pair's intermediate values.
    middle: *mut f32,
}

impl Placed<'_> {
    /// Computes `rows` rows of tiles and, of a dense layer, `blocks` blocks of filters: the `next` ones again and again, until
    /// there are none left.
    unsafe fn tiles<V: Vector>(
        &self,
        scratch: &mut [f32],
        (rows, blocks): (usize, usize),
        next: &AtomicUsize,
    ) {
        let (conv, cut) = (self.conv, &self.conv.cut);
        let aligned = scratch.as_ptr().align_offset(CACHE_LINE);
        let scratch = scratch.get_mut(aligned..).unwrap_or_default();
        let middle = cut.pixels() * conv.expand.as_ref().map_or(0, |_| cut.middle(conv.first.rows));
        let Some((tiles, rest)) = scratch.split_at_mut_checked(cut.tiles_len()) else { return };
        let Some((middle, free)) = rest.split_at_mut_checked(middle) else { return };
        let to = Scratch { tiles: tiles.as_mut_ptr(), middle: middle.as_mut_ptr(), free: free.as_mut_ptr() };
        let parts = conv.first.count().div_ceil(blocks.max(1));
        let mut filled = None;
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            let first = (item / parts).saturating_mul(rows);
            if first >= cut.down {
                return;
            }
            let rows = rows.min(cut.down - first);
            // SAFETY: the caller's promise; the fields of a packed convolution fit each other.
            unsafe {
                if filled != Some(first) {
                    self.fill::<V>(&to, first, rows);
                    filled = Some(first);
                }
                let (y, width) = (first * cut.tile.outputs(), cut.output.width as usize);
                let pixels = (rows * cut.tile.outputs()).min(cut.output.height as usize - y) * width;
                match &conv.expand {
                    None => {
                        let turned = to.free.add(cut.products_len());
                        for block in conv.first.all().skip(item % parts * blocks).take(blocks) {
                            let step = block.registers * V::LANES;
                            self.block::<V>(&block, &to, (first, rows), (turned, step));
                            self.target.finish::<V>(block.first, step, turned, y, pixels);
                        }
                    }
                    Some((expand, places, ranks)) => {
                        let step = cut.middle(conv.first.rows);
                        for block in conv.first.all() {
                            self.block::<V>(&block, &to, (first, rows), (to.middle.add(block.first), step));
                        }
                        let x = (to.middle.cast_const(), places.get(..pixels).unwrap_or_default());
                        for block in expand.all() {
                            let step = block.registers * V::LANES;
                            product::<V>(&block, ranks, x, (to.free, step));
                            self.target.finish::<V>(block.first, step, to.free, y, pixels);
                        }
                    }
                }
            }
        }
    }

    /// Transforms the inputs of `rows` rows of tiles from row `first` on.
    unsafe fn fill<V: Vector>(&self, to: &Scratch, first: usize, rows: usize) {
        let cut = &self.conv.cut;
        let (height, width) = (cut.input.height as usize, cut.input.width as usize);
        let (channels, outputs) = (cut.input.channels as usize, cut.tile.outputs());
        let [above, before, _, _] = cut.window.padding.map(usize::from);
        // Input rows that are met, of those in the image.
        let top = (first * outputs).saturating_sub(above).min(height - 1);
        let end = (first * outputs + cut.input_rows(rows)).saturating_sub(above).clamp(top + 1, height);
        // SAFETY: the parts of the scratch have room for what is written; input rows and channels are in the image.
        unsafe {
            let (zeros, spread) = (to.free, to.free.add(V::LANES));
            let columns = to.free.add(cut.spread_len());
            V::store(V::splat(0.0), zeros);
            for group in (0..channels).step_by(V::LANES) {
                for eight in (0..V::LANES).step_by(8) {
                    let channel = group + eight;
                    V::spread(&Spread {
                        from: self.input.wrapping_add(channel * height * width + top * width),
                        plane: height * width,
                        planes: channels.saturating_sub(channel).min(8),
                        pixels: (end - top) * width,
                        to: spread.add(eight),
                        step: V::LANES,
                    });
                }
                for row in 0..rows {
                    let mut from = [(zeros.cast_const(), 0); 6];
                    for (i, from) in from.iter_mut().enumerate() {
                        let y = ((first + row) * outputs + i).wrapping_sub(above);
                        if (top..end).contains(&y) {
                            *from = (spread.add((y - top) * width * V::LANES).cast_const(), V::LANES);
                        }
                    }
                    let row = Row {
                        rows: from,
                        width,
                        before,
                        tiles: cut.across,
                        columns,
                        to: to.tiles.add(row * cut.across * cut.pitch() + group),
                        pitch: cut.pitch(),
                        step: cut.step(),
                    };
                    match cut.tile {
                        WinogradTile::Two => V::to_tiles::<4>(&row),
                        WinogradTile::Four => V::to_tiles::<6>(&row),
                    }
                }
            }
        }
    }

    /// The sums of a block of filters for `rows` rows of tiles from row `first` on. Those of the first pixel go to `to`, the
    /// others' `pixel` elements on.
    unsafe fn block<V: Vector>(
        &self,
        block: &FilterBlock<'_>,
        scratch: &Scratch,
        (first, rows): (usize, usize),
        (to, pixel): (*mut f32, usize),
    ) {
        let cut = &self.conv.cut;
        let (channels, width) = (cut.input.channels as usize, cut.output.width as usize);
        let (tiles, step) = (rows * cut.across, cut.sums_step(block.registers));
        let registers = block.registers * V::LANES;
        // SAFETY: tiles and products are in the scratch, weights in the block, pixels in the destination.
        unsafe {
            for k in 0..cut.tile.products() {
                let groups = tiles.div_ceil(V::tiles(block.registers));
                for (group, (tile, count)) in like(tiles, V::tiles(block.registers)).enumerate() {
                    // Each group its share of the next product's weights.
                    let ahead = channels * registers * (group + (k + 1) * groups) / groups;
                    let job = Job {
                        weights: block.weights.as_ptr().add(k * channels * registers),
                        channels,
                        ahead: block.weights.as_ptr().wrapping_add(ahead),
                        x: scratch.tiles.add(k * cut.step() + tile * cut.pitch()),
                        pitch: cut.pitch(),
                        to: scratch.free.add(k * step + tile * registers),
                        step: registers,
                    };
                    piece::<V>(count, block.registers, &job);
                }
            }
            let outputs = cut.tile.outputs();
            for row in 0..rows {
                let y = (first + row) * outputs;
                let sums = Sums {
                    from: scratch.free.add(row * cut.across * registers),
                    step,
                    registers: block.registers,
                    tiles: cut.across,
                    rows: outputs.min(cut.output.height as usize - y),
                    width,
                    bias: block.bias.as_ptr(),
                    to: to.add(row * outputs * width * pixel),
                    pixel,
                };
                match cut.tile {
                    WinogradTile::Two => V::from_tiles::<4, 2>(&sums),
                    WinogradTile::Four => V::from_tiles::<6, 4>(&sums),
                }
            }
        }
    }
}

/// Calls the kernel for `tiles` tiles and `registers` registers of filters.
unsafe fn piece<V: Vector>(tiles: usize, registers: usize, job: &Job) {
    debug_assert!((1..=MOST_TILES).contains(&tiles));
    macro_rules! kernels {
        ($(($q:literal, $($p:literal)*))*) => {
            match (tiles, registers) {
                // SAFETY: as for this function.
                $($(($p, $q) => unsafe { V::products::<$p, $q>(job) },)*)*
                _ => {}
            }
        };
    }
    kernels!(
        (1, 1 2 3 4 5 6 7 8 9 10 11 12)(2, 1 2 3 4 5 6 7 8 9 10 11 12)(3, 1 2 3 4 5 6 7 8 9)(4, 1 2 3 4 5 6)
    )
}
