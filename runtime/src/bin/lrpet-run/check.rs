//! `lrpet-run check`: this machine's logits against those in the model file.

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};
use lrpet_runtime::check::{Comparison, TOLERANCE};
use lrpet_runtime::host::AlignedBytes;
use serde_json::json;

use super::{Common, named, open};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Largest difference of a logit that passes, times the largest logit of the sample (at least 1).
    #[arg(long, default_value_t = TOLERANCE)]
    tolerance: f32,
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<()> {
    let common = &arguments.common;
    let map = common.map()?;
    let model = open(&map, &common.model)?;
    let check = model.self_check().filter(|check| check.samples() > 0);
    let check = check.with_context(|| {
        format!("{}: has no self-check samples; export it again with some", common.model.display())
    })?;
    let mut arena = AlignedBytes::zeroed(common.plan(&model)?.arena_bytes);
    let mut session = common.session(&model, &mut arena)?;
    let mut logits = vec![0.0; session.classes()];
    let (mut largest, mut within, mut same) = (0.0f32, 0, 0);
    for i in 0..check.samples() {
        session
            .run_image(check.image(i), &mut logits, &mut ())
            .map_err(|error| named(&common.model, error))?;
        let comparison = Comparison::within(arguments.tolerance, &logits, check.logits(i));
        within += usize::from(comparison.max_abs_diff <= comparison.tolerance);
        largest = largest.max(comparison.max_abs_diff);
        same += usize::from(comparison.class == comparison.expected_class);
    }
    let samples = check.samples();
    let passed = within == samples && same == samples;
    if common.json {
        let isa = session.isa().name();
        writeln!(
            out,
            "{}",
            json!({
                "model": common.model, "isa": isa, "samples": samples, "same_class": same,
                "largest_difference": largest, "tolerance": arguments.tolerance, "passed": passed,
            })
        )?;
    } else {
        writeln!(
            out,
            "{samples} samples, {same} of the same class, largest difference of a logit {largest:.2e}"
        )?;
    }
    ensure!(same == samples, "{} of {samples} samples got another class", samples - same);
    if !passed {
        bail!(
            "the logits of {} of {samples} samples differ by more than {:.2e} times the largest; by up to {largest:.2e}",
            samples - within,
            arguments.tolerance
        );
    }
    Ok(())
}
