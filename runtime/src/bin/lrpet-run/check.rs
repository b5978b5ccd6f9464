//! `lrpet-run check`: this machine's logits against those in the model file.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use lrpet_runtime::check::Comparison;
use lrpet_runtime::host::AlignedBytes;
use serde_json::json;

use super::{Common, named};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Largest difference of a logit that passes, times the largest logit of the sample (at least 1) [default: what the
    /// model states, or 0.01].
    #[arg(long, value_parser = share)]
    tolerance: Option<f32>,
}

/// A finite number from 0 on.
fn share(text: &str) -> Result<f32> {
    let value: f32 = text.parse()?;
    ensure!(value.is_finite() && value >= 0.0, "a tolerance is a number from 0 on");
    Ok(value)
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let schedule = common.schedule(&map)?;
    let model = common.model(&map, schedule.as_deref())?;
    let check = model.self_check().filter(|check| check.samples() > 0);
    let check = check.with_context(|| {
        format!("{}: has no self-check samples; export it again with some", common.model.display())
    })?;
    let mut arena = AlignedBytes::zeroed(common.plan(&model)?.arena_bytes);
    let mut session = common.session(&model, &mut arena)?;
    let mut logits = vec![0.0; session.classes()];
    let mut comparisons = Vec::with_capacity(check.samples());
    for i in 0..check.samples() {
        session.run_sample(&check, i, &mut logits, &mut ()).map_err(|error| named(&common.model, error))?;
        comparisons.push(match arguments.tolerance {
            Some(share) => Comparison::within(share * check.largest(i), &logits, check.logits(i)),
            None => Comparison::by(&session, &logits, &check, i),
        });
    }
    let samples = comparisons.len();
    let count = |is: fn(&Comparison) -> bool| comparisons.iter().filter(|comparison| is(comparison)).count();
    let (passing, same) = (count(Comparison::passes), count(|found| found.class == found.expected_class));
    // The furthest off, of what it may be; where nothing is allowed, by anything at all.
    let share = |found: &Comparison| match found.max_abs_diff {
        0.0 => 0.0,
        off => off / found.tolerance,
    };
    let furthest = comparisons.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
    let (largest, tolerance) = furthest.map_or((0.0, 0.0), |found| (found.max_abs_diff, found.tolerance));
    if common.json {
        let isa = session.isa().name();
        writeln!(
            out,
            "{}",
            json!({
                "model": common.model, "isa": isa, "samples": samples, "same_class": same,
                "largest_difference": largest, "tolerance": tolerance, "passed": passing == samples,
            })
        )?;
    } else {
        writeln!(
            out,
            "{samples} samples, {same} of the same class, largest difference of a logit {largest:.2e} ({tolerance:.2e} is allowed)"
        )?;
    }
    ensure!(
        passing == samples,
        "the logits of {} of {samples} samples differ by more than roundings explain: by {largest:.2e}, and {tolerance:.2e} is \
         allowed",
        samples - passing
    );
    Ok(())
}
