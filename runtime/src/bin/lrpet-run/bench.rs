//! `lrpet-run bench`: time of one inference and of each layer.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use crc::{CRC_32_ISO_HDLC, Crc};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::{self, Isa};
use lrpet_runtime::model::cost;
use lrpet_runtime::session::Hook;
use serde_json::json;

use super::{Common, named, open};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Inferences that are timed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Inferences before them.
    #[arg(long, default_value_t = 10)]
    warm_up: u32,
}

/// Times one interval. Its functions stay functions: `cargo xtask bench arm` counts what is executed between them.
struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    fn new() -> Self {
        Self { started: Instant::now() }
    }

    #[inline(never)]
    fn start(&mut self) {
        self.started = Instant::now();
    }

    #[inline(never)]
    fn stop(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Times each layer.
struct Clock {
    watch: Stopwatch,
    layers: Vec<Vec<Duration>>,
}

impl Hook for Clock {
    fn before(&mut self, _layer: usize) {
        self.watch.start();
    }

    fn after(&mut self, layer: usize) {
        let time = self.watch.stop();
        self.layers[layer].push(time);
    }
}

/// The middle of `times`, which has at least one.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2
}

/// Multiply-adds a second of a loop that does nothing else on this core, in 1e9: the best of some short runs. Zero
/// where there is no such loop.
fn peak(isa: Isa) -> f64 {
    /// About 50 µs, less than the time that a scheduler gives.
    const ROUNDS: u32 = 16_000;
    let rate = |_| {
        let started = Instant::now();
        let count = kernel::multiply_adds(isa, ROUNDS).unwrap_or(0);
        count as f64 / started.elapsed().as_secs_f64() / 1e9
    };
    (0..100).map(rate).fold(0.0, f64::max)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let model = open(&map, &common.model)?;
    let plan = common.plan(&model)?;
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = common.session(&model, &mut arena)?;
    let input = model.program().header().input;
    // The first sample of the self-check, so that the outputs' checksum compares with other machines; else grey.
    let image = model.self_check().map(|check| check.image(0).to_vec()).filter(|image| !image.is_empty());
    let image = image.unwrap_or_else(|| vec![128; input.len()]);
    let mut logits = vec![0.0; session.classes()];
    let failed = |error| named(&common.model, error);
    for _ in 0..arguments.warm_up {
        session.run_image(&image, &mut logits, &mut ()).map_err(failed)?;
    }
    let mut totals = Vec::new();
    let mut watch = Stopwatch::new();
    for _ in 0..arguments.iterations {
        watch.start();
        let done = session.run_image(&image, &mut logits, &mut ());
        totals.push(watch.stop());
        done.map_err(failed)?;
    }
    // Layers in a pass of their own: reading the clock twice a layer must not weigh on the total.
    let mut clock = Clock { watch, layers: vec![Vec::new(); model.program().len()] };
    for _ in 0..arguments.iterations {
        session.run_image(&image, &mut logits, &mut clock).map_err(failed)?;
    }
    let peak = peak(session.isa());
    let macs: u64 = model.program().layers().map(|layer| cost::stored(&layer.op, layer.input).macs).sum();
    let middle = milliseconds(median(&mut totals));
    let (least, most) = (milliseconds(totals[0]), milliseconds(totals[totals.len() - 1]));
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let output: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    let layers: Vec<_> = model
        .program()
        .layers()
        .zip(&mut clock.layers)
        .map(|(layer, times)| {
            let cost = cost::stored(&layer.op, layer.input);
            let middle = median(times).as_secs_f64() * 1e6;
            (layer.index, layer.op.name().to_string(), cost.macs, middle, times[0].as_secs_f64() * 1e6)
        })
        .collect();
    let isa = session.isa().name();
    if common.json {
        let layers = layers.iter().map(|(index, name, macs, middle, least)| {
            json!({ "index": index, "name": name, "macs": macs, "median_us": middle, "min_us": least })
        });
        writeln!(
            out,
            "{}",
            json!({
                "board": "host", "model": common.model, "model_crc32": format!("{:08x}", crc.checksum(model.bytes())),
                "dtype": "f16", "isa": isa, "architecture": std::env::consts::ARCH,
                "version": env!("CARGO_PKG_VERSION"), "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
                "threads": session.threads(), "iterations": arguments.iterations, "warm_up": arguments.warm_up,
                "median_ms": middle, "min_ms": least, "max_ms": most,
                "macs": macs, "peak_gmacs": peak, "arena_bytes": plan.arena_bytes,
                "packed_bytes": session.packed_bytes(), "team_bytes": session.team_bytes(), "model_bytes": model.bytes().len(),
                "output_crc32": format!("{:08x}", crc.checksum(&output)), "layers": layers.collect::<Vec<_>>(),
            })
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "{isa}, f16 storage, {}, {} iterations after {}",
        if session.threads() == 1 { "1 thread".into() } else { format!("{} threads", session.threads()) },
        arguments.iterations,
        arguments.warm_up
    )?;
    writeln!(
        out,
        "median {middle:.3} ms, min {least:.3} ms, max {most:.3} ms, arena {} bytes, packed weights {} bytes{}",
        plan.arena_bytes,
        session.packed_bytes(),
        match session.team_bytes() {
            0 => String::new(),
            bytes => format!(", further threads {bytes} bytes"),
        }
    )?;
    let rate = macs as f64 / least / 1e6;
    write!(out, "{macs} multiply-adds, {rate:.1} GMAC/s at the minimum")?;
    if peak > 0.0 && session.threads() == 1 {
        write!(out, ", {:.0} % of {peak:.1} that this core reaches", 100.0 * rate / peak)?;
    }
    writeln!(out)?;
    writeln!(out, "  {:28} {:>12} {:>12}", "layer", "median", "min")?;
    for (_, name, macs, middle, least) in &layers {
        let rate = *macs as f64 / least / 1e3;
        writeln!(out, "  {name:28} {middle:>9.1} µs {least:>9.1} µs {rate:>7.2} GMAC/s")?;
    }
    Ok(())
}
