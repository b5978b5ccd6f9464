//! Convolutions by Winograd's tiles against the f64 reference, within the bound that the runtime states.

use lrpet_runtime::kernel::{Arithmetic, Isa, Method, PackedConv, WinogradTile};
use lrpet_runtime::model::{Activation, Window};
use proptest::prelude::*;

use super::support::reference::Bounded;
use super::{CASES, Case, ISAS, NO_HALF_SUMS, Place, Task, activation, convolution};

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
