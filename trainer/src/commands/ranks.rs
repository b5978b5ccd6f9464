//! The choice of ranks on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use anyhow::{Context, Result};
use lrpet_network::Checkpoint;
use lrpet_network::export::{self, Card, folded};
use lrpet_network::lrpet::budget::{self, Resource};
use lrpet_network::lrpet::{Budget, Eights, RankList, RankPlan, RankRule, Rule, Scope};
use lrpet_network::network::Network;
use lrpet_network::quantise;
use lrpet_runtime::plan::Ram;

use super::numbers::{below_one, share};

/// One of four ways to say which layers become pairs, and of what rank. A layer whose pair would not have fewer
/// multiply-adds stays dense in all of them.
#[derive(clap::Args)]
pub struct Ranks {
    /// Pruning ratio g of every convolution: rank floor(m − m·g) of m singular values; 0 is dense
    #[arg(long, value_name = "G", group = "rule", value_parser = below_one)]
    prune: Option<f64>,
    /// Rank of each layer: `layer1.0.conv1=6,…` (others stay dense) or a JSON or TOML file
    #[arg(long, value_name = "LIST", group = "rule")]
    ranks: Option<String>,
    /// Share of each layer's energy to keep, 0 to 1: the smallest rank that does
    #[arg(long, value_name = "SHARE", group = "rule", value_parser = share)]
    energy: Option<f64>,
    /// Ranks that keep most energy within a budget: macs=0.45x (of the dense network) or macs=18M, params=0.4x or
    /// params=100K, flash=64KB (the whole model file; a training counts weights of f16) or flash=0.5x (of the dense network's file). Beside any ranks also ram=32KB: the arena on a Cortex-M, in which the model is to
    /// run in rows instead of layers where need be; ranks hardly change it
    #[arg(long, value_name = "BUDGET")]
    budget: Vec<Limit>,
    /// Factor linear layers too, where ranks are not listed
    #[arg(long, conflicts_with = "ranks")]
    factor_linear: bool,
}

/// Weights of 8 bits under a budget of flash.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Eight {
    /// In every layer that may have them.
    Always,
    /// Where they leave more energy than f16 at lower ranks.
    OrHalf,
}

/// What a budget of flash has to know of a model file.
#[derive(Clone, Copy, Debug)]
pub struct FileOf {
    /// The bits that it has for a layer's weights: f16 (none), 8 bits, or either.
    pub eights: Option<Eight>,
    /// Bytes besides those that network and card take.
    pub more: u64,
}

/// The ranks of a network.
pub struct Ranked {
    /// Rank of each layer.
    pub plan: RankPlan,
    /// The rule in words.
    pub rule: String,
    /// The layers with weights of 8 bits, where the rule chose them.
    pub eights: Option<BTreeSet<String>>,
    /// Bytes of network and card in the model file, where the rule counted them.
    pub bytes: Option<u64>,
}

/// What a `--budget` limits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// What ranks cost.
    Ranks(Budget),
    /// The arena, bytes, which a schedule is chosen for.
    Ram(u64),
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let ram = text.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("ram"));
        let Some((_, size)) = ram else {
            return text.parse().map(Limit::Ranks).map_err(|error| format!("{error}, or ram=32KB"));
        };
        // Bytes have a unit here, as those of flash.
        match size.parse() {
            Ok(Ram::Bytes(bytes)) if size.ends_with(|c: char| c.is_ascii_alphabetic()) => {
                Ok(Limit::Ram(bytes))
            }
            _ => Err(format!("budget `{text}`: write ram=32KB or ram=1.5MB")),
        }
    }
}

impl Ranks {
    /// Refuses two rules for the ranks, and two budgets for RAM.
    pub fn check(&self) -> Result<(), String> {
        let count =
            |ram: bool| self.budget.iter().filter(|limit| matches!(limit, Limit::Ram(_)) == ram).count();
        let given = [
            ("--prune", usize::from(self.prune.is_some())),
            ("--ranks", usize::from(self.ranks.is_some())),
            ("--energy", usize::from(self.energy.is_some())),
            ("--budget", count(false)),
        ];
        let named = given.iter().flat_map(|(name, times)| std::iter::repeat_n(*name, *times));
        match named.collect::<Vec<_>>()[..] {
            [] | [_] if count(true) < 2 => Ok(()),
            [] | [_] => Err("--budget ram=… is given twice".to_owned()),
            [first, second, ..] => {
                Err(format!("{first} and {second} both state the ranks: give one of them"))
            }
        }
    }

    /// Whether linear layers are to be factored.
    pub fn factors_linear(&self) -> bool {
        self.factor_linear
    }

    /// Whether a rule for the ranks is given.
    pub fn given(&self) -> bool {
        self.ranks.is_some() || self.energy.is_some() || self.prune.is_some() || self.budget().is_some()
    }

    /// The budget of the model file's size, where that is what the ranks have to fit.
    pub fn of_flash(&self) -> Option<Budget> {
        self.budget().filter(|budget| budget.resource == Resource::Flash)
    }

    /// Bytes of the arena that `--budget ram=…` allows.
    pub fn ram(&self) -> Option<u64> {
        self.budget.iter().find_map(|limit| match limit {
            Limit::Ram(bytes) => Some(*bytes),
            Limit::Ranks(_) => None,
        })
    }

    fn budget(&self) -> Option<Budget> {
        self.budget.iter().find_map(|limit| match limit {
            Limit::Ranks(budget) => Some(*budget),
            Limit::Ram(_) => None,
        })
    }

    fn scope(&self) -> Scope {
        if self.factor_linear { Scope::All } else { Scope::Convolutions }
    }

    /// The rule that the arguments state; none where they state none. `reserve` gives the bytes of the model file
    /// besides weights and biases.
    pub fn rule(&self, reserve: impl FnOnce() -> Result<u64>) -> Result<Option<RankRule>> {
        let rule = if let Some(list) = &self.ranks {
            Rule::Listed(RankList::from_argument(list)?)
        } else if let Some(share) = self.energy {
            Rule::Energy(share)
        } else if let Some(mut budget) = self.budget() {
            if budget.resource == Resource::Flash {
                budget.reserve = reserve()?;
            }
            Rule::Budget(budget)
        } else if let Some(g) = self.prune {
            Rule::Prune(g)
        } else {
            return Ok(None);
        };
        Ok(Some(RankRule { rule, scope: self.scope() }))
    }

    /// The ranks for the trained weights of `checkpoint`, by the stated rule, else those with which it was trained,
    /// else dense. `card` and `file` are for the size of the file.
    pub fn of_checkpoint(
        &self,
        network: &Network,
        checkpoint: &Checkpoint,
        card: &Card,
        file: FileOf,
    ) -> Result<Ranked> {
        if let Some(budget) = self.of_flash() {
            return self.of_file(budget, network, checkpoint, card, file);
        }
        let ranked = |plan, rule| Ok(Ranked { plan, rule, eights: None, bytes: None });
        if let Some(rule) = self.rule(|| Ok(0))? {
            let spectra =
                if rule.needs_spectra() { Some(folded::spectra(network, checkpoint)?) } else { None };
            return ranked(rule.plan(network, spectra.as_ref())?, rule.to_string());
        }
        let Some(ranks) = checkpoint.metadata.get("ranks") else {
            return ranked(RankPlan::dense(network), "0".to_owned());
        };
        let ranks: BTreeMap<String, u64> =
            serde_json::from_str(ranks).context("the ranks in the checkpoint's metadata")?;
        let rule = checkpoint.metadata.get("rule").cloned();
        let plan = RankPlan::listed(network, &RankList::from(ranks))?;
        ranked(plan, rule.unwrap_or_else(|| "as trained".to_owned()))
    }
}

impl Ranks {
    /// The ranks, and the bits, whose model file is within `budget`.
    fn of_file(
        &self,
        budget: Budget,
        network: &Network,
        checkpoint: &Checkpoint,
        card: &Card,
        file: FileOf,
    ) -> Result<Ranked> {
        let scope = self.scope();
        let rule = RankRule { rule: Rule::Budget(budget), scope }.to_string();
        let card = Card { prune: rule.clone(), ..card.clone() };
        let overhead = |plan: &RankPlan, eights: &BTreeSet<String>| {
            export::overhead(network, plan, eights, &card).map(|bytes| bytes + file.more)
        };
        let spectra = folded::spectra(network, checkpoint)?;
        let losses = match file.eights {
            Some(_) => quantise::losses(network, &folded::merged(network, checkpoint)?),
            None => BTreeMap::new(),
        };
        let eights = file.eights.map(|of| Eights { losses: &losses, or_half: of == Eight::OrHalf });
        let dense = RankPlan::dense(network);
        let reserve = overhead(&dense, &BTreeSet::new())?;
        let limit = match budget.limit {
            budget::Limit::Share(share) => (share * (dense.cost().weight_bytes + reserve) as f64) as u64,
            budget::Limit::Count(bytes) => bytes,
        };
        let mut budget = Budget { limit: budget::Limit::Count(limit), reserve, ..budget };
        // Pairs and scales make the header longer: as much is left free as the last choice would have needed.
        loop {
            let found = budget.plan(network, scope, &spectra, eights)?;
            let besides = overhead(&found.plan, &found.eights)?;
            if found.cost + besides <= limit {
                let eights = file.eights.map(|_| found.eights);
                return Ok(Ranked {
                    plan: found.plan,
                    rule,
                    eights,
                    bytes: Some(found.cost + besides - file.more),
                });
            }
            budget.reserve = besides.max(budget.reserve + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        ranks: Ranks,
    }

    fn ranks(words: &[&str]) -> Result<Ranks, String> {
        let line = Line::try_parse_from([&["lrpet"], words].concat()).map_err(|error| error.to_string())?;
        line.ranks.check().map(|()| line.ranks)
    }

    #[test]
    fn ram_stands_beside_one_rule_for_the_ranks() {
        for rule in [&["--prune", "0.5"][..], &["--energy", "0.9"], &["--budget", "macs=0.5x"], &[]] {
            let found = ranks(&[rule, &["--budget", "ram=32KB"]].concat()).unwrap();
            assert_eq!(found.ram(), Some(32 << 10), "{rule:?}");
            assert_eq!(found.rule(|| Ok(0)).unwrap().is_some(), !rule.is_empty());
            assert_eq!(ranks(rule).unwrap().ram(), None);
        }
        for (wrong, words) in [
            (&["--budget", "macs=0.5x", "--budget", "params=0.5x"][..], "--budget and --budget both"),
            (&["--budget", "macs=0.5x", "--prune", "0.5"], "--prune and --budget both"),
            (&["--budget", "ram=32KB", "--budget", "ram=1MB"], "given twice"),
            (&["--budget", "ram=32"], "write ram=32KB"),
            (&["--budget", "ram=least"], "write ram=32KB"),
            (&["--budget", "ram=0KB"], "write ram=32KB"),
            (&["--budget", "rom=32KB"], "or ram=32KB"),
        ] {
            let error = ranks(wrong).err().unwrap_or_default();
            assert!(error.contains(words), "{wrong:?}: {error}");
        }
    }
}
