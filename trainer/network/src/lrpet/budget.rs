//! A budget for the whole network, and the ranks that keep most energy under it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use lrpet_runtime::model::Op;
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
    /// A share of the dense network's (for [`Resource::Flash`], of its file).
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

/// The shares of the energy Σw² of a dense layer's weights that roundings take, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// To f16.
    pub half: f64,
    /// To the nearest 8 bits.
    pub eight: f64,
}

/// Weights of 8 bits beside those of f16, which take half the bytes.
#[derive(Debug, Clone, Copy)]
pub struct Eights<'a> {
    /// By name, the layers that may have them, with what rounding takes from each ([`losses`](crate::quantise::losses)).
    pub losses: &'a BTreeMap<String, Loss>,
    /// Whether these layers may have f16 as well; else all of them have 8 bits.
    pub or_half: bool,
}

/// Ranks under a budget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetPlan {
    /// The ranks.
    pub plan: RankPlan,
    /// The layers with weights of 8 bits.
    pub eights: BTreeSet<String>,
    /// What they take of the resource, without the reserve.
    pub cost: u64,
    /// Mean over the layers that could be factored, or have 8 bits, of ln(share of energy kept).
    pub mean_log_energy: f64,
    /// No ranks within the budget have a larger mean.
    pub bound: f64,
}

/// How a layer may be stored.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// Rank of the pair, 0 dense.
    rank: u64,
    eight: bool,
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
    /// With `eights`, which count for [`Resource::Flash`], a layer's bits are chosen together with its rank: rounding keeps 1 − loss of the
    /// energy of a dense layer and, of two halves with errors of their own, 1 − 2·loss of a pair's.
    ///
    /// # Errors
    /// [`LrpetError::Budget`] where rank 1 everywhere costs more.
    pub fn plan(
        &self,
        network: &Network,
        scope: Scope,
        spectra: &BTreeMap<String, Spectrum>,
        eights: Option<Eights<'_>>,
    ) -> Result<BudgetPlan, LrpetError> {
        let dense = RankPlan::dense(network);
        let total = self.resource.of(dense.cost());
        let limit = match self.limit {
            Limit::Share(share) => {
                ((share * (total + self.reserve) as f64).floor() as u64).saturating_sub(self.reserve)
            }
            Limit::Count(count) => count.saturating_sub(self.reserve),
        };
        // Of each layer, its forms and what they cost and keep.
        let mut forms = Vec::with_capacity(dense.layers.len());
        let mut groups = Vec::with_capacity(dense.layers.len());
        let mut free = 0_usize;
        for layer in &dense.layers {
            let spectrum =
                spectra.get(&layer.name).filter(|_| scope.contains(&network.layers[layer.index].op));
            let loss = eights.and_then(|eights| eights.losses.get(&layer.name));
            let half = loss.is_none() || eights.is_none_or(|eights| eights.or_half);
            free += usize::from(spectrum.is_some() || loss.is_some());
            // An energy of zero would have no logarithm; no finite spectrum keeps less than this.
            let ln = |share: f64| share.max(f64::MIN_POSITIVE).ln();
            let kept = |rank: u64| match spectrum {
                Some(spectrum) if rank > 0 => ln(spectrum.energy_kept(rank as usize)),
                _ => 0.0,
            };
            let rounded = |rank: u64, loss: f64| ln(1.0 - if rank > 0 { 2.0 * loss } else { loss });
            let ranks = (1..).take_while(|&rank| spectrum.is_some() && layer.matrix.pays(rank));
            let ranks: Vec<u64> = std::iter::once(0).chain(ranks).collect();
            let of_half = ranks.iter().filter(|_| half).map(|&rank| {
                let value = kept(rank) + rounded(rank, loss.map_or(0.0, |loss| loss.half));
                (
                    Form { rank, eight: false },
                    Choice { cost: self.resource.of(layer.matrix.cost(rank)), value },
                )
            });
            let of_eight = ranks.iter().filter_map(|&rank| {
                let value = kept(rank) + rounded(rank, loss?.eight);
                let cost = layer.matrix.bytes_of_eights(rank);
                Some((Form { rank, eight: true }, Choice { cost, value }))
            });
            let (form, options): (Vec<_>, Vec<_>) = of_half.chain(of_eight).unzip();
            forms.push(form);
            groups.push(options);
        }
        let Some(found) = knapsack::solve(&groups, limit) else {
            let least: u64 =
                groups.iter().filter_map(|group| group.iter().map(|choice| choice.cost).min()).sum();
            let linear = scope == Scope::Convolutions
                && dense.layers.iter().any(|layer| {
                    matches!(network.layers[layer.index].op, Op::Linear(_)) && layer.matrix.pays(1)
                });
            return Err(LrpetError::Budget {
                budget: self.to_string(),
                least: least + self.reserve,
                dense: total + self.reserve,
                fixed: self.reserve,
                linear,
            });
        };
        let mut plan = dense;
        let mut eights = BTreeSet::new();
        for ((layer, forms), &pick) in plan.layers.iter_mut().zip(&forms).zip(&found.picks) {
            let Form { rank, eight } = forms[pick];
            layer.rank = (rank > 0).then_some(rank);
            eights.extend(eight.then(|| layer.name.clone()));
        }
        let mean = |value: f64| value / free.max(1) as f64;
        Ok(BudgetPlan {
            plan,
            eights,
            cost: found.cost,
            mean_log_energy: mean(found.value),
            bound: mean(found.bound),
        })
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
                let found = budget.plan(&net, Scope::Convolutions, &spectra, None).unwrap();
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
        let wide = budget.plan(&net, Scope::All, &spectra, None).unwrap().plan.cost().weight_bytes;
        budget.reserve = 20 * 1024;
        let narrow = budget.plan(&net, Scope::All, &spectra, None).unwrap().plan.cost().weight_bytes;
        assert!(wide <= 300 * 1024 && narrow <= 280 * 1024 && narrow < wide);
        let all = "macs=1x".parse::<Budget>().unwrap().plan(&net, Scope::All, &spectra, None).unwrap();
        // Ranks that keep all that f64 can tell may stand in for dense layers, at less cost.
        assert!(all.mean_log_energy > -1e-9 && all.plan.cost().macs > RankPlan::dense(&net).cost().macs / 2);
    }

    /// Bytes of 8 bits count, bits are chosen with ranks, and what may choose more keeps more.
    #[test]
    fn bits_and_ranks_are_chosen_together() {
        let net = resnet20();
        let spectra = spectra(&net);
        let loss = Loss { half: 3e-8, eight: 2e-5 };
        let losses: BTreeMap<String, Loss> =
            net.matrices().into_iter().map(|(_, name, _)| (name.to_owned(), loss)).collect();
        let of = |losses: &BTreeMap<String, Loss>, kilobytes: u64, eights: Option<bool>| {
            let limit = Limit::Count(kilobytes << 10);
            let budget = Budget { resource: Resource::Flash, limit, reserve: 0 };
            let eights = eights.map(|or_half| Eights { losses, or_half });
            let found = budget.plan(&net, Scope::Convolutions, &spectra, eights).unwrap();
            let bytes = found.plan.layers.iter().map(|layer| {
                let rank = layer.rank.unwrap_or(0);
                match found.eights.contains(&layer.name) {
                    true => layer.matrix.bytes_of_eights(rank),
                    false => layer.matrix.cost(rank).weight_bytes,
                }
            });
            let bytes: u64 = bytes.sum();
            assert!(bytes <= kilobytes << 10, "{kilobytes} KB: {bytes}");
            found
        };
        let plan = |kilobytes, eights| of(&losses, kilobytes, eights);
        for (kilobytes, fewest, most) in [(60, losses.len(), losses.len()), (200, 1, losses.len() - 1)] {
            let [half, eight, either] = [None, Some(false), Some(true)].map(|eights| plan(kilobytes, eights));
            assert!(half.eights.is_empty() && eight.eights.len() == losses.len());
            assert!(eight.mean_log_energy > half.mean_log_energy, "{kilobytes} KB");
            // But for the order of sums.
            assert!(either.mean_log_energy >= eight.mean_log_energy - 1e-12, "{kilobytes} KB");
            assert!((fewest..=most).contains(&either.eights.len()), "{kilobytes} KB: {:?}", either.eights);
        }
        assert!(plan(600, Some(true)).eights.is_empty());
        // What both roundings make zero is a reason for neither: the others keep what they kept.
        let mut lost = losses.clone();
        lost.insert("conv1".to_owned(), Loss { half: 1.0, eight: 1.0 });
        let others = |found: BudgetPlan| found.plan.pairs().skip(1).map(|(_, rank)| rank).sum::<u64>();
        assert!(others(of(&lost, 60, Some(true))) >= others(plan(60, Some(true))));
    }

    #[test]
    fn budgets_that_no_rank_meets_say_what_would_do() {
        let net = resnet20();
        let budget: Budget = "macs=10K".parse().unwrap();
        let error = budget.plan(&net, Scope::Convolutions, &spectra(&net), None).unwrap_err().to_string();
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
