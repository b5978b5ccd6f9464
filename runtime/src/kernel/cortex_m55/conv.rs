//! Convolutions: dense, fused thin pair, depthwise.
//!
//! [`Conv::accumulate`] adds blocks of input channels to the sums of a tile; a dense layer stores those, a pair expands
//! them.

use super::super::cortex_m::conv::Area;
use super::super::cortex_m::fill::Filler;
use super::super::cortex_m::tile::Geometry;
use super::super::portable;
use super::super::tiling::{Cut, Form};
use super::super::{Buffers, LayerWeights, Operations, Output, Second, Set, WeightMatrix};
use super::micro::{self, Depthwise, Element, Expand, Fill, Rows, Start, Taps, Walk};
use super::tile::{Lanes, Tile};
use crate::model::{Shape, Window};

pub(super) fn run<U: Operations, E: Element>(
    (input, output, window): (Shape, Shape, &Window),
    weights: &LayerWeights<'_>,
    epilogue: portable::Epilogue<'_>,
    buffers: &mut Buffers<'_>,
    cut: Option<&mut Cut>,
) {
    let form = weights.form();
    let geometry = Geometry::new(input, output, window).with_planes(buffers.planes);
    let scratch = buffers.scratch.len();
    let tile = match cut {
        Some(cut) => match known(E::LANES, (form, output.height), cut) {
            Some(tile) => tile,
            None if U::USED.has(Set::TILING) => {
                kept(E::LANES, &geometry, (form, output.height), scratch, cut)
            }
            None => return,
        },
        None if !U::USED.has(Set::TILING) => return,
        None => Tile::fit(E::LANES, &geometry, form, scratch),
    };
    let conv = Conv { geometry, tile, taps: Taps::of(&geometry) };
    let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
    for y in (0..height).step_by(tile.rows.max(1)) {
        for x in (0..width).step_by(tile.columns.max(1)) {
            let (rows, columns) = (tile.rows.min(height - y), tile.columns.min(width - x));
            let area = Area { y, x, rows, columns, groups: columns.div_ceil(E::LANES.pixels) };
            match weights {
                LayerWeights::Dense(weights) if U::USED.has(Set::DENSE) => {
                    conv.dense::<E>(&area, *weights, epilogue, buffers);
                }
                LayerWeights::Pair { thin, expand, rank } if U::USED.has(Set::PAIR) => {
                    conv.pair::<E>(&area, (*thin, *expand, *rank), epilogue, buffers);
                }
                LayerWeights::Depthwise(weights) if U::USED.has(Set::DEPTHWISE) => {
                    conv.depthwise::<E>(&area, weights, epilogue, buffers);
                }
                _ => {}
            }
        }
    }
}

/// What was found for `rows` rows of a layer, or for more: they serve.
fn known(lanes: Lanes, (form, rows): (Form, u32), cut: &Cut) -> Option<Tile> {
    let [ranks, rows, columns, block, outs] = cut.found(rows)?;
    Some(Tile { rows, columns, block, outs, ranks, lanes, form })
}

/// How a whole layer is cut up, in so many f32 of scratch; `None` where that cannot be kept.
#[cfg(feature = "std")]
pub(super) fn cut(
    lanes: Lanes,
    (input, output, window): (Shape, Shape, &Window),
    form: Form,
    scratch: usize,
) -> Option<Cut> {
    let geometry = Geometry::new(input, output, window);
    let mut cut = Cut::NEW;
    kept(lanes, &geometry, (form, output.height), scratch, &mut cut);
    cut.found(output.height).map(|_| cut)
}

/// The tile for `rows` rows of a layer, which it keeps.
#[inline(never)]
fn kept(lanes: Lanes, geometry: &Geometry, (form, rows): (Form, u32), scratch: usize, cut: &mut Cut) -> Tile {
    let tile = Tile::fit(lanes, geometry, form, scratch);
    cut.keep(rows, [tile.ranks, tile.rows, tile.columns, tile.block, tile.outs]);
    tile
}

/// One convolution.
pub(super) struct Conv {
    pub geometry: Geometry,
    pub tile: Tile,
    taps: Taps,
}

/// Scratch of one tile.
struct Scratch<'a> {
    sums: &'a mut [f32],
    /// The patch; then expanded sums.
    patch: &'a mut [f32],
    /// Weights of a block, tap by tap.
    panel: &'a mut [u32],
    /// Where in the patch each tap of a block begins, in bytes, where loops need it.
    offsets: &'a mut [u32],
}

impl Conv {
    /// Splits the caller's scratch; `None` where it is too small, which a plan rules out.
    fn scratch<'s>(&self, scratch: &'s mut [f32]) -> Option<Scratch<'s>> {
        let (tile, geometry) = (&self.tile, &self.geometry);
        let (sums, rest) = scratch.split_at_mut_checked(tile.sums())?;
        let (patch, rest) = rest.split_at_mut_checked(tile.patch_words(geometry).max(tile.expanded()))?;
        let (panel, rest) = rest.split_at_mut_checked(tile.panel(geometry))?;
        let offsets = rest.get_mut(..tile.offsets(geometry))?;
        let words = |words| bytemuck::try_cast_slice_mut(words).ok();
        Some(Scratch { sums, patch, panel: words(panel)?, offsets: words(offsets)? })
    }

    fn dense<E: Element>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.geometry.output.channels as usize;
        let columns = weights.len() / n.max(1);
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        for first in (0..n).step_by(self.tile.outs.max(1)) {
            let outs = self.tile.outs.min(n - first);
            let Some(weights) = weights.rows(first..first + outs, columns) else { return };
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            self.accumulate::<E>(area, weights, outs, bias, buffers.input, &mut scratch);
            self.store::<E>(area, scratch.sums, first, outs, epilogue, &mut buffers.output, buffers.second);
        }
    }

    /// A block of channels at a time, each with sums of its own.
    fn depthwise<E: Element>(
        &self,
        area: &Area,
        weights: &[u16],
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        // A checked model and its tiles have nothing that is empty; so the compiler knows it too.
        let (plane, taps) = (self.geometry.planes[0].max(1), self.geometry.taps().max(1));
        let (block, pixels) = (self.tile.block.max(1), E::LANES.pixels);
        let Some(scratch) = self.scratch(buffers.scratch) else { return };
        let Some(patch) = self.patch::<E>(area, scratch.patch) else { return };
        let offsets = scratch.offsets.get_mut(..self.rounds(1)).unwrap_or_default();
        self.offsets(area, size_of::<E>(), offsets);
        let walk = self.walk::<E>(area, 1, offsets);
        let filler = Filler::new(&self.geometry, area);
        let planes = buffers.input.chunks((block * plane).max(1)).zip(weights.chunks((block * taps).max(1)));
        for (i, (planes, weights)) in planes.enumerate() {
            let channels = planes.len().div_ceil(plane);
            self.fill(&filler, planes, (channels, walk.channel), patch);
            let Some(panel) = scratch.panel.get_mut(..weights.len()) else { return };
            if !micro::panel::<E>(WeightMatrix::Half(weights), weights.len(), 1, weights.len(), panel) {
                return;
            }
            let first = i * block;
            let bias = epilogue.bias.get(first..).unwrap_or_default();
            let plain = epilogue.activation.is_plain() && matches!(buffers.second, Second::None);
            // Straight to the output where nothing is added.
            if let (Taps::Square | Taps::Square2, true, Some(patch), Output::Half(output)) =
                (self.taps, plain, E::full(patch), &mut buffers.output)
            {
                let width = self.geometry.output.width as usize;
                let at = first * self.geometry.planes[1] + area.y * width + area.x;
                let (Some(bias), Some(output)) = (bias.get(..channels), output.get_mut(at..)) else { return };
                let tile = Depthwise {
                    stride: self.geometry.stride[1],
                    step: self.geometry.row_step(),
                    pitch: walk.pitch,
                    channel: walk.channel,
                    weights: panel,
                    bias,
                    shape: Rows {
                        rows: area.rows,
                        columns: area.columns,
                        width,
                        plane: self.geometry.planes[1],
                    },
                    activation: epilogue.activation,
                };
                micro::depthwise(&tile, patch, output);
                continue;
            }
            for (c, (panel, bias)) in panel.chunks_exact(taps).zip(bias.chunks_exact(1)).enumerate() {
                let Some(patch) = patch.get(c * walk.channel..) else { return };
                let Some(sums) = scratch.sums.get_mut(c * pixels..) else { return };
                let sums = (sums, channels * pixels);
                micro::accumulate::<E>(walk, 1, (patch, panel), sums, Start::Bias(bias));
            }
            let (output, second) = (&mut buffers.output, buffers.second);
            self.store::<E>(area, scratch.sums, first, channels, epilogue, output, second);
        }
    }

    fn pair<E: Element>(
        &self,
        area: &Area,
        (thin, expand, rank): (WeightMatrix<'_>, WeightMatrix<'_>, usize),
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.geometry.output.channels as usize;
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        self.accumulate::<E>(area, thin, rank, &[], buffers.input, &mut scratch);
        let groups = area.rows * area.groups;
        let Some(sums) = scratch.sums.get_mut(..groups * E::LANES.pixels * rank) else { return };
        // The loops that expand have bounds alone.
        if matches!(buffers.output, Output::Full(_)) || !epilogue.activation.is_plain() {
            return self.logits::<E>(
                area,
                sums,
                (expand, rank),
                epilogue,
                &mut buffers.output,
                buffers.second,
            );
        }
        let middle = micro::settle::<E>(sums);
        let mut first = 0;
        for outs in each(n, E::LANES.outs) {
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            if rank > E::LANES.ranks {
                let pixels = E::LANES.pixels;
                let walk = Walk {
                    taps: Taps::Strided,
                    count: 0,
                    offsets: &[],
                    channel: pixels,
                    pitch: 0,
                    rows: 1,
                    groups,
                    group: rank * pixels,
                    row: 0,
                };
                for from in (0..rank).step_by(self.tile.ranks.max(1)) {
                    let count = self.tile.ranks.min(rank - from);
                    let Some(rows) = expand.after(first, rank, from) else { return };
                    let Some(panel) = scratch.panel.get_mut(..count * outs) else { return };
                    if !micro::panel::<E>(rows, rank, outs, count, panel) {
                        return;
                    }
                    let start = if from == 0 { Start::Bias(bias) } else { Start::Resume };
                    let Some(middle) = middle.get(from * pixels..) else { return };
                    let sums = (&mut *scratch.patch, outs * pixels);
                    micro::accumulate::<E>(Walk { count, ..walk }, outs, (middle, panel), sums, start);
                }
                self.store::<E>(
                    area,
                    scratch.patch,
                    first,
                    outs,
                    epilogue,
                    &mut buffers.output,
                    buffers.second,
                );
            } else if let Output::Half(output) = &mut buffers.output {
                let Some(rows) = expand.after(first, rank, 0) else { return };
                let Some(panel) = scratch.panel.get_mut(..rank * outs) else { return };
                if !micro::panel::<E>(rows, rank, outs, rank, panel) {
                    return;
                }
                let from = Expand { middle, ranks: rank, panel, bias };
                let Some(epilogue) = self.epilogue(area, first, epilogue, output, buffers.second) else {
                    return;
                };
                micro::expand::<E>(from, epilogue);
            }
            first += outs;
        }
    }

    /// Sums of `outs` channels of a tile, from `bias` (or zero) on: one row of `weights` for each of them.
    fn accumulate<E: Element>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        outs: usize,
        bias: &[f32],
        input: &[u16],
        scratch: &mut Scratch<'_>,
    ) {
        let (plane, taps, pixels) = (self.geometry.planes[0].max(1), self.geometry.taps(), E::LANES.pixels);
        let (columns, block) = (weights.len() / outs.max(1), self.tile.block);
        let Scratch { sums, patch, panel, offsets } = scratch;
        let Some(patch) = self.patch::<E>(area, patch) else { return };
        self.offsets(area, size_of::<E>(), offsets);
        let filler = Filler::new(&self.geometry, area);
        for (i, planes) in input.chunks((block * plane).max(1)).enumerate() {
            let channels = planes.len().div_ceil(plane);
            let walk = self.walk::<E>(area, channels, offsets);
            self.fill(&filler, planes, (channels, walk.channel), patch);
            let from = i * block * taps;
            let mut first = 0;
            for some in each(outs, E::LANES.outs) {
                let Some(rows) = weights.after(first, columns, from) else { return };
                let Some(panel) = panel.get_mut(..channels * taps * some) else { return };
                let Some(sums) = sums.get_mut(first * pixels..) else { return };
                if !micro::panel::<E>(rows, columns, some, channels * taps, panel) {
                    return;
                }
                let start =
                    if i > 0 { Start::Resume } else { Start::Bias(bias.get(first..).unwrap_or_default()) };
                micro::accumulate::<E>(walk, some, (patch, panel), (sums, outs * pixels), start);
                first += some;
            }
        }
    }

    /// The patch of a tile, all zero: padding stays so from block to block. The last group may read behind it: that is not
    /// stored.
    fn patch<'s, E: Element>(&self, area: &Area, words: &'s mut [f32]) -> Option<&'s mut [E]> {
        let length = self.tile.block * self.geometry.channel(area.rows, area.columns) + E::LANES.pixels;
        let patch: &mut [E] = bytemuck::try_cast_slice_mut(words).ok()?.get_mut(..length)?;
        micro::clear(patch);
        Some(patch)
    }

    /// Offsets of `channels` channels, where loops need them.
    fn rounds(&self, channels: usize) -> usize {
        if self.taps == Taps::Single { channels * self.geometry.taps() } else { 0 }
    }

    /// Where the pixels lie that the taps of `channels` channels meet.
    fn walk<'o, E: Element>(&self, area: &Area, channels: usize, offsets: &'o [u32]) -> Walk<'o> {
        let geometry = &self.geometry;
        let (pixels, pitch) = (E::LANES.pixels, geometry.pitch(area.columns));
        let offsets = offsets.get(..self.rounds(channels)).unwrap_or_default();
        Walk {
            taps: self.taps,
            count: if self.taps == Taps::Single { offsets.len() } else { channels },
            offsets,
            channel: geometry.channel(area.rows, area.columns),
            pitch,
            rows: area.rows,
            groups: area.groups,
            group: pixels,
            row: geometry.row_step() * geometry.phases() * pitch,
        }
    }

    /// The part under a tile of some channels' planes into the patch, whose padding is zero.
    fn fill<E: Element>(
        &self,
        filler: &Filler,
        planes: &[u16],
        (channels, channel): (usize, usize),
        patch: &mut [E],
    ) {
        let geometry = &self.geometry;
        let (width, plane) = (geometry.input.width as usize, geometry.planes[0].max(1));
        if !filler.in_rows() {
            for (plane, patch) in planes.chunks(plane.max(1)).zip(patch.chunks_exact_mut(channel.max(1))) {
                filler.by_element(plane, patch, E::of);
            }
            return;
        }
        let row = filler.pitch * geometry.phases();
        let (begin, above) = (filler.begin, filler.above * row);
        let count = filler.end - begin;
        let from = planes.get(filler.first * width + filler.column..).unwrap_or_default();
        let (skipped, first, second) = match (geometry.stride[1], geometry.phases()) {
            (1, _) => (0, begin, None),
            // Only even elements are wanted.
            (_, 1) => (begin % 2, begin.div_ceil(2), Some(begin.div_ceil(2))),
            _ if begin.is_multiple_of(2) => (0, begin / 2, Some(filler.pitch + begin / 2)),
            _ => (0, filler.pitch + begin / 2, Some(begin / 2 + 1)),
        };
        let shape = Fill {
            channels,
            rows: filler.inside,
            count: count - skipped,
            from_row: filler.step * width,
            from_channel: plane,
            to_row: row,
            to_channel: channel,
            first: above + first,
            second: second.map(|second| above + second),
        };
        micro::fill(from.get(skipped..).unwrap_or_default(), patch, &shape);
    }

    /// Where the pixels begin that each tap of a block meets, in bytes.
    fn offsets(&self, area: &Area, size: usize, offsets: &mut [u32]) {
        let channel = self.geometry.channel(area.rows, area.columns);
        let pitch = self.geometry.pitch(area.columns);
        let ([_, kw], sx) = (self.geometry.kernel, self.geometry.stride[1].max(1));
        let phases = self.geometry.phases();
        for (c, offsets) in offsets.chunks_mut(self.geometry.taps().max(1)).enumerate() {
            for (ky, offsets) in offsets.chunks_mut(kw.max(1)).enumerate() {
                for (kx, offset) in offsets.iter_mut().enumerate() {
                    let at = c * channel + (ky * phases + kx % sx) * pitch + kx / sx;
                    *offset = (at * size) as u32;
                }
            }
        }
    }
}

/// Splits `all` channels into parts of like size, each of at most `most`.
fn each(all: usize, most: usize) -> impl Iterator<Item = usize> {
    let parts = all.div_ceil(most).max(1);
    (0..parts).map(move |part| (all + part) / parts).filter(|part| *part > 0)
}
