//! Times the variants of single convolutions on this machine, in turns: `cargo xtask bench kernels` shows what this prints,
//! one JSON document a shape.
//!
//! `cargo run --release -p lrpet-runtime --features std --example kernels -- ROUNDS [PART OF A SHAPE'S NAME]`

mod cases;
mod layer;

use std::time::Instant;

use cases::{Case, Workload};
use layer::Chain;
use lrpet_runtime::kernel::{self, Arithmetic, Isa, Method, WinogradTile};
use serde_json::json;

/// Least seconds between two readings of the clock: more than it takes to read, less than a turn of the scheduler.
const TURN: f64 = 40e-6;
/// Rounds of the loop of multiply-adds, about as long.
const PEAK_ROUNDS: u32 = 12_000;

/// One way of computing a workload.
struct Variant {
    workload: Workload,
    /// A pair as two convolutions, its intermediate values in memory.
    separate: bool,
    isa: Isa,
    /// How packed weights are used; none where they are in place.
    packed: Option<Method>,
    chain: Chain,
    /// Executions between two readings of the clock.
    repeats: u32,
    /// Seconds of one execution, one entry a round.
    seconds: Vec<f64>,
}

impl Variant {
    /// Seconds of one execution.
    fn time(&mut self) -> f64 {
        let started = Instant::now();
        for _ in 0..self.repeats {
            self.chain.run();
        }
        started.elapsed().as_secs_f64() / f64::from(self.repeats)
    }

    /// Chooses the number of repeats, and warms up.
    fn calibrate(&mut self) {
        let least = (0..3).map(|_| self.time()).fold(f64::INFINITY, f64::min);
        self.repeats = (TURN / least.max(1e-9)).ceil().clamp(1.0, 10_000.0) as u32;
    }
}

/// Every variant of a shape that this machine runs.
fn variants(case: &Case) -> Vec<Variant> {
    let isas = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::detect()];
    let mut isas: Vec<Isa> = isas.into_iter().filter(|isa| isa.is_available()).collect();
    isas.dedup();
    let mut variants = Vec::new();
    for workload in case.workloads() {
        for isa in &isas {
            for separate in [false, true] {
                let tiles = [WinogradTile::Two, WinogradTile::Four].map(|tile| Some(Method::Tiles(tile)));
                let tiles = if separate { &[][..] } else { &tiles };
                for &packed in [None, Some(Method::Direct)].iter().chain(tiles) {
                    let Some(chain) = Chain::new(case, workload, *isa, separate, packed) else { continue };
                    let (isa, repeats, seconds) = (*isa, 1, Vec::new());
                    variants.push(Variant { workload, separate, isa, packed, chain, repeats, seconds });
                }
            }
        }
    }
    variants
}

/// True where packed weights give the bits that the same weights give in place, as the runtime promises where every product is
/// made.
fn agree(variants: &mut [Variant]) -> bool {
    variants.iter_mut().for_each(|variant| variant.chain.run());
    variants.iter().filter(|variant| variant.packed == Some(Method::Direct)).all(|packed| {
        let same = |other: &&Variant| {
            other.packed.is_none()
                && (other.workload, other.separate, other.isa)
                    == (packed.workload, packed.separate, packed.isa)
        };
        variants.iter().find(same).is_some_and(|in_place| in_place.chain.result() == packed.chain.result())
    })
}

/// The middle value of `values`, which has at least one.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// Multiply-adds a second of a loop without memory, in 1e9; 0 where the instruction set has none.
fn peak(isa: Isa) -> f64 {
    let started = Instant::now();
    let count = kernel::multiply_adds(isa, Arithmetic::F32, PEAK_ROUNDS).unwrap_or(0);
    count as f64 / started.elapsed().as_secs_f64() / 1e9
}

fn measure(case: &Case, rounds: usize) -> Option<serde_json::Value> {
    let mut variants = variants(case);
    if !agree(&mut variants) {
        return None;
    }
    variants.iter_mut().for_each(Variant::calibrate);
    let best = Isa::detect();
    let mut peaks = Vec::new();
    for round in 0..rounds {
        peaks.push(peak(best));
        // Who begins changes, so that no variant always follows the same other one.
        let count = variants.len();
        for turn in 0..count {
            let variant = &mut variants[(turn + round) % count];
            let seconds = variant.time();
            variant.seconds.push(seconds);
        }
    }
    let rows = variants.iter().map(|variant| {
        json!({
            "workload": variant.workload.to_string(),
            "rank": variant.workload.rank(),
            "macs": case.macs(variant.workload),
            "form": if variant.separate { "two layers" } else { "one operation" },
            "isa": variant.isa.name(),
            "weights": match variant.packed {
                None => "in place",
                Some(Method::Tiles(tile)) => tile.name(),
                Some(_) => "packed",
            },
            "min_us": variant.seconds.iter().copied().fold(f64::INFINITY, f64::min) * 1e6,
            "median_us": median(&variant.seconds) * 1e6,
        })
    });
    Some(json!({
        "shape": case.name(),
        "rounds": rounds,
        "isa": best.name(),
        "peak_gmacs": peaks.iter().copied().fold(0.0, f64::max),
        "variants": rows.collect::<Vec<_>>(),
    }))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rounds, text) = match &arguments[..] {
        [rounds] => (rounds.parse(), ""),
        [rounds, text] => (rounds.parse(), text.as_str()),
        _ => {
            eprintln!("usage: kernels ROUNDS [PART OF A SHAPE'S NAME]");
            std::process::exit(2);
        }
    };
    let Ok(rounds @ 1..) = rounds else {
        eprintln!("error: the number of rounds is at least 1");
        std::process::exit(2);
    };
    for case in cases::all().iter().filter(|case| case.name().contains(text)) {
        let Some(document) = measure(case, rounds) else {
            eprintln!("error: {}: packed weights and those in place give different results", case.name());
            std::process::exit(1);
        };
        println!("{document}");
    }
}
