//! The choice of ranks on the command line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lrpet_network::Checkpoint;
use lrpet_network::export::{self, Card, folded};
use lrpet_network::lrpet::budget::Resource;
use lrpet_network::lrpet::{Budget, RankList, RankPlan, RankRule, Rule, Scope};
use lrpet_network::network::Network;

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
    /// params=100K, flash=64KB (the whole model file)
    #[arg(long, value_name = "BUDGET", group = "rule")]
    budget: Option<Budget>,
    /// Factor linear layers too, where ranks are not listed
    #[arg(long, conflicts_with = "ranks")]
    factor_linear: bool,
}

impl Ranks {
    /// The rule that the arguments state; none where they state none. `reserve` gives the bytes of the model file
    /// besides weights and biases.
    pub fn rule(&self, reserve: impl FnOnce() -> Result<u64>) -> Result<Option<RankRule>> {
        let rule = if let Some(list) = &self.ranks {
            Rule::Listed(RankList::from_argument(list)?)
        } else if let Some(share) = self.energy {
            Rule::Energy(share)
        } else if let Some(mut budget) = self.budget {
            if budget.resource == Resource::Flash {
                budget.reserve = reserve()?;
            }
            Rule::Budget(budget)
        } else if let Some(g) = self.prune {
            Rule::Prune(g)
        } else {
            return Ok(None);
        };
        let scope = if self.factor_linear { Scope::All } else { Scope::Convolutions };
        Ok(Some(RankRule { rule, scope }))
    }

    /// The ranks for the trained weights of `checkpoint`, by the stated rule, else those with which it was trained,
    /// else dense; with the rule in words. `card` is for the size of the file.
    pub fn of_checkpoint(
        &self,
        network: &Network,
        checkpoint: &Checkpoint,
        card: &Card,
    ) -> Result<(RankPlan, String)> {
        if let Some(rule) = self.rule(|| Ok(export::overhead(network, card)?))? {
            let spectra =
                if rule.needs_spectra() { Some(folded::spectra(network, checkpoint)?) } else { None };
            return Ok((rule.plan(network, spectra.as_ref())?, rule.to_string()));
        }
        let Some(ranks) = checkpoint.metadata.get("ranks") else {
            return Ok((RankPlan::dense(network), "0".to_owned()));
        };
        let ranks: BTreeMap<String, u64> =
            serde_json::from_str(ranks).context("the ranks in the checkpoint's metadata")?;
        let rule = checkpoint.metadata.get("rule").cloned();
        let plan = RankPlan::listed(network, &RankList::from(ranks))?;
        Ok((plan, rule.unwrap_or_else(|| "as trained".to_owned())))
    }
}
