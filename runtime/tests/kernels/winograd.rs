//! Convolutions by Winograd's tiles against the f64 reference, within the bound that the runtime states.

use lrpet_runtime::kernel::{self, Arithmetic, Isa, Method, PackedConv, WinogradTile};
use lrpet_runtime::model::{Activation, Shape, Window};
use proptest::prelude::*;

use super::support::reference::Bounded;
use super::{CASES, Case, ISAS, NO_HALF_SUMS, Place, Task, activation, convolution, place};

/// Runs a convolution by Winograd's tiles wherever there are some, and compares.
pub fn by_tiles(task: &Task<'_>, expected: impl Fn(WinogradTile) -> Vec<Bounded>) {
    for tile in [WinogradTile::Two, WinogradTile::Four] {
        let expected = expected(tile);
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let Some(conv) = PackedConv::new(isa, Arithmetic::F32, Method::Tiles(tile), task.layer) else {
                continue;
            };
            if conv.tile() == Some(tile) {
                let (output, _) = task.run(isa, Some(&conv), expected.len());
                let what = format!("{}, {}", isa.name(), tile.name());
                task.check(output.checked(), &[], &expected, NO_HALF_SUMS, &what);
            }
        }
    }
}

/// The same with f16 arithmetic, whose tiles are those of 2×2 outputs.
pub fn by_half_tiles(task: &Task<'_>, expected: impl Fn(WinogradTile) -> Vec<Bounded>) {
    let (isa, tile) = (Isa::NeonF16, WinogradTile::Two);
    let conv = PackedConv::new(isa, Arithmetic::F16, Method::Tiles(tile), task.layer);
    if let Some(conv) = conv.filter(|conv| conv.tile() == Some(tile)) {
        let expected = expected(tile);
        let (output, _) = task.run(isa, Some(&conv), expected.len());
        task.check(output.checked(), &[], &expected, NO_HALF_SUMS, "f16 arithmetic by tiles");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// Windows of 3×3 with stride 1, every padding, maps smaller than a tile and with ragged edges; sums that saturate.
    #[test]
    fn tiles_of_winograd(
        (c, n) in prop_oneof![(1u32..20, 1u32..20), (1u32..90, 1u32..70)],
        (h, w) in (prop_oneof![1u32..7, 1u32..20], prop_oneof![1u32..7, 1u32..20]),
        padding in [0u16..3, 0..3, 0..3, 0..3],
        form in 0usize..2, rank in prop_oneof![Just(1u32), 1u32..20, 1u32..70],
        activation in activation(),
        place in prop_oneof![Just(Place::NoSecond), Just(Place::Overwritten), Just(Place::Other)],
        scale in prop_oneof![Just(1.0f32), Just(0.0), Just(1e-4), Just(6e4)],
        seed: u64,
    ) {
        let window = Window { kernel: [3, 3], stride: [1, 1], padding };
        // The reference takes its time.
        let c = c.min(20_000 / (h * w * n.min(rank * (form as u32 * 100 + 1)))).max(1);
        convolution(Case { shape: (c, h, w, n), window, form, rank, activation, place, scale, seed });
    }
}

/// Sums of more channels than are summed one after another; every number of tiles and registers that the kernels know.
#[test]
fn tiles_of_many_channels() {
    let cases = [(300, 3, 130), (129, 9, 40), (140, 17, 70), (48, 26, 16), (16, 11, 200)];
    // Fewer where an emulator executes them.
    let step = if cfg!(target_arch = "aarch64") { 4 } else { 1 };
    for (i, (c, size, n)) in cases.into_iter().enumerate().step_by(step) {
        let (window, activation) = (Window::square(3, 1, 1), Activation::Relu);
        for (form, place) in [(0, Place::Overwritten), (1, Place::Other)] {
            let (shape, seed) = ((c, size, size, n), i as u64);
            convolution(Case { shape, window, form, rank: n / 3, activation, place, scale: 1.0, seed });
        }
    }
}

/// What the errors of a thin half by tiles on weights in place, which the expanding half carries on, add to the bounds of a pair
/// in `direct`: of tiles of 2×2 pixels, and of tiles of one row.
pub fn in_place(
    direct: &[Bounded],
    x: &[f64],
    (input, window): (Shape, &Window),
    thin: &[f64],
    expand: &[f64],
) -> [Vec<Bounded>; 2] {
    let squares = kernel::winograd_error_in_place(x, input, window, thin);
    let rows = kernel::winograd_row_error(x, input, window, thin);
    let rank = thin.len() / (input.channels as usize * window.taps() as usize);
    [squares, rows].map(|errors| {
        let pixels = errors.len() / rank;
        let mut bounds = direct.to_vec();
        for (row, bounds) in expand.chunks_exact(rank).zip(bounds.chunks_exact_mut(pixels)) {
            for (pixel, bound) in bounds.iter_mut().enumerate() {
                let errors = errors.iter().skip(pixel).step_by(pixels);
                bound.error +=
                    1.001 * row.iter().zip(errors).map(|(weight, error)| weight.abs() * error).sum::<f64>();
            }
        }
        bounds
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 10, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pairs that strips of tiles may serve: maps of any size, more channels and ranks.
    #[test]
    fn thin_halves_by_tiles(
        (c, h, w, n) in (1u32..70, 1u32..20, 1u32..36, 1u32..9), rank in 1u32..20,
        (top, left, bottom, right) in (0u16..3, 0u16..3, 0u16..3, 0u16..3),
        activation in activation(), place in place(), scale in prop_oneof![Just(1.0f32), Just(0.0), Just(3e3)], seed: u64,
    ) {
        let c = c.min(5000 / (h * w)).max(1);
        let window = Window { kernel: [3, 3], stride: [1, 1], padding: [top, left, bottom, right] };
        convolution(Case { shape: (c, h, w, n), window, form: 1, rank, activation, place, scale, seed });
    }
}
