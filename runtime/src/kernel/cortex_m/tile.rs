//! Tiles of output pixels and their scratch.
//!
//! A tile is some rows and columns of output pixels; each of its rows is cut into groups of four pixels, the last one
//! filled up. Sums lie group by group: for each group, four values of each output channel. The part of the input under
//! a tile is widened into a patch, channel by channel: rows as they follow in the image, each split by the stride's
//! phase, so that a kernel tap meets neighbouring pixels side by side. Under a 1×1 convolution of all pixels it lies group
//! by group instead: for each group, four pixels of each channel.
//!
//! The scratch of a layer depends on its shape and not on whether it is stored dense or as a pair (up to the rank at
//! which a pair stops paying), so that a low-rank model never needs a larger arena than its dense twin.

#[cfg(feature = "std")]
use super::depthwise;
use super::fives::Fives;
use super::lines::Lines;
use super::{OUTS, PIXELS, winograd};
use crate::kernel::Planes;
use crate::kernel::tiling::{Form, of_either_form};
use crate::model::{Shape, Window};

/// Scratch that tiles are fitted to, in f32; exceeded only where the smallest tile needs more.
const BUDGET: usize = 1024;

/// Groups in a tile, at most: beyond, nothing is gained.
const GROUPS: usize = 48;

/// Scratch that is made use of where there is room, in f32.
const MOST: usize = 8192;

/// Channels in a block of a tile that is fitted to [`BUDGET`], at most.
const BLOCK: usize = 8;

/// Columns below which a tile is not cut, where it fits.
const NARROW: usize = 16;

/// How a core multiplies and adds: which way takes the fewest instructions depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Products {
    /// At once: FPv5.
    Fused,
    /// One after another, as a Cortex-M4F does.
    Apart,
}

impl Products {
    /// Those of this core; of a Cortex-M4F where this is none.
    pub const HERE: Products = if cfg!(fpv5) { Products::Fused } else { Products::Apart };

    /// Instructions of forty.
    pub fn forty(self) -> u32 {
        match self {
            Products::Fused => 46,
            Products::Apart => 90,
        }
    }

    /// Instructions of one value of five pixels and four channels.
    pub fn twenty(self) -> u32 {
        match self {
            Products::Fused => 30,
            Products::Apart => 50,
        }
    }
}

/// Ranks that are expanded in one pass, at most.
pub(super) const RANKS: usize = 32;

/// A convolution's shape, as tiles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Geometry {
    pub input: Shape,
    pub output: Shape,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Rows above and columns left of the image.
    pub before: [usize; 2],
    /// Values from one plane to the next, of input and output.
    pub planes: [usize; 2],
}

impl Geometry {
    /// A 1×1 convolution without stride and padding becomes one over a single long row.
    pub fn new(mut input: Shape, mut output: Shape, window: &Window) -> Self {
        let [top, left, bottom, right] = window.padding;
        // A checked model has nothing that is empty; so the compiler knows it too.
        let planes = [input.pixels().max(1), output.pixels().max(1)];
        if window.kernel == [1, 1] && window.stride == [1, 1] && [top, left, bottom, right] == [0; 4] {
            input = Shape::new(input.channels, 1, input.pixels() as u32);
            output = Shape::new(output.channels, 1, output.pixels() as u32);
        }
        Self {
            input,
            output,
            kernel: window.kernel.map(|k| usize::from(k.max(1))),
            stride: window.stride.map(|s| usize::from(s.max(1))),
            before: [usize::from(top), usize::from(left)],
            planes,
        }
    }

    /// The same where planes lie otherwise.
    pub fn with_planes(mut self, planes: Planes) -> Self {
        let [input, output] = self.planes;
        self.planes = [planes.input.max(input), planes.output.max(output)];
        self
    }

    /// True where each output pixel is made of the input pixel in its place.
    pub fn is_pointwise(&self) -> bool {
        let row = (self.input.height, self.output.height, self.input.width) == (1, 1, self.output.width);
        row && self.kernel == [1, 1] && self.stride == [1, 1] && self.before == [0, 0]
    }

    /// Stride phases of a row that some tap meets.
    pub fn phases(&self) -> usize {
        self.kernel[1].min(self.stride[1])
    }

    /// Patch rows from one output row to the next.
    pub fn row_step(&self) -> usize {
        self.kernel[0].min(self.stride[0])
    }

    /// Patch rows under `rows` output rows.
    pub fn patch_rows(&self, rows: usize) -> usize {
        rows.saturating_sub(1).saturating_mul(self.row_step()).saturating_add(self.kernel[0])
    }

    /// Elements of one phase of a patch row under `columns` output pixels.
    pub fn pitch(&self, columns: usize) -> usize {
        columns.saturating_add((self.kernel[1] - 1) / self.stride[1].max(1))
    }

    /// Elements of one channel of the patch.
    pub fn channel(&self, rows: usize, columns: usize) -> usize {
        self.patch_rows(rows).saturating_mul(self.pitch(columns)).saturating_mul(self.phases())
    }

    /// Kernel taps of one channel.
    pub fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }
}

/// How one convolution is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Output rows and columns of a full tile.
    pub rows: usize,
    pub columns: usize,
    /// Input channels whose patch is in scratch at once.
    pub block: usize,
    /// Output channels whose sums are in scratch at once: the ranks of a pair.
    pub outs: usize,
    /// Ranks of a block of the expanding half.
    pub ranks: usize,
}

impl Tile {
    /// The cheapest tiling that `budget` f32 of scratch allow; the smallest one where none fits.
    pub fn fit(geometry: &Geometry, form: Form, budget: usize) -> Tile {
        let (height, width) = (geometry.output.height as usize, geometry.output.width as usize);
        let channels = if form == Form::Depthwise { 1 } else { geometry.input.channels as usize };
        let n = geometry.output.channels as usize;
        let (outs, ranks) = match form {
            Form::Dense => (n.min(OUTS), 0),
            Form::Pair { rank } => (rank, rank.min(RANKS)),
            Form::Depthwise => (1, 0),
        };
        let most = if budget > BUDGET { channels } else { channels.min(BLOCK) };
        let smallest = Tile { rows: 1, columns: width.min(PIXELS), block: 1, outs, ranks };
        let mut best = (u32::MAX, smallest);
        let mut columns = width;
        loop {
            for rows in 1..=height {
                if rows.saturating_mul(columns.div_ceil(PIXELS)) > GROUPS.max(width.min(PIXELS)) {
                    break;
                }
                // Tiles of like size instead of full ones and a rest.
                let mut tile =
                    Tile { rows: height.div_ceil(height.div_ceil(rows).max(1)), columns, ..smallest };
                if tile.rows != rows {
                    continue;
                }
                let fits = |tile: &Tile| tile.scratch(geometry, form) <= budget;
                if !fits(&tile) {
                    break;
                }
                let each = tile.block_scratch(geometry);
                let room = budget.saturating_sub(tile.sums().saturating_add(PIXELS));
                let mut block = (room / each.max(1)).min(most).max(1);
                while block > 1 && !fits(&Tile { block, ..tile }) {
                    block -= 1;
                }
                loop {
                    tile.block = channels.div_ceil(channels.div_ceil(block.max(1)).max(1)).max(1);
                    if form == Form::Dense {
                        let left = room.saturating_sub(tile.block.saturating_mul(each));
                        let more = left / (tile.groups() * PIXELS).max(1) / OUTS * OUTS;
                        tile.outs = (smallest.outs.saturating_add(more)).min(n);
                    }
                    let cost = tile.cost(geometry, form, Products::Apart);
                    if cost < best.0 {
                        best = (cost, tile);
                    }
                    // More channels in a dense layer's block leave less room for sums.
                    if form != Form::Dense || block <= 1 {
                        break;
                    }
                    block /= 2;
                }
            }
            // Narrow tiles widen more pixels around them.
            if columns <= PIXELS || (columns <= NARROW && best.0 < u32::MAX) {
                return best.1;
            }
            columns = (columns / 2).next_multiple_of(PIXELS);
        }
    }

    /// Groups of pixels in a full tile.
    fn groups(&self) -> usize {
        self.rows.saturating_mul(self.columns.div_ceil(PIXELS))
    }

    /// Estimate of the instructions that a layer takes: see docs/decisions/cortex-m-kernels.md. In u32, because every inference
    /// asks for it.
    pub fn cost(&self, geometry: &Geometry, form: Form, products: Products) -> u32 {
        let count = |x: usize| x as u32;
        let (n, outs, groups) = (geometry.output.channels, count(self.outs), count(self.groups()));
        let (channels, passes) = match form {
            Form::Dense => (geometry.input.channels, n.div_ceil(outs.max(1))),
            Form::Pair { .. } => (geometry.input.channels, 1),
            Form::Depthwise => (1, 1),
        };
        let expand = match form {
            Form::Pair { .. } => {
                let weights = n.saturating_mul(outs).saturating_mul(3 + 10 * groups);
                weights.saturating_add(n.div_ceil(4).saturating_mul(140 + 12 * groups))
            }
            _ => 0,
        };
        let finish = n.saturating_mul(60 + 14 * groups).saturating_add(expand);
        self.sums_cost(geometry, (channels, passes), products)
            .saturating_add(finish.saturating_mul(self.tiles(geometry)))
    }

    /// Estimate of the instructions of a pair's thin half.
    pub fn thin_cost(&self, geometry: &Geometry, products: Products) -> u32 {
        self.sums_cost(geometry, (geometry.input.channels, 1), products)
    }

    /// What takes fewer instructions for the thin half of a pair of this rank in `budget` f32 of scratch: tiles of 2×2 pixels, or,
    /// where these take still fewer, those of one row.
    pub fn squares(
        &self,
        geometry: &Geometry,
        rank: usize,
        budget: usize,
        products: Products,
    ) -> (Option<winograd::Strips>, Option<Lines>) {
        let fused = self.thin_cost(geometry, Products::Fused);
        let strips = winograd::Strips::fit(geometry, rank, budget, fused);
        let height = geometry.output.height as usize;
        let least = match strips {
            Some(strips) => strips.cost(height, products.forty()),
            None => self.thin_cost(geometry, products),
        };
        (strips, Lines::fit(geometry, rank, budget, (least, products)))
    }

    /// The same of sums over some channels, made in so many passes.
    #[inline(never)]
    fn sums_cost(&self, geometry: &Geometry, (channels, passes): (u32, u32), products: Products) -> u32 {
        let count = |x: usize| x as u32;
        let (outs, groups) = (count(self.outs), count(self.groups()));
        let blocks = channels.div_ceil(count(self.block).max(1));
        // One block stays filled.
        let fills = if blocks > 1 { passes } else { 1 };
        let line = count(self.channel(geometry)) * 9 / 4;
        let fill = channels.saturating_mul(line + 40 * count(geometry.patch_rows(self.rows)));
        let weights = outs.saturating_mul(channels).saturating_mul(count(geometry.taps()));
        let calls = blocks.saturating_mul(outs.div_ceil(OUTS as u32)).saturating_mul(140 + 12 * groups);
        let thin = weights.saturating_mul(3 + groups * products.forty() / 10).saturating_add(calls);
        let one = thin.saturating_mul(passes).saturating_add(fill.saturating_mul(fills));
        one.saturating_mul(self.tiles(geometry))
    }

    /// Tiles of a layer.
    fn tiles(&self, geometry: &Geometry) -> u32 {
        let (height, width) = (geometry.output.height, geometry.output.width);
        height.div_ceil((self.rows as u32).max(1)) * width.div_ceil((self.columns as u32).max(1))
    }

    /// Elements of the sums.
    pub fn sums(&self) -> usize {
        self.groups().saturating_mul(PIXELS).saturating_mul(self.outs)
    }

    /// Elements of one channel of a full tile's patch.
    fn channel(&self, geometry: &Geometry) -> usize {
        channel(geometry, self.rows, self.columns)
    }

    /// Elements of the patch, with the few that the last group may read beyond it. The expanded sums of a pair take
    /// its place.
    pub fn patch(&self, geometry: &Geometry, form: Form) -> usize {
        let patch = self.block.saturating_mul(self.channel(geometry)).saturating_add(PIXELS);
        match form {
            Form::Pair { .. } => patch.max(self.groups().saturating_mul(PIXELS * OUTS)),
            _ => patch,
        }
    }

    /// Taps whose weights are widened at once.
    pub fn panel_taps(&self, geometry: &Geometry) -> usize {
        self.block.saturating_mul(geometry.taps()).max(self.ranks)
    }

    /// What one more channel in a block takes at most.
    fn block_scratch(&self, geometry: &Geometry) -> usize {
        let weights = geometry.taps().saturating_mul(OUTS + 1);
        self.channel(geometry).saturating_add(weights)
    }

    /// Scratch of the whole tiling: sums, patch, widened weights and the offset of each tap.
    pub fn scratch(&self, geometry: &Geometry, form: Form) -> usize {
        let panel = self.panel_taps(geometry).saturating_mul(OUTS + 1);
        self.sums().saturating_add(self.patch(geometry, form)).saturating_add(panel)
    }
}

/// Elements of one channel of the patch under `rows` by `columns` output pixels.
pub(super) fn channel(geometry: &Geometry, rows: usize, columns: usize) -> usize {
    if geometry.is_pointwise() {
        return columns.next_multiple_of(PIXELS);
    }
    geometry.channel(rows, columns)
}

/// Least scratch of a convolution, and that beyond which it gains nothing, in f32.
pub(in crate::kernel) fn scratch(input: Shape, output: Shape, window: &Window, form: Form) -> [usize; 2] {
    let geometry = Geometry::new(input, output, window);
    let least = of_either_form((input, output), window, form, |form| {
        Tile::fit(&geometry, form, BUDGET).scratch(&geometry, form)
    });
    let tile = Tile::fit(&geometry, form, MOST);
    let strips = winograd::most_scratch(&geometry, form.rank(), tile.thin_cost(&geometry, Products::Fused));
    [least, least.max(tile.scratch(&geometry, form)).max(strips)]
}

/// Scratch of a strip of rows of a convolution that is fitted to `budget` f32, in f32.
pub(in crate::kernel) fn strip_scratch(
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
    budget: usize,
) -> usize {
    let geometry = Geometry::new(input, output, window);
    let tile = Tile::fit(&geometry, form, budget);
    // Every core has its own choice, and a plan serves them all.
    let of = |products| match tile.squares(&geometry, form.rank(), budget, products) {
        (_, Some(lines)) => lines.scratch(),
        (Some(strips), None) => strips.scratch(),
        _ => {
            let fives = Fives::fit(&geometry, form, budget, (tile.cost(&geometry, form, products), products));
            tile.scratch(&geometry, form).max(fives.map_or(0, Fives::scratch))
        }
    };
    of(Products::Fused).max(of(Products::Apart))
}

/// Estimate of the instructions of a convolution in `scratch` f32, without fused multiply-adds; with tiles of 2×2 pixels where they
/// serve and `squares` are allowed.
#[cfg(feature = "std")]
pub(in crate::kernel) fn cost(
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
    (scratch, squares): (usize, bool),
) -> u64 {
    let one = Shape { channels: 1, ..input };
    let (channels, input, output) = match form {
        Form::Depthwise => (output.channels.into(), one, Shape { channels: 1, ..output }),
        _ => (1, input, output),
    };
    let geometry = Geometry::new(input, output, window);
    let tile = Tile::fit(&geometry, form, scratch);
    if form == Form::Depthwise
        && let Some(cost) = depthwise::cost(&geometry, [tile.rows, tile.columns])
    {
        return channels * u64::from(cost.saturating_mul(tile.tiles(&geometry)));
    }
    let products = Products::Apart;
    let direct = tile.cost(&geometry, form, products);
    let mut cost = u64::from(direct);
    if let Some(fives) = Fives::fit(&geometry, form, scratch, (direct, products)) {
        return fives.cost(&geometry, products).into();
    }
    let height = geometry.output.height as usize;
    let squares = match tile.squares(&geometry, form.rank(), scratch, products) {
        _ if !squares => None,
        (_, Some(lines)) => Some(lines.cost(height, products)),
        (strips, None) => strips.map(|strips| strips.cost(height, products.forty())),
    };
    if let Some(squares) = squares {
        cost -= u64::from(tile.thin_cost(&geometry, products));
        cost += u64::from(squares);
    }
    cost.saturating_mul(channels)
}
