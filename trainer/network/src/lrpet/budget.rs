//! A budget for the whole network, and the ranks that keep most energy under it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use lrpet_runtime::model::cost::Cost;
use serde::{Deserialize, Serialize};

use super::knapsack::{self, Choice};
use super::rank::{RankPlan, Scope};
use super::{LrpetError, Spectrum};
use crate::network::Network;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Multiply-adds of an inference.
    Macs,
    /// Weights, without biases.
    Params,
    /// Bytes of the model file.
    Flash,
}

/// How much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// A share of the dense network's (for [`Resource::Flash`], of its weights and biases).
    Share(f64),
    /// A number.
    Count(u64),
}

/// A limit on one resource: `macs=0.45x`, `macs=18M`, `params=100K`, `flash=64KB`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// What is limited.
    pub resource: Resource,
    /// How much there may be.
    pub limit: Limit,
    /// Bytes of a model file that are neither weights nor biases: header, program, self-check. Only for
    /// [`Resource::Flash`].
    #[serde(default)]
    pub reserve: u64,
}

/// Ranks under a budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetPlan {
    /// The ranks.
    pub plan: RankPlan,
    /// Mean over the layers that could be factored of ln(share of energy kept).
    pub mean_log_energy: f64,
    /// No ranks within the budget have a larger mean.
    pub bound: f64,
}

impl Resource {
    const ALL: [(Resource, &'static str); 3] =
        [(Resource::Macs, "macs"), (Resource::Params, "params"), (Resource::Flash, "flash")];

    fn of(self, cost: Cost) -> u64 {
        match self {
            Resource::Macs => cost.macs,
            Resource::Params => cost.params,
            Resource::Flash => cost.weight_bytes,
        }
    }
}

impl Budget {
    /// The ranks with the largest product of the layers' kept energy, Σ ln(E_r/E), whose cost is within the budget;
    /// a layer may stay dense and keep everything. Layers outside `scope` and those without a spectrum stay dense.
    ///
    /// The product, and not the sum, because a signal passes all layers: what one loses no other one makes good.
    ///
    /// # Errors
    /// [`LrpetError::Budget`] where rank 1 everywhere costs more.
    pub fn plan(
        &self,
        network: &Network,
        scope: Scope,
        spectra: &BTreeMap<String, Spectrum>,
    ) -> Result<BudgetPlan, LrpetError> {
        let dense = RankPlan::dense(network);
        let total = self.resource.of(dense.cost());
        let limit = match self.limit {
            Limit::Share(share) => (share * total as f64).floor() as u64,
            Limit::Count(count) => count.saturating_sub(self.reserve),
        };
        let mut groups = Vec::with_capacity(dense.layers.len());
        let mut free = 0_usize;
        for layer in &dense.layers {
            let cost = |rank: u64| self.resource.of(layer.matrix.cost(rank));
            let mut options = vec![Choice { cost: cost(0), value: 0.0 }];
            let spectrum =
                spectra.get(&layer.name).filter(|_| scope.contains(&network.layers[layer.index].op));
            if let Some(spectrum) = spectrum {
                free += 1;
                let ranks = (1..).take_while(|&rank| layer.matrix.pays(rank));
                // An energy of zero would have no logarithm; no finite spectrum keeps less than this.
                let value = |rank: u64| spectrum.energy_kept(rank as usize).max(f64::MIN_POSITIVE).ln();
                options.extend(ranks.map(|rank| Choice { cost: cost(rank), value: value(rank) }));
            }
            groups.push(options);
        }
        let Some(found) = knapsack::solve(&groups, limit) else {
            let least: u64 =
                groups.iter().filter_map(|group| group.iter().map(|choice| choice.cost).min()).sum();
            let least = if matches!(self.limit, Limit::Count(_)) { least + self.reserve } else { least };
            return Err(LrpetError::Budget { budget: self.to_string(), least, dense: total });
        };
        let mut plan = dense;
        for (layer, &pick) in plan.layers.iter_mut().zip(&found.picks) {
            layer.rank = (pick > 0).then_some(pick as u64);
        }
        let mean = |value: f64| value / free.max(1) as f64;
        Ok(BudgetPlan { plan, mean_log_energy: mean(found.value), bound: mean(found.bound) })
    }
}

impl FromStr for Budget {
    type Err = LrpetError;

    fn from_str(text: &str) -> Result<Budget, LrpetError> {
        let failed = || LrpetError::BudgetText(text.to_owned());
        let (name, amount) = text.split_once('=').ok_or_else(failed)?;
        let found = Resource::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name.trim()));
        let &(resource, _) = found.ok_or_else(failed)?;
        let digits = amount.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = amount.trim()[digits.len()..].to_ascii_lowercase();
        let number: f64 = digits.trim().parse().map_err(|_| failed())?;
        let factor = match (resource, unit.as_str()) {
            (_, "x") if number > 0.0 && number <= 1.0 => {
                return Ok(Budget { resource, limit: Limit::Share(number), reserve: 0 });
            }
            (Resource::Flash, "b") | (Resource::Macs | Resource::Params, "") => 1.0,
            (Resource::Flash, "kb" | "kib") => 1024.0,
            (Resource::Flash, "mb" | "mib") => 1024.0 * 1024.0,
            (Resource::Macs | Resource::Params, "k") => 1e3,
            (Resource::Macs | Resource::Params, "m") => 1e6,
            (Resource::Macs | Resource::Params, "g") => 1e9,
            _ => return Err(failed()),
        };
        let count = (number * factor).round();
        if !(count >= 1.0 && count < 2f64.powi(53)) {
            return Err(failed());
        }
        Ok(Budget { resource, limit: Limit::Count(count as u64), reserve: 0 })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Resource::ALL.iter().find(|(resource, _)| *resource == self.resource);
        let name = found.map_or("", |(_, name)| name);
        match self.limit {
            Limit::Share(share) => write!(f, "{name}={share}x"),
            Limit::Count(count) if self.resource == Resource::Flash => write!(f, "{name}={count}B"),
            Limit::Count(count) => write!(f, "{name}={count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use lrpet_runtime::model::Shape;

    use super::*;

    /// Spectra of random weights, with another decay in each layer.
    fn spectra(network: &Network) -> BTreeMap<String, Spectrum> {
        let spectrum =
            |(number, (_, name, matrix)): (usize, (usize, &str, lrpet_runtime::model::cost::Matrix))| {
                let (rows, columns) = (matrix.rows as usize, matrix.columns as usize);
                let decay = 0.05 + 0.1 * (number % 5) as f64;
                let weight: Vec<f32> = (0..rows * columns)
                    .map(|at| {
                        let (row, column) = (at / columns, at % columns);
                        let noise =
                            ((at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 2f64.powi(24);
                        let on = if row == column { 1.0 } else { 0.02 * (noise - 0.5) };
                        (on * (-decay * row as f64).exp()) as f32
                    })
                    .collect();
                (name.to_owned(), Spectrum::new(name, &weight, rows, None).unwrap())
            };
        network.matrices().into_iter().enumerate().map(spectrum).collect()
    }

    fn resnet20() -> Network {
        Network::by_name("resnet20", Shape::new(3, 32, 32), 10).unwrap()
    }

    #[test]
    fn plans_hold_their_budget_and_keep_more_than_uniform_ranks() {
        let net = resnet20();
        let spectra = spectra(&net);
        let kept = |plan: &RankPlan| -> f64 {
            plan.pairs().map(|(layer, rank)| spectra[&layer.name].energy_kept(rank as usize).ln()).sum()
        };
        for g in [0.3, 0.54, 0.7] {
            let uniform = RankPlan::uniform(&net, g).unwrap();
            for (resource, cost) in [
                (Resource::Macs, uniform.cost().macs),
                (Resource::Params, uniform.cost().params),
                (Resource::Flash, uniform.cost().weight_bytes),
            ] {
                let budget = Budget { resource, limit: Limit::Count(cost), reserve: 0 };
                let found = budget.plan(&net, Scope::Convolutions, &spectra).unwrap();
                let spent = resource.of(found.plan.cost());
                assert!(spent <= cost && spent > cost * 98 / 100, "{budget}: {spent} of {cost}");
                assert!(kept(&found.plan) > kept(&uniform), "{budget}");
                assert!((found.bound - found.mean_log_energy).abs() < 1e-12, "{budget} is not optimal");
                assert_eq!(found.plan.rank("fc"), None);
            }
        }
    }

    #[test]
    fn the_reserve_is_left_free_and_everything_fits_a_wide_budget() {
        let net = resnet20();
        let spectra = spectra(&net);
        let mut budget: Budget = "flash=300KB".parse().unwrap();
        let wide = budget.plan(&net, Scope::All, &spectra).unwrap().plan.cost().weight_bytes;
        budget.reserve = 20 * 1024;
        let narrow = budget.plan(&net, Scope::All, &spectra).unwrap().plan.cost().weight_bytes;
        assert!(wide <= 300 * 1024 && narrow <= 280 * 1024 && narrow < wide);
        let all = "macs=1x".parse::<Budget>().unwrap().plan(&net, Scope::All, &spectra).unwrap();
        // Ranks that keep all that f64 can tell may stand in for dense layers, at less cost.
        assert!(all.mean_log_energy > -1e-9 && all.plan.cost().macs > RankPlan::dense(&net).cost().macs / 2);
    }

    #[test]
    fn budgets_that_no_rank_meets_say_what_would_do() {
        let net = resnet20();
        let budget: Budget = "macs=10K".parse().unwrap();
        let error = budget.plan(&net, Scope::Convolutions, &spectra(&net)).unwrap_err().to_string();
        assert!(error.contains("macs=10000") && error.contains("40551040"), "{error}");
    }

    #[test]
    fn texts_are_read_and_written() {
        for (text, written) in [
            ("macs=0.45x", "macs=0.45x"),
            ("MACS=18M", "macs=18000000"),
            ("params = 100k", "params=100000"),
            ("flash=64KB", "flash=65536B"),
            ("flash=1.5MiB", "flash=1572864B"),
        ] {
            let budget: Budget = text.parse().unwrap();
            assert_eq!(budget.to_string(), written);
            assert_eq!(written.parse::<Budget>().unwrap(), budget);
        }
        for text in [
            "macs",
            "macs=",
            "macs=0x",
            "macs=1.5x",
            "ram=4KB",
            "flash=64",
            "params=3KB",
            "macs=-4",
            "macs=nanM",
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("flash=64KB"), "{error}");
        }
    }
}
