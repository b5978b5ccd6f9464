//! The choice of ranks on the command line.

use std::fmt;

use anyhow::{Context, Result};
use lrpet_trainer::export::{Checkpoint, folded};
use lrpet_trainer::lrpet::{RankList, RankPlan};
use lrpet_trainer::network::Network;

/// One of three ways to say which layers become pairs, and of what rank. A layer whose pair would not have fewer
/// multiply-adds stays dense in all of them.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct Ranks {
    /// Pruning ratio g of every convolution: rank floor(m − m·g) of m singular values; 0 is dense [default: 0]
    #[arg(long, value_name = "G")]
    prune: Option<f64>,
    /// Rank of each layer: `layer1.0.conv1=6,…` (others stay dense) or a JSON or TOML file
    #[arg(long, value_name = "LIST")]
    ranks: Option<String>,
    /// Share of each layer's energy to keep, 0 to 1: the smallest rank that does
    #[arg(long, value_name = "SHARE")]
    energy: Option<f64>,
}

impl Ranks {
    /// The plan for `network`; a share of energy needs the trained weights.
    pub fn plan(&self, network: &Network, checkpoint: Option<&Checkpoint>) -> Result<RankPlan> {
        if let Some(list) = &self.ranks {
            return Ok(RankPlan::listed(network, &RankList::from_argument(list)?)?);
        }
        if let Some(share) = self.energy {
            let checkpoint =
                checkpoint.context("a share of energy needs trained weights: use --prune or --ranks")?;
            return Ok(RankPlan::energy(network, share, &folded::spectra(network, checkpoint)?)?);
        }
        Ok(RankPlan::uniform(network, self.prune.unwrap_or(0.0))?)
    }
}

/// As the model card says it.
impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.ranks, self.energy) {
            (Some(_), _) => f.write_str("listed"),
            (_, Some(share)) => write!(f, "energy {share}"),
            _ => write!(f, "{}", self.prune.unwrap_or(0.0)),
        }
    }
}
