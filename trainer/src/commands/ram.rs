//! `--ram`: the schedule for the memory that there is.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lrpet_network::export::checked;
use lrpet_network::export::schedule::with_schedule;
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::{Choice, Plan, curve};
use lrpet_study::search::least_arena;

use super::model_file::ModelFile;
use super::outputs;

/// How much memory there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ram {
    Least,
    Fastest,
    Bytes(u64),
}

impl FromStr for Ram {
    type Err = String;

    fn from_str(text: &str) -> Result<Ram, String> {
        let lower = text.trim().to_ascii_lowercase();
        let failed = || format!("{text}: it is a size such as 32KB or 1.5MB, or `least`, or `fastest`");
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &lower[digits.len()..] {
            "least" if digits.is_empty() => return Ok(Ram::Least),
            "fastest" if digits.is_empty() => return Ok(Ram::Fastest),
            "" | "b" => 1.0,
            "kb" | "k" | "kib" => 1024.0,
            "mb" | "m" | "mib" => 1024.0 * 1024.0,
            _ => return Err(failed()),
        };
        let number: f64 = digits.trim().parse().map_err(|_| failed())?;
        if number.is_finite() && number > 0.0 {
            Ok(Ram::Bytes((number * factor) as u64))
        } else {
            Err(failed())
        }
    }
}

/// The index of the cheapest schedule that fits.
pub fn choose(choices: &[Choice], ram: Ram) -> Result<usize> {
    let arena = |index: usize| choices[index].plan.arena_bytes;
    let Some(least) = (0..choices.len()).min_by_key(|&index| arena(index)) else { bail!("no schedule") };
    let most = match ram {
        Ram::Fastest => return Ok(0),
        Ram::Least => return Ok(least),
        Ram::Bytes(most) => most,
    };
    ensure!(arena(least) as u64 <= most, none_fits(arena(least) as u64, most));
    let fits = (0..choices.len()).filter(|&index| arena(index) as u64 <= most);
    Ok(fits.min_by_key(|&index| choices[index].cost).unwrap_or(least))
}

/// The schedules of `model` on `isa`, from layer by layer to the least memory; the error names the file.
pub fn choices(model: &Model<'_>, isa: Isa, file: &Path) -> Result<Vec<Choice>> {
    curve(model.program(), isa).map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// The schedule that suits a memory.
pub struct Chosen {
    isa: Isa,
    pub choice: Choice,
    /// Its estimated instructions, as a share of layer by layer.
    pub cost: f64,
}

impl Chosen {
    /// The schedule of `model` on `isa` that suits `ram`; errors name the file.
    pub fn of(model: &Model<'_>, isa: Isa, ram: Ram, file: &Path) -> Result<Chosen> {
        let choices = choices(model, isa, file)?;
        let choice = &choices[choose(&choices, ram).with_context(|| file.display().to_string())?];
        Ok(Chosen { isa, choice: choice.clone(), cost: share(&choices, choice) })
    }

    /// The model file `file` with this schedule.
    pub fn in_file(&self, file: &[u8]) -> Result<Vec<u8>> {
        in_file(file, self.isa, &self.choice)
    }
}

/// The model file `file` with the schedule `choice`, held against what was planned for it on `isa`.
pub fn in_file(file: &[u8], isa: Isa, choice: &Choice) -> Result<Vec<u8>> {
    let file = with_schedule(file, &choice.bytes())?;
    let bytes = AlignedBytes::copy_of(&file);
    let model = checked(bytes.as_slice(), "the model with its schedule")?;
    let plan =
        Plan::new(model.program(), isa).map_err(|error| anyhow!("the model with its schedule: {error}"))?;
    ensure!(
        plan == choice.plan,
        "the model with its schedule needs {} bytes and not {}",
        plan.arena_bytes,
        choice.plan.arena_bytes
    );
    Ok(file)
}

/// A copy of a model whose schedule suits `ram`, in a folder that goes with the first of the two.
pub fn copy_for(model: &Path, isa: Isa, ram: Ram) -> Result<(tempfile::TempDir, PathBuf)> {
    let file = ModelFile::open(model)?;
    let chosen = Chosen::of(&file.model()?, isa, ram, model)?;
    eprintln!(
        "{} runs by the schedule {}: an arena of {} bytes, by estimate {:.2} of the instructions of layer by layer",
        model.display(),
        words(&numbers(&chosen.choice)),
        chosen.choice.plan.arena_bytes,
        chosen.cost
    );
    let folder = tempfile::tempdir().context("cannot make a folder for the model with its schedule")?;
    let path = folder.path().join(model.file_name().context("the model has no name")?);
    outputs::write(&path, chosen.in_file(file.bytes())?)?;
    Ok((folder, path))
}

/// Refuses a network that needs more than `ram` bytes of arena on a Cortex-M in every schedule, at `ranks`; where those are to follow
/// from weights (none), both dense and at rank 1.
pub fn check_network(network: &Network, ranks: Option<RankPlan>, ram: u64) -> Result<()> {
    let arena = |plan: &RankPlan| least_arena(network, plan, Isa::CortexM);
    let mut least = arena(ranks.as_ref().unwrap_or(&RankPlan::dense(network)))?;
    if least > ram && ranks.is_none() {
        least = least.min(arena(&RankPlan::lowest(network))?);
    }
    ensure!(least <= ram, "{}: {}", network.name, none_fits(least, ram));
    Ok(())
}

fn none_fits(least: u64, given: u64) -> String {
    format!(
        "no schedule of this model needs less than {least} bytes of arena; {given} were given. Lower ranks do not change that: a smaller \
         image or narrower layers do"
    )
}

/// As the documents have a schedule: operations, rows of a strip, pixels and scratch of each stretch.
pub fn numbers(choice: &Choice) -> Vec<[u16; 4]> {
    choice.stretches.iter().map(|one| [one.ops, one.strip, one.pixels, one.scratch]).collect()
}

/// Estimated instructions of a choice, as a share of layer by layer.
pub fn share(choices: &[Choice], choice: &Choice) -> f64 {
    choice.cost as f64 / choices.first().map_or(1, |layers| layers.cost).max(1) as f64
}

/// A schedule as words: 9/1 is nine operations as a stream of one row at a time, 3 are three layers.
pub fn words(stretches: &[[u16; 4]]) -> String {
    let one = |[ops, strip, pixels, scratch]: &[u16; 4]| {
        let mut text = ops.to_string();
        if *strip > 0 {
            text.push_str(&format!("/{strip}"));
        }
        if *pixels > 0 {
            text.push_str(&format!(" {pixels}px"));
        }
        if *scratch > 0 {
            text.push_str(&format!(" {}KB", f64::from(*scratch) / 1024.0));
        }
        text
    };
    match stretches {
        [] => "layer by layer".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_words() {
        assert_eq!(words(&[]), "layer by layer");
        assert_eq!(words(&[[9, 1, 0, 0], [2, 0, 0, 0], [1, 1, 16, 1536]]), "9/1, 2, 1/1 16px 1.5KB");
    }

    #[test]
    fn sizes_are_read() {
        for (text, ram) in [
            ("32KB", Ram::Bytes(32 << 10)),
            ("1.5 MB", Ram::Bytes(3 << 19)),
            ("70448", Ram::Bytes(70_448)),
            ("least", Ram::Least),
            ("Fastest", Ram::Fastest),
        ] {
            assert_eq!(text.parse(), Ok(ram), "{text}");
        }
        for wrong in ["", "KB", "0", "-1KB", "nan", "32XB", "1least", "least1"] {
            assert!(wrong.parse::<Ram>().unwrap_err().contains("32KB"), "{wrong}");
        }
    }
}
