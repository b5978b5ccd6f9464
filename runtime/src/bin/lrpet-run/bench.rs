//! `lrpet-run bench`: time of one inference and of each layer.

use std::io::Write;
use std::num::NonZeroU32;

use anyhow::Result;
use lrpet_report::load::Busy;
use lrpet_report::{Host, Run, host};
use lrpet_runtime::bench::{self, Options};
use lrpet_runtime::host::AlignedBytes;

use super::gpio::Line;
use super::pin::pin_to;
use super::{Common, named};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Inferences that are timed.
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Inferences before them.
    #[arg(long, default_value_t = 10)]
    warm_up: u32,
    /// Stay on this core, whose governor and clock are then reported (Linux).
    #[arg(long, value_name = "N")]
    core: Option<u32>,
    /// Set this line while an inference is timed, as /dev/gpiochip0:17, for a logic analyser or a power meter. Needs Linux and a
    /// build with the feature `gpio`, which `cargo xtask pi` makes; no test here has driven a real pin.
    #[arg(long, value_name = "CHIP:LINE")]
    gpio: Option<String>,
}

/// What changes while a bench runs.
struct Conditions {
    frequency_khz: Option<u64>,
    temperature_c: Option<f64>,
}

impl Conditions {
    fn now(core: u32) -> Conditions {
        Conditions { frequency_khz: host::frequency_khz(core), temperature_c: host::temperature_c() }
    }
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let schedule = common.schedule(&map)?;
    let model = common.model(&map, schedule.as_deref())?;
    let mut line = arguments.gpio.as_deref().map(Line::open).transpose()?;
    // Before the session starts its threads.
    if let Some(core) = arguments.core {
        pin_to(core, common.threads)?;
    }
    let mut arena = AlignedBytes::zeroed(common.plan(&model)?.arena_bytes);
    let mut session = common.session(&model, &mut arena)?;
    let options = Options {
        warm_up: arguments.warm_up,
        iterations: NonZeroU32::new(arguments.iterations).unwrap_or(NonZeroU32::MIN),
    };
    let mut mark = |high: bool| line.as_mut().map_or(Ok(()), |line| line.set(high));
    // Where no core is named, the first: on a Raspberry Pi all have the same clock.
    let core = arguments.core.unwrap_or(0);
    let before = Conditions::now(core);
    let busy = Busy::here();
    let file = common.model.display().to_string();
    let mut run: Run = bench::bench(&model, &mut session, &file, options, &mut mark)
        .map_err(|error| named(&common.model, error))?;
    let after = Conditions::now(core);
    let others = busy.and_then(|busy| busy.others_until_now());
    run.host = run.host.map(|found| Host {
        pinned_to: arguments.core,
        governor: host::governor(core),
        frequency_khz: before.frequency_khz.zip(after.frequency_khz).map(|(before, after)| [before, after]),
        temperature_c: before.temperature_c.zip(after.temperature_c).map(|(before, after)| [before, after]),
        gpio: arguments.gpio.clone(),
        others,
        ..found
    });
    if let Some(warning) = run.disturbed() {
        eprintln!("warning: {}: {warning}", run.model.file);
    }
    let text = if common.json { run.to_json() + "\n" } else { run.text() };
    Ok(out.write_all(text.as_bytes())?)
}
