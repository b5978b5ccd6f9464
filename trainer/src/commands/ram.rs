//! `--ram`: the schedule for the memory that there is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lrpet_network::export::schedule::Chosen;
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::{Choice, NoneFits, Ram};
use lrpet_study::search::least_arena;

use super::model_file::ModelFile;
use super::outputs;

/// A copy of a model whose schedule suits `ram`, in a folder that goes with the first of the two.
pub fn copy_for(model: &Path, isa: Isa, ram: Ram) -> Result<(tempfile::TempDir, PathBuf)> {
    let file = ModelFile::open(model)?;
    let chosen = Chosen::of(&file.model()?, isa, ram, &model.display().to_string())?;
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
    ensure!(least <= ram, "{}: {}", network.name, NoneFits { least, given: ram });
    Ok(())
}

/// As the documents have a schedule: operations, rows of a strip, pixels and scratch of each stretch.
pub fn numbers(choice: &Choice) -> Vec<[u16; 4]> {
    choice.stretches.iter().map(|one| [one.ops, one.strip, one.pixels, one.scratch]).collect()
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
}
