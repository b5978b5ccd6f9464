//! Convolutions: dense, fused thin pair, depthwise.
//!
//! [`Conv::accumulate`] adds blocks of input channels to the sums of a tile; a dense layer stores those, a pair expands
//! them.

use super::super::cortex_m::conv::Area;
use super::super::cortex_m::fill::Filler;
use super::super::cortex_m::tile::Geometry;
use super::super::portable::{self, finish};
use super::super::tile::Form;
use super::super::{Buffers, LayerWeights, Output, Second};
use super::Native;
use super::micro::{self, Element, Epilogue, Expand, Fill, Residual, Rows, Start, Taps, Walk};
use super::tile::Tile;
use crate::model::{Shape, Window};

pub(super) fn run<E: Element>(
    (input, output, window): (Shape, Shape, &Window),
    weights: &LayerWeights<'_>,
    epilogue: portable::Epilogue<'_>,
    buffers: &mut Buffers<'_>,
) {
    let form = match weights {
        LayerWeights::Dense(_) => Form::Dense,
        LayerWeights::Pair { rank, .. } => Form::Pair { rank: *rank },
        LayerWeights::Depthwise(_) => Form::Depthwise,
    };
    let geometry = Geometry::new(input, output, window);
    let tile = Tile::fit(E::LANES, &geometry, form, buffers.scratch.len());
    let conv = Conv { geometry, tile, taps: Taps::of(&geometry) };
    let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
    for y in (0..height).step_by(tile.rows) {
        for x in (0..width).step_by(tile.columns) {
            let (rows, columns) = (tile.rows.min(height - y), tile.columns.min(width - x));
            let area = Area { y, x, rows, columns, groups: columns.div_ceil(E::LANES.pixels) };
            match weights {
                LayerWeights::Dense(weights) => conv.dense::<E>(&area, weights, epilogue, buffers),
                LayerWeights::Pair { thin, expand, rank } => {
                    conv.pair::<E>(&area, (thin, expand, *rank), epilogue, buffers);
                }
                LayerWeights::Depthwise(weights) => conv.depthwise::<E>(&area, weights, epilogue, buffers),
            }
        }
    }
}

struct Conv {
    geometry: Geometry,
    tile: Tile,
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
        weights: &[u16],
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.geometry.output.channels as usize;
        let columns = weights.len() / n;
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        for first in (0..n).step_by(self.tile.outs) {
            let outs = self.tile.outs.min(n - first);
            let Some(weights) = weights.get(first * columns..(first + outs) * columns) else { return };
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            self.accumulate::<E>(area, weights, outs, bias, buffers.input, &mut scratch);
            self.store::<E>(area, scratch.sums, first, outs, epilogue, &mut buffers.output, buffers.second);
        }
    }

    fn depthwise<E: Element>(
        &self,
        area: &Area,
        weights: &[u16],
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        let planes = buffers.input.chunks_exact(self.geometry.input.pixels());
        let weights = weights.chunks_exact(self.geometry.taps());
        for (channel, (plane, weights)) in planes.zip(weights).enumerate() {
            let Some(bias) = epilogue.bias.get(channel..channel + 1) else { return };
            self.accumulate::<E>(area, weights, 1, bias, plane, &mut scratch);
            self.store::<E>(area, scratch.sums, channel, 1, epilogue, &mut buffers.output, buffers.second);
        }
    }

    fn pair<E: Element>(
        &self,
        area: &Area,
        (thin, expand, rank): (&[u16], &[u16], usize),
        epilogue: portable::Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.geometry.output.channels as usize;
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        self.accumulate::<E>(area, thin, rank, &[], buffers.input, &mut scratch);
        let groups = area.rows * area.groups;
        let Some(sums) = scratch.sums.get_mut(..groups * E::LANES.pixels * rank) else { return };
        if let Output::Full(_) = buffers.output {
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
                for from in (0..rank).step_by(self.tile.ranks) {
                    let count = self.tile.ranks.min(rank - from);
                    let Some(rows) = expand.get(first * rank + from..) else { return };
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
                let Some(rows) = expand.get(first * rank..) else { return };
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

    /// Where a tile's results of the channels from `first` on go.
    fn epilogue<'o>(
        &self,
        area: &Area,
        first: usize,
        epilogue: portable::Epilogue<'_>,
        output: &'o mut [u16],
        second: Second<'o>,
    ) -> Option<Epilogue<'o>> {
        let (width, plane) = (self.geometry.output.width as usize, self.geometry.output.pixels());
        let at = first * plane + area.y * width + area.x;
        let residual = match second {
            Second::None => Residual::None,
            Second::InPlace => Residual::InPlace,
            Second::Other(values) => Residual::Other(values.get(at..)?),
        };
        let shape = Rows { rows: area.rows, columns: area.columns, width, plane };
        Some(Epilogue { output: output.get_mut(at..)?, residual, shape, activation: epilogue.activation })
    }

    /// Sums of `outs` channels of a tile, from `bias` (or zero) on: one row of `weights` for each of them.
    fn accumulate<E: Element>(
        &self,
        area: &Area,
        weights: &[u16],
        outs: usize,
        bias: &[f32],
        input: &[u16],
        scratch: &mut Scratch<'_>,
    ) {
        let geometry = &self.geometry;
        let (plane, taps, pixels) = (geometry.input.pixels(), geometry.taps(), E::LANES.pixels);
        let (channel, pitch) = (geometry.channel(area.rows, area.columns), geometry.pitch(area.columns));
        let columns = weights.len() / outs;
        let block = self.tile.block;
        let Scratch { sums, patch, panel, offsets } = scratch;
        let words = block * channel + pixels;
        let Ok(patch) = bytemuck::try_cast_slice_mut(patch) else { return };
        let Some(patch): Option<&mut [E]> = patch.get_mut(..words) else { return };
        // Padding stays zero from block to block. The last group may read behind the patch: that is not stored.
        micro::clear(patch);
        self.offsets(channel, pitch, size_of::<E>(), offsets);
        let filler = Filler::new(geometry, area);
        for (i, planes) in input.chunks(block * plane).enumerate() {
            let channels = planes.len() / plane;
            self.fill(&filler, planes, (channels, channel), patch);
            let count = if self.taps == Taps::Single { channels * taps } else { channels };
            let walk = Walk {
                taps: self.taps,
                count,
                offsets: offsets.get(..count).unwrap_or_default(),
                channel,
                pitch,
                rows: area.rows,
                groups: area.groups,
                group: pixels,
                row: geometry.row_step() * geometry.phases() * pitch,
            };
            let from = i * block * taps;
            let mut first = 0;
            for some in each(outs, E::LANES.outs) {
                let Some(rows) = weights.get(first * columns + from..) else { return };
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

    /// The part under a tile of some channels' planes into the patch, whose padding is zero.
    fn fill<E: Element>(
        &self,
        filler: &Filler,
        planes: &[u16],
        (channels, channel): (usize, usize),
        patch: &mut [E],
    ) {
        let geometry = &self.geometry;
        let (width, plane) = (geometry.input.width as usize, geometry.input.pixels());
        if !filler.in_rows() {
            for (plane, patch) in planes.chunks_exact(plane).zip(patch.chunks_exact_mut(channel)) {
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
    fn offsets(&self, channel: usize, pitch: usize, size: usize, offsets: &mut [u32]) {
        let ([_, kw], sx, phases) = (self.geometry.kernel, self.geometry.stride[1], self.geometry.phases());
        for (c, offsets) in offsets.chunks_mut(self.geometry.taps()).enumerate() {
            for (ky, offsets) in offsets.chunks_mut(kw).enumerate() {
                for (kx, offset) in offsets.iter_mut().enumerate() {
                    let at = c * channel + (ky * phases + kx % sx) * pitch + kx / sx;
                    *offset = (at * size) as u32;
                }
            }
        }
    }

    /// Finishes and stores the sums of `outs` channels of a tile, the first of which is channel `first`.
    #[allow(clippy::too_many_arguments)]
    fn store<E: Element>(
        &self,
        area: &Area,
        sums: &mut [f32],
        first: usize,
        outs: usize,
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
    ) {
        let pixels = E::LANES.pixels;
        if let Output::Half(output) = output {
            let Some(epilogue) = self.epilogue(area, first, epilogue, output, second) else { return };
            return micro::finish::<E>((sums, outs * pixels, outs), epilogue);
        }
        let group = |group: usize, out: usize| sums.get((group * outs + out) * pixels..).unwrap_or_default();
        for out in 0..outs {
            self.full(area, first + out, epilogue, output, second, |at, pixel| {
                group(at, out).get(E::place(pixel)).copied().unwrap_or_default()
            });
        }
    }

    /// A pair whose results are logits.
    fn logits<E: Element>(
        &self,
        area: &Area,
        middle: &[f32],
        (expand, rank): (&[u16], usize),
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
    ) {
        let pixels = E::LANES.pixels;
        for (channel, (row, bias)) in expand.chunks_exact(rank).zip(epilogue.bias).enumerate() {
            self.full(area, channel, epilogue, output, second, |group, pixel| {
                let middle = middle.get(group * rank * pixels..).unwrap_or_default();
                let values = middle.chunks_exact(pixels).filter_map(|values| values.get(E::place(pixel)));
                let products = row.iter().zip(values).map(|(weight, x)| <f32 as Element>::of(*weight) * x);
                products.fold(*bias, |sum, product| sum + product)
            });
        }
    }

    /// Logits of a channel: `value` gives the sum of each group's pixel.
    fn full(
        &self,
        area: &Area,
        channel: usize,
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
        value: impl Fn(usize, usize) -> f32,
    ) {
        let (width, plane) = (self.geometry.output.width as usize, self.geometry.output.pixels());
        let pixels = self.tile.pixels();
        for row in 0..area.rows {
            for column in 0..area.columns {
                let mut sum = [value(row * area.groups + column / pixels, column % pixels)];
                let at = channel * plane + (area.y + row) * width + area.x + column;
                finish::<Native, 4>(&mut sum, at, epilogue.activation, second, output);
            }
        }
    }
}

/// Splits `all` channels into parts of like size, each of at most `most`.
fn each(all: usize, most: usize) -> impl Iterator<Item = usize> {
    let parts = all.div_ceil(most).max(1);
    (0..parts).map(move |part| (all + part) / parts).filter(|part| *part > 0)
}
