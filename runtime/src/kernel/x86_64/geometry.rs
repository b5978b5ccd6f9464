//! How a convolution's pixels fall into registers, and the scratch that this takes. Depends on shapes alone.

use super::channels::{self, Tile};
use super::winograd::{self, Cut};
use crate::kernel::tiling::{CACHE_LINE, Form, Patch, of_either_form};
use crate::kernel::{Isa, Method, WinogradTile};
use crate::model::{Shape, Window};

/// Registers whose sums are expanded together: the lines of a strip.
pub(super) const STRIP: usize = 8;

/// f32 that a patch is fitted to: about the first-level cache.
const BUDGET: usize = 20480;

/// f32 that the patch of a depthwise convolution is fitted to: it is read as often as it is written.
const DEPTHWISE_BUDGET: usize = 6144;

/// Rows that are best computed together there.
const DEPTHWISE_ROWS: usize = 4;

/// f32 beyond which a layer is left to the portable code: half of a second-level cache.
const LIMIT: usize = 1 << 17;

/// f32 of scratch that this may take.
pub(super) const ALIGNMENT: usize = CACHE_LINE / size_of::<f32>() - 1;

/// Most rows of a matrix whose sums are held together.
pub(super) const MOST_ROWS: usize = 6;

/// The registers of a tile: `across` columns of `lines` registers, `step` elements of the patch apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) across: usize,
    pub(super) lines: usize,
    /// Elements from one line to the next in the patch.
    pub(super) step: usize,
    /// Elements from one line to the next in the output.
    pub(super) out_step: usize,
    /// Pixels in the lines of the last column, and in the last line of it.
    pub(super) count: usize,
    pub(super) last: usize,
}

/// The patch of a convolution, in f32; `None` where it would be too large.
pub(super) fn fit(
    lanes: usize,
    (input, output): (Shape, Shape),
    window: &Window,
    form: Form,
) -> Option<Patch> {
    let mut one = Patch::one_row(lanes, (input, output), window, form)?;
    one.beyond = lanes;
    if form == Form::Depthwise {
        return Some(depthwise(one, (input, output))).filter(|patch| patch.len() <= LIMIT);
    }
    let (height, width, kw) = (output.height as usize, one.width, usize::from(window.kernel[1]));
    // One idle lane in nine costs less than further planes.
    one.joined = kw == 1 || width.next_multiple_of(lanes) * 8 > width * 9;
    if one.joined {
        (one.planes, one.pitch) = (kw, width);
    }
    // Rows that fill whole registers, or whole strips.
    let unit =
        if one.joined { (1..lanes).find(|rows| (rows * width).is_multiple_of(lanes)) } else { Some(STRIP) };
    let unit = unit.unwrap_or(lanes).min(height);
    let fitted =
        (1..=height.div_ceil(unit)).map(|tiles| height.div_ceil(tiles).next_multiple_of(unit).min(height));
    let smaller = (1..unit).rev();
    let rows = fitted.chain(smaller).find(|rows| one.with_rows(*rows).len() <= BUDGET).unwrap_or(1);
    Some(one.with_rows(rows)).filter(|patch| patch.len() <= LIMIT)
}

/// The patch of a depthwise convolution: some rows of as many channels as fit.
fn depthwise(one: Patch, (input, output): (Shape, Shape)) -> Patch {
    let (height, channels) = (output.height as usize, input.channels as usize);
    let like = |tiles: usize| height.div_ceil(tiles).next_multiple_of(DEPTHWISE_ROWS).min(height);
    let fits = |rows: &usize| one.with_rows(*rows).channel() <= DEPTHWISE_BUDGET;
    let rows = (1..=height.div_ceil(DEPTHWISE_ROWS)).map(like).find(fits);
    let tile = one.with_rows(rows.unwrap_or(DEPTHWISE_ROWS.min(height)));
    let together = (DEPTHWISE_BUDGET / tile.channel().max(1)).clamp(1, channels.max(1));
    // Blocks of like size.
    Patch { channels: channels.div_ceil(channels.div_ceil(together).max(1)).max(1), ..tile }
}

/// What the kernels for x86-64 make of a patch.
impl Patch {
    /// Rows of a tile where `threads` share the `height` rows of the output: no more than fit the patch, in whole registers
    /// where that leaves nobody idle.
    pub(super) fn shared_rows(&self, threads: usize, height: usize) -> usize {
        let share = height.div_ceil(threads.max(1)).clamp(1, self.rows.max(1));
        let whole = (share..=self.rows).find(|rows| (rows * self.width).is_multiple_of(self.lanes));
        whole.filter(|rows| self.joined && height.div_ceil(*rows) >= threads).unwrap_or(share)
    }

    /// The registers of a tile of `rows` rows.
    pub(super) fn lines(&self, rows: usize) -> Lines {
        let (lanes, pixels) = (self.lanes, rows * self.width);
        if self.joined {
            let lines = pixels.div_ceil(lanes);
            Lines {
                across: 1,
                lines,
                step: lanes,
                out_step: lanes,
                count: lanes,
                last: pixels - (lines - 1) * lanes,
            }
        } else {
            let across = self.width.div_ceil(lanes);
            let count = self.width - (across - 1) * lanes;
            Lines { across, lines: rows, step: self.pitch, out_step: self.width, count, last: count }
        }
    }

    /// f32 for the intermediate values of a pair, for a strip.
    pub(super) fn middle(&self, rank: usize) -> usize {
        rank.saturating_mul(self.lines(self.rows).lines.min(STRIP) * self.lanes)
    }
}

/// What lies in the lanes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Pixels.
    Pixels(Patch),
    /// Output channels.
    Channels(Tile),
    /// Channels, by Winograd's tiles.
    Winograd(Cut),
}

/// Kinds of tiles.
const TILES: [WinogradTile; 2] = [WinogradTile::Two, WinogradTile::Four];

/// The ways in which a convolution can be computed.
struct Ways {
    patch: Option<Patch>,
    tile: Option<Tile>,
    /// By Winograd's tiles, as in [`TILES`].
    cuts: [Option<Cut>; 2],
}

/// f32 in the registers of `isa` for a convolution; `None` where it has no kernels here.
fn lanes(isa: Isa, output: Shape, form: Form) -> Option<usize> {
    match isa {
        Isa::Avx2 => Some(8),
        // Half a register that is full costs no more than a whole one that is not.
        Isa::Avx512 if form == Form::Depthwise && output.width <= 8 => Some(8),
        Isa::Avx512 => Some(16),
        _ => None,
    }
}

/// The ways in which `isa` can compute a convolution of this shape.
///
/// Channels and tiles are considered where the dense layer is faster with them, so that the scratch does not depend on a rank.
fn ways(isa: Isa, shapes: (Shape, Shape), window: &Window, form: Form) -> Ways {
    let Some(lanes) = lanes(isa, shapes.1, form) else {
        return Ways { patch: None, tile: None, cuts: [None; 2] };
    };
    let patch = fit(lanes, shapes, window, form);
    if form == Form::Depthwise {
        return Ways { patch, tile: None, cuts: [None; 2] };
    }
    let pixels = patch.map(|patch| cost_of_pixels(&patch, shapes.1, Form::Dense));
    let tile = channels::fit(lanes, shapes, window)
        .filter(|tile| pixels.is_none_or(|pixels| tile.cost(shapes, window, Form::Dense) < pixels));
    let channels = tile.map(|tile| tile.cost(shapes, window, Form::Dense));
    let direct = pixels.into_iter().chain(channels).min();
    let cuts = TILES.map(|tile| {
        let cut = winograd::fit(lanes, shapes, window, tile)?;
        direct.is_none_or(|direct| cut.cost(Form::Dense) < direct).then_some(cut)
    });
    Ways { patch, tile, cuts }
}

/// How `isa` computes a convolution; `None` where the portable code does.
pub(super) fn choose(
    isa: Isa,
    method: Method,
    shapes: (Shape, Shape),
    window: &Window,
    form: Form,
) -> Option<Choice> {
    if let Method::Tiles(tile) = method {
        let cut = winograd::fit(lanes(isa, shapes.1, form)?, shapes, window, tile);
        if let Some(cut) = cut.filter(|_| form != Form::Depthwise) {
            return Some(Choice::Winograd(cut));
        }
    }
    let Ways { patch, tile, cuts } = ways(isa, shapes, window, form);
    let pixels = patch.map(|patch| (cost_of_pixels(&patch, shapes.1, form), Choice::Pixels(patch)));
    let channels = tile.map(|tile| (tile.cost(shapes, window, form), Choice::Channels(tile)));
    let cuts = cuts.into_iter().flatten().filter(|_| method == Method::Fastest);
    let cuts = cuts.map(|cut| (cut.cost(form), Choice::Winograd(cut)));
    let choices = [pixels, channels].into_iter().flatten().chain(cuts);
    choices.min_by_key(|(cost, _)| *cost).map(|(_, choice)| choice)
}

/// Estimate of the time with pixels in the lanes, in multiply-adds of a register.
fn cost_of_pixels(patch: &Patch, output: Shape, form: Form) -> usize {
    let (height, rows) = (output.height as usize, patch.rows.max(1));
    let columns = patch.channels.saturating_mul(patch.window.taps() as usize);
    let n = output.channels as usize;
    let weights = match form {
        Form::Pair { rank } => rank.saturating_mul(columns.saturating_add(n)),
        _ => n.saturating_mul(columns),
    };
    // As measured: what loads add to the multiply-adds, more with 16 registers than with 32, and what a strip begins with.
    let percent = if patch.lanes == 8 { 125 } else { 111 };
    let tile = |rows: usize| {
        let lines = patch.lines(rows);
        let strips = lines.across * lines.lines.div_ceil(STRIP);
        let registers = lines.across * lines.lines;
        let products = weights.saturating_mul(registers * percent + strips * 8) / 100;
        let fill = patch.len() / patch.lanes * 2;
        products.saturating_add(fill).saturating_add(registers.saturating_mul(n))
    };
    let (whole, rest) = (height / rows, height % rows);
    let rest = if rest > 0 { tile(rest) } else { 0 };
    tile(rows).saturating_mul(whole).saturating_add(rest)
}

/// Scratch of a convolution in f32, no smaller for the dense layer than for the pairs that are cheaper than it; 0 where
/// the portable code runs it.
pub(in crate::kernel) fn scratch(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
) -> usize {
    let Ways { patch, tile, cuts } = ways(isa, (input, output), window, form);
    of_either_form((input, output), window, form, |form| {
        let pixels = patch.map_or(0, |patch| {
            patch.len().saturating_add(patch.middle(form.rank())).saturating_add(ALIGNMENT)
        });
        let channels = tile.map_or(0, |tile| tile.scratch(output, window, form.rank()));
        let cuts = cuts.iter().flatten().map(|cut| cut.scratch(form.rank())).max();
        pixels.max(channels).max(cuts.unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of the lanes of all registers that hold a pixel or a channel, in percent.
    fn busy(choice: Choice, output: Shape) -> usize {
        match choice {
            Choice::Winograd(_) => 100,
            Choice::Channels(tile) => {
                let n = output.channels as usize;
                100 * n / n.next_multiple_of(tile.lanes)
            }
            Choice::Pixels(patch) => {
                let (height, rows) = (output.height as usize, patch.rows);
                let registers = |rows: usize| patch.lines(rows).across * patch.lines(rows).lines;
                let rest = if height.is_multiple_of(rows) { 0 } else { registers(height % rows) };
                100 * output.pixels() / ((height / rows * registers(rows) + rest) * patch.lanes)
            }
        }
    }

    /// The layers of networks on 224×224 keep their lanes busy, and none is left to the portable code.
    #[test]
    fn few_lanes_are_idle_on_small_maps() {
        let three = |c, n, size, stride| (Shape::new(c, size, size), n, Window::square(3, stride, 1));
        let one = |c, n, size, stride| (Shape::new(c, size, size), n, Window::square(1, stride, 0));
        let shapes = [
            three(128, 128, 28, 1),
            three(256, 256, 14, 1),
            three(256, 512, 14, 2),
            three(512, 512, 7, 1),
            one(256, 512, 14, 2),
            one(960, 160, 7, 1),
            one(960, 320, 7, 1),
            one(320, 1280, 7, 1),
            one(2048, 512, 7, 1),
        ];
        for (input, n, window) in shapes {
            let (height, width) = window.output(input.height, input.width).unwrap();
            let output = Shape::new(n, height, width);
            for isa in [Isa::Avx2, Isa::Avx512] {
                let choice = choose(isa, Method::Direct, (input, output), &window, Form::Dense).unwrap();
                let busy = busy(choice, output);
                assert!(busy >= 80, "{}: {input} to {output}: {busy} % in {choice:?}", isa.name());
            }
        }
    }
}
