//! How a convolution's pixels fall into registers, and the scratch that this takes. Depends on shapes alone.

use crate::kernel::Isa;
use crate::kernel::patch::{CACHE_LINE, Patch};
use crate::kernel::tile::{Form, of_either_form};
use crate::model::{Shape, Window};

/// Registers whose sums are expanded together: the lines of a strip.
pub(super) const STRIP: usize = 8;

/// f32 that a patch is fitted to: about the first-level cache.
const BUDGET: usize = 20480;

/// f32 beyond which a layer is left to the portable code: half of a second-level cache.
const LIMIT: usize = 1 << 17;

/// f32 of scratch that this may take.
pub(super) const ALIGNMENT: usize = CACHE_LINE / size_of::<f32>() - 1;

/// What the registers of an instruction set hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    /// f32 in one.
    pub(super) lanes: usize,
    /// Most rows of a matrix whose sums are held together.
    pub(super) rows: usize,
}

/// Registers of `isa`, where it has kernels of this kind.
pub(super) fn registers(isa: Isa) -> Option<Registers> {
    match isa {
        Isa::Avx2 => Some(Registers { lanes: 8, rows: 6 }),
        Isa::Avx512 => Some(Registers { lanes: 16, rows: 6 }),
        _ => None,
    }
}

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

/// Scratch of a convolution in f32, no smaller for the dense layer than for the pairs that are cheaper than it; 0 where
/// the portable code runs it.
pub(in crate::kernel) fn scratch(
    isa: Isa,
    input: Shape,
    output: Shape,
    window: &Window,
    form: Form,
) -> usize {
    let patch = registers(isa).and_then(|Registers { lanes, .. }| fit(lanes, (input, output), window, form));
    let Some(patch) = patch else { return 0 };
    of_either_form((input, output), window, form, |form| {
        patch.len().saturating_add(patch.middle(form.rank())).saturating_add(ALIGNMENT)
    })
}
