//! Which layers become pairs, and of what rank.

use std::collections::BTreeMap;
use std::fmt;

use lrpet_runtime::model::cost::{Cost, Matrix};
use lrpet_runtime::model::{Op, Weights};
use serde::{Deserialize, Serialize};

use super::{LrpetError, RankList, Spectrum};
use crate::network::Network;

/// r = floor(m − m·g), at least 1: the paper's rank for a matrix of `m` singular values at pruning ratio `g`.
pub fn uniform_rank(m: u64, g: f64) -> u64 {
    let exact = m as f64 - m as f64 * g;
    // A decimal g has no exact binary form: m·g of 7.000000000000001 must not cost a rank.
    ((exact + 1e-9 * m as f64).floor() as u64).clamp(1, m.max(1))
}

/// The layers that a rule may factor. Depthwise convolutions never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Convolutions, 1×1 ones included: the paper's.
    #[default]
    Convolutions,
    /// Linear layers too.
    All,
}

impl Scope {
    /// True where a rule may factor `op`.
    pub fn contains(self, op: &Op<String>) -> bool {
        match op {
            Op::Conv(_) | Op::GeneralConv(_) => !is_depthwise(op),
            Op::Linear(_) => self == Scope::All,
            _ => false,
        }
    }
}

/// One layer with weights in a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedLayer {
    /// Index into [`Network::layers`].
    pub index: usize,
    /// Name of the layer.
    pub name: String,
    /// Its matrix.
    pub matrix: Matrix,
    /// Rank of the pair; none where the layer stays dense.
    pub rank: Option<u64>,
}

/// The rank of every layer of a network. A layer whose pair would not have fewer multiply-adds than the dense
/// layer stays dense, as do depthwise convolutions.
///
/// It is written as `name=rank,…` with the dense layers left out (`dense` where all are), which [`RankList`]
/// reads.
#[derive(Debug, Clone, PartialEq)]
pub struct RankPlan {
    /// Layers with weights, in order of execution.
    pub layers: Vec<PlannedLayer>,
}

impl RankPlan {
    /// Every layer dense.
    pub fn dense(network: &Network) -> RankPlan {
        RankPlan::choose(network, |_, _| None)
    }

    /// Rank 1 wherever a pair of it pays.
    pub fn lowest(network: &Network) -> RankPlan {
        RankPlan::choose(network, |_, _| Some(1))
    }

    /// The paper's uniform rule: rank [`uniform_rank`] for every convolution; `g` = 0 is dense. The classifier stays
    /// dense: only so do the costs equal the published ones (docs/decisions/uniform-ranks.md).
    ///
    /// # Errors
    /// [`LrpetError::Ratio`] where `g` is outside 0..1.
    pub fn uniform(network: &Network, g: f64) -> Result<RankPlan, LrpetError> {
        RankPlan::uniform_in(network, g, Scope::Convolutions)
    }

    /// As [`RankPlan::uniform`], for the layers of `scope`.
    ///
    /// # Errors
    /// [`LrpetError::Ratio`] where `g` is outside 0..1.
    pub fn uniform_in(network: &Network, g: f64, scope: Scope) -> Result<RankPlan, LrpetError> {
        if !(0.0..1.0).contains(&g) {
            return Err(LrpetError::Ratio(g));
        }
        Ok(RankPlan::choose(network, |op, matrix| {
            scope.contains(op).then(|| uniform_rank(singular_values(matrix), g))
        }))
    }

    /// The listed layers at their listed ranks, all others dense.
    ///
    /// # Errors
    /// [`LrpetError::UnknownLayer`], [`LrpetError::RankTooLarge`], [`LrpetError::Depthwise`].
    pub fn listed(network: &Network, list: &RankList) -> Result<RankPlan, LrpetError> {
        let matrices = network.matrices();
        for (name, &rank) in list.ranks() {
            let Some((index, _, matrix)) = matrices.iter().find(|(_, layer, _)| layer == name) else {
                let known = matrices.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ");
                return Err(LrpetError::UnknownLayer {
                    name: name.clone(),
                    network: network.name.clone(),
                    known,
                });
            };
            if is_depthwise(&network.layers[*index].op) {
                return Err(LrpetError::Depthwise(name.clone()));
            }
            let largest = singular_values(matrix);
            if rank > largest {
                return Err(LrpetError::RankTooLarge { layer: name.clone(), rank, largest });
            }
            if !matrix.pays(rank) {
                tracing::warn!("layer {name} stays dense: a pair of rank {rank} has no fewer multiply-adds");
            }
        }
        Ok(RankPlan::choose(network, |op, _| list.ranks().get(op.name()).copied()))
    }

    /// For each layer of `scope` the smallest rank that keeps the share `threshold` of the energy of its spectrum;
    /// layers without a spectrum stay dense.
    ///
    /// # Errors
    /// [`LrpetError::Threshold`] where `threshold` is not above 0 and at most 1.
    pub fn energy(
        network: &Network,
        threshold: f64,
        scope: Scope,
        spectra: &BTreeMap<String, Spectrum>,
    ) -> Result<RankPlan, LrpetError> {
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(LrpetError::Threshold(threshold));
        }
        Ok(RankPlan::choose(network, |op, _| {
            let spectrum = spectra.get(op.name()).filter(|_| scope.contains(op));
            spectrum.map(|spectrum| spectrum.rank_for_energy(threshold) as u64)
        }))
    }

    /// Takes each layer's wish where a pair of that rank pays.
    fn choose(network: &Network, wish: impl Fn(&Op<String>, &Matrix) -> Option<u64>) -> RankPlan {
        let planned = |(index, name, matrix): (usize, &str, Matrix)| {
            let op = &network.layers[index].op;
            let wish = wish(op, &matrix).filter(|_| !is_depthwise(op));
            PlannedLayer {
                index,
                name: name.to_owned(),
                matrix,
                rank: wish.filter(|&rank| matrix.pays(rank)),
            }
        };
        RankPlan { layers: network.matrices().into_iter().map(planned).collect() }
    }

    /// Rank of the layer called `name`; none where it stays dense or has no weights.
    pub fn rank(&self, name: &str) -> Option<u64> {
        self.layers.iter().find(|layer| layer.name == name)?.rank
    }

    /// Ranks of the layers that become pairs, by name.
    pub fn ranks(&self) -> BTreeMap<String, u64> {
        self.pairs().map(|(layer, rank)| (layer.name.clone(), rank)).collect()
    }

    /// Layers that become pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&PlannedLayer, u64)> {
        self.layers.iter().filter_map(|layer| Some((layer, layer.rank?)))
    }

    /// Costs of the network at these ranks.
    pub fn cost(&self) -> Cost {
        self.layers
            .iter()
            .fold(Cost::default(), |sum, layer| sum + layer.matrix.cost(layer.rank.unwrap_or(0)))
    }

    /// The operations of `network` with pairs where the plan has a rank.
    pub fn apply(&self, network: &Network) -> Vec<Op<String>> {
        let mut ops: Vec<Op<String>> = network.layers.iter().map(|layer| layer.op.clone()).collect();
        for (layer, rank) in self.pairs() {
            // A rank is at most a number of channels, which is a u32.
            let weights = Weights::Pair { rank: rank as u32 };
            match &mut ops[layer.index] {
                Op::Conv(conv) => conv.weights = weights,
                Op::Linear(linear) => linear.weights = weights,
                Op::GeneralConv(conv) => conv.weights = weights,
                _ => unreachable!("only convolutions and linear layers have a matrix"),
            }
        }
        ops
    }
}

impl fmt::Display for RankPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.pairs().map(|(layer, rank)| format!("{}={rank}", layer.name)).collect();
        f.write_str(if pairs.is_empty() { "dense".to_owned() } else { pairs.join(",") }.as_str())
    }
}

/// Number of singular values m = min(n, c·kh·kw).
fn singular_values(matrix: &Matrix) -> u64 {
    matrix.rows.min(matrix.columns)
}

fn is_depthwise(op: &Op<String>) -> bool {
    match op {
        Op::Conv(conv) => conv.weights == Weights::Depthwise,
        // Only what has one group and is not transposed may be a pair.
        Op::GeneralConv(conv) => conv.groups > 1 || conv.transposed.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrpet_runtime::model::Shape;

    fn network(name: &str) -> Network {
        Network::by_name(name, Shape::new(3, 32, 32), 10).unwrap()
    }

    /// Ranks and costs that the paper's runs imply.
    #[test]
    fn uniform_ranks_are_the_published_ones() {
        let ranks = |widths: &[u64], g: f64| widths.iter().map(|&m| uniform_rank(m, g)).collect::<Vec<_>>();
        assert_eq!(ranks(&[16, 32, 64], 0.57), [6, 13, 27]);
        assert_eq!(ranks(&[16, 32, 64], 0.70), [4, 9, 19]);
        assert_eq!(ranks(&[16, 32, 64], 0.65), [5, 11, 22]);
        assert_eq!(ranks(&[64, 128, 256, 512], 0.58), [26, 53, 107, 215]);
        let millions = |name: &str, g: f64| {
            let macs = RankPlan::uniform(&network(name), g).unwrap().cost().macs;
            (macs as f64 / 1e4).round() / 100.0
        };
        assert_eq!([0.0, 0.54, 0.70].map(|g| millions("resnet20", g)), [40.55, 20.15, 12.52]);
        assert_eq!((millions("resnet56", 0.57), millions("resnet110", 0.65)), (56.06, 93.78));
    }

    #[test]
    fn decimal_ratios_cost_no_rank_by_rounding() {
        assert_eq!(uniform_rank(10, 0.6), 4);
        for m in 1..=600_u64 {
            for percent in 0..100_u64 {
                let exact = (m * (100 - percent) / 100).max(1);
                assert_eq!(uniform_rank(m, percent as f64 / 100.0), exact, "m = {m}, g = {percent} %");
            }
        }
    }

    #[test]
    fn a_pair_that_does_not_pay_stays_dense() {
        let resnet20 = network("resnet20");
        assert_eq!(RankPlan::uniform(&resnet20, 0.0).unwrap(), RankPlan::dense(&resnet20));
        assert_eq!(RankPlan::dense(&resnet20).to_string(), "dense");
        // A rank of 4 pays for the classifier, which the paper's rule leaves alone.
        assert_eq!(RankPlan::uniform(&resnet20, 0.6).unwrap().rank("fc"), None);
        assert_eq!(RankPlan::uniform_in(&resnet20, 0.6, Scope::All).unwrap().rank("fc"), Some(4));
        // The 3→16 stem breaks even at 10.05, a square 16→16 layer at 14.4.
        let plan = RankPlan::uniform(&resnet20, 0.2).unwrap();
        assert_eq!((plan.rank("conv1"), plan.rank("layer1.0.conv1")), (None, Some(12)));
        assert!(plan.cost().macs < RankPlan::dense(&resnet20).cost().macs);
    }

    #[test]
    fn lists_are_checked_against_the_network() {
        let net = network("resnet8");
        let listed = |text: &str| RankPlan::listed(&net, &text.parse().unwrap());
        let plan = listed("layer1.0.conv1=6, fc=3,conv1=16").unwrap();
        // Rank 16 of the stem does not pay.
        assert_eq!(plan.to_string(), "layer1.0.conv1=6,fc=3");
        assert_eq!(listed(&plan.to_string()).unwrap(), plan);
        assert_eq!(plan.ranks(), BTreeMap::from([("fc".to_owned(), 3), ("layer1.0.conv1".to_owned(), 6)]));
        assert_eq!(listed("dense").unwrap(), RankPlan::dense(&net));
        let error = listed("layer9.0.conv1=6").unwrap_err().to_string();
        assert!(error.contains("layer9.0.conv1") && error.contains("layer1.0.conv1, "), "{error}");
        let error = listed("layer1.0.conv1=17").unwrap_err().to_string();
        assert!(error.contains("17") && error.contains("16 singular values"), "{error}");
        assert!(RankPlan::uniform(&net, 1.0).is_err() && RankPlan::uniform(&net, -0.1).is_err());
        assert!(RankPlan::uniform(&net, f64::NAN).is_err());
    }

    #[test]
    fn energy_picks_the_smallest_rank_that_keeps_enough() {
        let net = network("resnet8");
        // A diagonal of 4, 3, 1, 0, …: energies 16/26, 25/26, 1.
        let mut weight = vec![0.0_f32; 16 * 144];
        for (i, value) in [4.0, 3.0, 1.0].into_iter().enumerate() {
            weight[i * 144 + i] = value;
        }
        let spectrum = Spectrum::new("layer1.0.conv1", &weight, 16, None).unwrap();
        let spectra = BTreeMap::from([("layer1.0.conv1".to_owned(), spectrum)]);
        for (threshold, rank) in [(0.6, 1), (0.62, 2), (0.96, 2), (0.97, 3)] {
            let plan = RankPlan::energy(&net, threshold, Scope::Convolutions, &spectra).unwrap();
            assert_eq!(plan.to_string(), format!("layer1.0.conv1={rank}"), "{threshold}");
        }
        assert!(RankPlan::energy(&net, 0.0, Scope::Convolutions, &spectra).is_err());
    }

    #[test]
    fn apply_makes_pairs_of_the_planned_layers() {
        let net = network("resnet8");
        let plan = RankPlan::uniform(&net, 0.6).unwrap();
        let ops = plan.apply(&net);
        let shapes = net.value_shapes().unwrap();
        let stored = ops
            .iter()
            .map(|op| lrpet_runtime::model::cost::stored(op, shapes[usize::from(op.inputs().first())]))
            .fold(Cost::default(), |sum, cost| sum + cost);
        assert_eq!(stored, plan.cost());
    }
}
