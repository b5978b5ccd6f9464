//! Convolutions: dense, fused thin pair, depthwise.
//!
//! One routine, [`Conv::accumulate`], adds blocks of input channels to the sums of a tile; a dense layer stores those,
//! a pair expands them (they are its r intermediate values, in f32, never rounded) and stores the expansion.

use super::super::portable::{Epilogue, finish};
use super::super::tiling::Cut;
use super::super::{Buffers, LayerWeights, Operations, Output, Planes, Second, Set, WeightMatrix};
use super::depthwise;
use super::fill::Filler;
use super::fives::Fives;
use super::forms::take;
use super::lines::{Lines, Outputs};
use super::micro::{self, Expand, Offsets, Residual, Rows, Start, Sweep, Taps};
use super::tile::{self, Geometry, Products, Tile};
use super::winograd::Strips;
use super::{Native, OUTS, PIXELS, together};
use crate::kernel::tiling::Form;
use crate::model::{Shape, Window};

pub(super) fn run<U: Operations>(
    (input, output, window): (Shape, Shape, &Window),
    weights: &LayerWeights<'_>,
    epilogue: Epilogue<'_>,
    buffers: &mut Buffers<'_>,
    cut: Option<&mut Cut>,
) {
    let form = weights.form();
    let geometry = Geometry::new(input, output, window).with_planes(buffers.planes);
    let half = matches!(buffers.output, Output::Half(_));
    let (tile, way) = match cut {
        Some(cut) => match known(&geometry, (form, output.height), cut) {
            Some(known) => known,
            None if U::USED.has(Set::TILING) => {
                kept(&geometry, (weights, output.height), (buffers.scratch.len(), Products::HERE), cut)
            }
            None => return,
        },
        None if !U::USED.has(Set::TILING) => return,
        // What is not said to be otherwise lies whole; in other strips every product is made.
        None => {
            let squares = half && buffers.planes == Planes::default();
            found(&geometry, weights, buffers.scratch.len(), (squares, Products::HERE))
        }
    };
    let taps = match (geometry.kernel[1], geometry.stride[1]) {
        _ if geometry.is_pointwise() => Taps::Ranks,
        (3, 1) => Taps::Row,
        (3, 2) => Taps::Stride2,
        _ => Taps::Single,
    };
    let conv = Conv { geometry, tile, form, taps };
    let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
    // What happened before is not this layer's.
    micro::overflow();
    match (way, weights) {
        (Way::Squares(strips), LayerWeights::Pair { thin, expand, .. })
            if U::USED.has(Set::PAIR) && take::<U>(Set::SQUARES) =>
        {
            conv.pair_in_strips::<U>(&strips, (*thin, *expand), epilogue, buffers);
            return saturated(buffers);
        }
        (Way::Lines(lines), LayerWeights::Pair { thin, expand, .. })
            if U::USED.has(Set::PAIR) && U::USED.has(Set::LINES) =>
        {
            conv.pair_in_lines::<U>(&lines, (*thin, *expand), epilogue, buffers);
            return saturated(buffers);
        }
        // Weights of 8 bits go by tiles, which have the same bits.
        (Way::Fives, LayerWeights::Dense(WeightMatrix::Half(weights)))
            if U::USED.has(Set::DENSE) && take::<U>(Set::FIVES) =>
        {
            conv.dense_in_fives::<U>(weights, epilogue, buffers);
            return saturated(buffers);
        }
        _ => {}
    }
    for y in (0..height).step_by(tile.rows.max(1)) {
        for x in (0..width).step_by(tile.columns.max(1)) {
            let (rows, columns) = (tile.rows.min(height - y), tile.columns.min(width - x));
            let area = Area { y, x, rows, columns, groups: columns.div_ceil(PIXELS) };
            match weights {
                LayerWeights::Dense(weights) if U::USED.has(Set::DENSE) => {
                    conv.dense::<U>(&area, *weights, epilogue, buffers)
                }
                LayerWeights::Pair { thin, expand, rank } if U::USED.has(Set::PAIR) => {
                    conv.pair::<U>(&area, (*thin, *expand, *rank), epilogue, buffers);
                }
                LayerWeights::Depthwise(weights) if U::USED.has(Set::DEPTHWISE) => {
                    conv.depthwise::<U>(&area, weights, epilogue, buffers);
                }
                _ => {}
            }
        }
    }
    saturated(buffers);
}

/// What goes over the pixels of a layer.
#[derive(Clone, Copy, Debug)]
enum Way {
    Tiles,
    /// The thin half of a pair by tiles of 2×2 pixels, or of one row.
    Squares(Strips),
    Lines(Lines),
    Fives,
}

/// The tiles of a layer, and what serves it in their place: tiles of 2×2 pixels, where `squares` may be used, or pixels five by
/// five.
fn found(
    geometry: &Geometry,
    weights: &LayerWeights<'_>,
    scratch: usize,
    (squares, products): (bool, Products),
) -> (Tile, Way) {
    let form = weights.form();
    let tile = Tile::fit(geometry, form, scratch);
    let (strips, lines) = match weights {
        LayerWeights::Pair { rank, .. } if squares => tile.squares(geometry, *rank, scratch, products),
        _ => (None, None),
    };
    let way = match (strips, lines) {
        (_, Some(lines)) => Way::Lines(lines),
        (Some(strips), None) => Way::Squares(strips),
        (None, None)
            if Fives::fit(geometry, form, scratch, (tile.cost(geometry, form, products), products))
                .is_some() =>
        {
            Way::Fives
        }
        (None, None) => Way::Tiles,
    };
    (tile, way)
}

/// What was found for `rows` rows of a layer, or for more: they serve.
fn known(geometry: &Geometry, (form, rows): (Form, u32), cut: &Cut) -> Option<(Tile, Way)> {
    let [kind, rows, columns, block, outs] = cut.found(rows)?;
    let ranks = form.rank().min(tile::RANKS);
    let one = Tile { rows, columns, block, outs, ranks };
    Some(match kind {
        0 => (one, Way::Tiles),
        3 => (one, Way::Fives),
        4 => (one, Way::Lines(Lines::new(geometry, form.rank(), Outputs::Two, [rows, block]))),
        5 => (one, Way::Lines(Lines::new(geometry, form.rank(), Outputs::Four, [rows, block]))),
        // The expanding half is the same in any tile.
        kind => (one, Way::Squares(Strips::new(geometry, form.rank(), [rows, block], kind > 1))),
    })
}

/// How a whole layer is cut up, in so many f32 of scratch; `None` where that cannot be kept.
#[cfg(feature = "std")]
pub(in crate::kernel) fn cut(
    (input, output, window): (Shape, Shape, &Window),
    weights: &LayerWeights<'_>,
    scratch: usize,
    half: bool,
) -> Option<Cut> {
    let geometry = Geometry::new(input, output, window);
    let mut cut = if half { Cut::SQUARES } else { Cut::NEW };
    // On whichever core it will run.
    kept(&geometry, (weights, output.height), (scratch, Products::Fused), &mut cut);
    cut.found(output.height).map(|_| cut)
}

/// Whether a whole layer goes by tiles of one row here, in so many f32 of scratch.
#[cfg(feature = "std")]
pub(in crate::kernel) fn by_rows(
    (input, output, window): (Shape, Shape, &Window),
    weights: &LayerWeights<'_>,
    scratch: usize,
    half: bool,
) -> bool {
    let (_, way) = found(&Geometry::new(input, output, window), weights, scratch, (half, Products::HERE));
    matches!(way, Way::Lines(_))
}

/// As [`found`] for `rows` rows of a layer, and keeps it.
#[inline(never)]
fn kept(
    geometry: &Geometry,
    (weights, rows): (&LayerWeights<'_>, u32),
    (scratch, products): (usize, Products),
    cut: &mut Cut,
) -> (Tile, Way) {
    let (tile, way) = found(geometry, weights, scratch, (cut.squares(), products));
    let numbers = match way {
        Way::Tiles => [0, tile.rows, tile.columns, tile.block, tile.outs],
        Way::Fives => [3, tile.rows, tile.columns, tile.block, tile.outs],
        Way::Lines(lines) => {
            let (outputs, [rows, block]) = lines.size();
            [if outputs == Outputs::Two { 4 } else { 5 }, rows, 0, block, 0]
        }
        Way::Squares(strips) => {
            let [rows, block] = strips.size();
            [1 + usize::from(strips.kept()), rows, 0, block, 0]
        }
    };
    cut.keep(rows, numbers);
    (tile, way)
}

/// Puts right what exceeded the range of f16 on the way to the output.
fn saturated(buffers: &mut Buffers<'_>) {
    if micro::overflow()
        && let Output::Half(values) = &mut buffers.output
    {
        saturate(values);
    }
}

/// Infinities become the largest f16 of their sign.
fn saturate(values: &mut [u16]) {
    for value in values.iter_mut().filter(|value| **value & 0x7fff == 0x7c00) {
        *value -= 1;
    }
}

pub(super) struct Conv {
    pub geometry: Geometry,
    tile: Tile,
    form: Form,
    taps: Taps,
}

/// The output pixels of one tile.
pub(in super::super) struct Area {
    pub y: usize,
    pub x: usize,
    pub rows: usize,
    pub columns: usize,
    /// Groups of a row, the last one perhaps not full.
    pub groups: usize,
}

/// Scratch of one tile.
struct Scratch<'a> {
    sums: &'a mut [f32],
    patch: &'a mut [f32],
    /// Widened weights of a block, tap by tap.
    panel: &'a mut [f32],
    /// Where in the patch each tap of a block begins, in bytes.
    offsets: &'a mut [u32],
}

impl Conv {
    /// Splits the caller's scratch; `None` where it is too small, which a plan rules out.
    fn scratch<'s>(&self, scratch: &'s mut [f32]) -> Option<Scratch<'s>> {
        let taps = self.tile.panel_taps(&self.geometry);
        let (sums, rest) = scratch.split_at_mut_checked(self.tile.sums())?;
        let (patch, rest) = rest.split_at_mut_checked(self.tile.patch(&self.geometry, self.form))?;
        let (panel, rest) = rest.split_at_mut_checked(taps * OUTS)?;
        let offsets = bytemuck::try_cast_slice_mut(rest.get_mut(..taps)?).ok()?;
        // The last group may read this far beyond the patch: whatever it finds is not stored.
        let beyond = patch.len() - PIXELS;
        patch.get_mut(beyond..)?.fill(0.0);
        Some(Scratch { sums, patch, panel, offsets })
    }

    fn dense<U: Operations>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let n = self.geometry.output.channels as usize;
        let columns = weights.len() / n.max(1);
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        for first in (0..n).step_by(self.tile.outs.max(1)) {
            let outs = self.tile.outs.min(n - first);
            let Some(weights) = weights.rows(first..first + outs, columns) else { return };
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            let filled = first > 0 && self.tile.block >= self.geometry.input.channels as usize;
            self.accumulate::<U>(area, weights, (outs, bias), buffers.input, filled, &mut scratch);
            let (output, second) = (&mut buffers.output, buffers.second);
            self.store::<U>(area, scratch.sums, first..first + outs, epilogue, output, second);
        }
    }

    fn pair<U: Operations>(
        &self,
        area: &Area,
        (thin, expand, rank): (WeightMatrix<'_>, WeightMatrix<'_>, usize),
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        self.accumulate::<U>(area, thin, (rank, &[]), buffers.input, false, &mut scratch);
        let Scratch { sums, patch, panel, .. } = scratch;
        // The expanded sums take the place of the patch, which has done its part.
        let to = (&mut buffers.output, buffers.second);
        self.expand::<U>(area, (expand, rank), epilogue, sums, (patch, panel), to);
    }

    /// What the expanding half makes of the rank-r values `middle` of a tile, with scratch for sums and weights.
    pub(super) fn expand<U: Operations>(
        &self,
        area: &Area,
        (expand, rank): (WeightMatrix<'_>, usize),
        epilogue: Epilogue<'_>,
        middle: &[f32],
        (sums, panel): (&mut [f32], &mut [f32]),
        (output, second): (&mut Output<'_>, Second<'_>),
    ) {
        let n = self.geometry.output.channels as usize;
        let groups = area.rows * area.groups;
        let block = self.tile.ranks.max(1);
        let fours = if rank > block || !take::<U>(Set::EXPAND_FOURS) {
            0
        } else {
            self.expand_fours::<U>(
                area,
                (expand, rank),
                epilogue,
                middle,
                (&mut *sums, &mut *panel),
                (&mut *output, second),
            )
        };
        if fours == n || !take::<U>(Set::EXPAND_OTHERS) {
            return;
        }
        for (first, outs) in together(n).skip_while(|(first, _)| *first < fours) {
            let Some(bias) = epilogue.bias.get(first..first + outs) else { return };
            let sums_group = outs * PIXELS;
            let sweep = Sweep {
                rows: 1,
                groups,
                x_group: rank * PIXELS,
                x_row: 0,
                sums_group,
                phase: 0,
                weights_row: 0,
            };
            for from in (0..rank).step_by(block) {
                let ranks = block.min(rank - from);
                let Some(rows) = expand.after(first, rank, from) else { return };
                let Some(panel) = panel.get_mut(..ranks * outs) else { return };
                if !micro::widen_panel::<U>(rows, rank, outs, ranks, panel) {
                    return;
                }
                let start = if from == 0 { Start::Bias(bias) } else { Start::Resume };
                let Some(middle) = middle.get(from * PIXELS..) else { return };
                micro::accumulate::<U>(
                    Taps::Ranks,
                    outs,
                    (middle, Offsets::ranks(ranks)),
                    panel,
                    sums,
                    sweep,
                    start,
                );
            }
            self.store::<U>(area, sums, first..first + outs, epilogue, output, second);
        }
    }

    /// As [`Conv::expand`] of the channels that are fours, where one loop serves them all; says how many it did.
    fn expand_fours<U: Operations>(
        &self,
        area: &Area,
        (expand, rank): (WeightMatrix<'_>, usize),
        epilogue: Epilogue<'_>,
        middle: &[f32],
        (sums, panel): (&mut [f32], &mut [f32]),
        (output, second): (&mut Output<'_>, Second<'_>),
    ) -> usize {
        let Output::Half(values) = output else { return 0 };
        let (width, plane) = (self.geometry.output.width as usize, self.geometry.planes[1]);
        let first = area.y * width + area.x;
        let residual = match second {
            Second::None => Residual::None,
            Second::InPlace => Residual::InPlace,
            Second::Other(values) => Residual::Other(values.get(first..).unwrap_or_default()),
        };
        let channels = self.geometry.output.channels as usize;
        let rows = Rows { channels, rows: area.rows, columns: area.columns, sums_group: 0, width, plane };
        let of = Expand {
            middle,
            rank,
            weights: expand,
            bias: epilogue.bias,
            rows,
            activation: epilogue.activation,
        };
        match values.get_mut(first..) {
            Some(values) if epilogue.activation.is_plain() => {
                micro::expand::<U>(&of, (panel, sums), values, residual)
            }
            _ => 0,
        }
    }

    fn depthwise<U: Operations>(
        &self,
        area: &Area,
        weights: &[u16],
        epilogue: Epilogue<'_>,
        buffers: &mut Buffers<'_>,
    ) {
        let Some(mut scratch) = self.scratch(buffers.scratch) else { return };
        if depthwise::run(
            &self.geometry,
            area,
            weights,
            epilogue,
            (buffers.input, &mut buffers.output, buffers.second),
            scratch.patch,
        ) {
            return;
        }
        let planes = buffers.input.chunks(self.geometry.planes[0].max(1));
        let weights = weights.chunks_exact(self.geometry.taps().max(1));
        for (channel, (plane, weights)) in planes.zip(weights).enumerate() {
            let Some(bias) = epilogue.bias.get(channel..channel + 1) else { return };
            self.accumulate::<U>(area, WeightMatrix::Half(weights), (1, bias), plane, false, &mut scratch);
            let channels = channel..channel + 1;
            self.store::<U>(area, scratch.sums, channels, epilogue, &mut buffers.output, buffers.second);
        }
    }

    /// Sums of `outs` channels of a tile, from `bias` (or zero) on: one row of `weights` for each of them. The patch holds
    /// all channels already where it is `filled`.
    fn accumulate<U: Operations>(
        &self,
        area: &Area,
        weights: WeightMatrix<'_>,
        (outs, bias): (usize, &[f32]),
        input: &[u16],
        filled: bool,
        scratch: &mut Scratch<'_>,
    ) {
        let geometry = &self.geometry;
        // A checked model and its tiles have nothing that is empty; so the compiler knows it too.
        let (plane, taps) = (geometry.planes[0].max(1), geometry.taps());
        let (channel, pitch) =
            (tile::channel(geometry, area.rows, area.columns).max(1), geometry.pitch(area.columns));
        let columns = weights.len() / outs.max(1);
        let block = self.tile.block.max(1);
        let sums_group = outs * PIXELS;
        let pointwise = self.taps == Taps::Ranks;
        let mut sweep = Sweep {
            rows: area.rows,
            groups: area.groups,
            x_group: PIXELS,
            x_row: geometry.row_step() * geometry.phases() * pitch,
            sums_group,
            phase: pitch,
            weights_row: 0,
        };
        let Scratch { sums, patch, panel, offsets } = scratch;
        // The first block has the most channels; another has the first of its offsets.
        let each = if pointwise { 0 } else { taps / self.taps.each() };
        let Some(offsets) = offsets.get_mut(..block.min(input.len().div_ceil(plane)) * each) else { return };
        self.offsets(channel, pitch, offsets);
        let offsets = Offsets::new(offsets);
        let filler = Filler::new(geometry, area);
        for (i, planes) in input.chunks((block * plane).max(1)).enumerate() {
            let channels = planes.len().div_ceil(plane);
            let offsets = if pointwise { Offsets::ranks(channels) } else { offsets.first(channels * each) };
            if pointwise {
                sweep.x_group = channels * PIXELS;
            }
            if filled {
                // Nothing has changed.
            } else if pointwise && take::<U>(Set::PIXELS) {
                let from = planes.get(area.x..).unwrap_or_default();
                micro::widen_groups(from, plane, channels, area.columns, patch);
            } else {
                filler.fill_channels::<U>((planes, plane), channel, patch);
            }
            let from = i * block * taps;
            for (first, some) in together(outs) {
                let Some(rows) = weights.after(first, columns, from) else { return };
                let Some(panel) = panel.get_mut(..channels * taps * some) else { return };
                let Some(sums) = sums.get_mut(first * PIXELS..) else { return };
                if !micro::widen_panel::<U>(rows, columns, some, channels * taps, panel) {
                    return;
                }
                let start =
                    if i > 0 { Start::Resume } else { Start::Bias(bias.get(first..).unwrap_or_default()) };
                micro::accumulate::<U>(self.taps, some, (patch, offsets), panel, sums, sweep, start);
            }
        }
    }

    /// Where the pixels begin that each tap (or row of three) of a block meets, in bytes.
    fn offsets(&self, channel: usize, pitch: usize, offsets: &mut [u32]) {
        let ([kh, kw], sx) = (self.geometry.kernel, self.geometry.stride[1].max(1));
        let phases = self.geometry.phases();
        let columns = if self.taps == Taps::Single { kw.max(1) } else { 1 };
        for (c, offsets) in offsets.chunks_mut((kh * columns).max(1)).enumerate() {
            for (ky, offsets) in offsets.chunks_mut(columns).enumerate() {
                for (kx, offset) in offsets.iter_mut().enumerate() {
                    let at = c * channel + (ky * phases + kx % sx) * pitch + kx / sx;
                    *offset = (at * size_of::<f32>()) as u32;
                }
            }
        }
    }

    /// Finishes and stores the sums of some output channels of a tile.
    pub(super) fn store<U: Operations>(
        &self,
        area: &Area,
        sums: &mut [f32],
        channels: core::ops::Range<usize>,
        epilogue: Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
    ) {
        let (width, pixels) = (self.geometry.output.width as usize, self.geometry.planes[1]);
        let sums_group = channels.len() * PIXELS;
        if epilogue.activation.is_plain()
            && let Output::Half(values) = output
        {
            let first = channels.start * pixels + area.y * width + area.x;
            let residual = match second {
                Second::None => Residual::None,
                Second::InPlace => Residual::InPlace,
                Second::Other(values) => Residual::Other(values.get(first..).unwrap_or_default()),
            };
            let shape = Rows {
                channels: channels.len(),
                rows: area.rows,
                columns: area.columns,
                sums_group,
                width,
                plane: pixels,
            };
            let Some(values) = values.get_mut(first..) else { return };
            return micro::finish::<U>(sums, values, residual, shape, epilogue.activation);
        }
        if !take::<U>(Set::FINISHED) {
            return;
        }
        // Logits, and activations that the loops above do not have.
        for (i, channel) in channels.enumerate() {
            let first = channel * pixels + area.y * width + area.x;
            let Some(sums) = sums.get_mut(i * PIXELS..) else { return };
            for row in 0..area.rows {
                for group in 0..area.groups {
                    let at = (row * area.groups + group) * sums_group;
                    let count = PIXELS.min(area.columns - group * PIXELS);
                    let Some(sums) = sums.get_mut(at..at + count) else { return };
                    let start = first + row * width + group * PIXELS;
                    finish::<Native, 4>(sums, start, epilogue.activation, second, output);
                }
            }
        }
    }
}
