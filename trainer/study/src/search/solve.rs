//! One option for each layer under two budgets at once, latency and flash.
//!
//! One budget is [`knapsack::solve`]'s. For two, Lagrange's relaxation of the second gives bounds, each from an exact
//! solution of the first; then partial solutions are extended layer by layer, as for one budget.

use lrpet_network::lrpet::knapsack::{self, Solution};

/// One option of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What it takes of each budget.
    pub costs: [u64; 2],
    /// What it is worth; finite.
    pub value: f64,
}

/// Partial solutions kept at once; past this the relaxation's best solution is returned, with its bound.
const MOST_STATES: usize = 1 << 13;
/// Prices of the second budget that are tried.
const PRICES: usize = 40;

/// The most valuable choice of one option a group with both costs within `budgets` (none: no limit); none where there is
/// no such choice. [`Solution::cost`] is of the first budget.
pub fn solve(groups: &[Vec<Choice>], budgets: [Option<u64>; 2]) -> Option<Solution> {
    let [first, second] = budgets;
    let Some(second) = second else { return priced(groups, 0, 0.0, first.unwrap_or(u64::MAX)) };
    let Some(first) = first else {
        let mut found = priced(groups, 1, 0.0, second)?;
        found.cost = cost(groups, &found.picks, 0);
        return Some(found);
    };
    let mut relaxed =
        Relaxation { groups, budgets: [first, second], best: None, bound: f64::INFINITY, price: 0.0 };
    relaxed.run()?;
    let Relaxation { best, bound, price, .. } = relaxed;
    extend(groups, [first, second], best, bound, price)
}

/// The options with the cost of budget `axis` alone, the other one charged at `price`.
fn priced(groups: &[Vec<Choice>], axis: usize, price: f64, budget: u64) -> Option<Solution> {
    let option = |choice: &Choice| knapsack::Choice {
        cost: choice.costs[axis],
        value: choice.value - price * choice.costs[1 - axis] as f64,
    };
    let groups: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(option).collect()).collect();
    knapsack::solve(&groups, budget)
}

fn cost(groups: &[Vec<Choice>], picks: &[usize], axis: usize) -> u64 {
    groups.iter().zip(picks).map(|(group, &pick)| group[pick].costs[axis]).sum()
}

fn value(groups: &[Vec<Choice>], picks: &[usize]) -> f64 {
    groups.iter().zip(picks).map(|(group, &pick)| group[pick].value).sum()
}

struct Relaxation<'a> {
    groups: &'a [Vec<Choice>],
    budgets: [u64; 2],
    best: Option<Vec<usize>>,
    bound: f64,
    /// The price with the least bound.
    price: f64,
}

impl Relaxation<'_> {
    /// Solves at one price; whether the second budget is held. None where the first cannot be.
    fn at(&mut self, price: f64) -> Option<bool> {
        let found = priced(self.groups, 0, price, self.budgets[0])?;
        let bound = found.bound + price * self.budgets[1] as f64;
        if bound < self.bound {
            (self.bound, self.price) = (bound, price);
        }
        let fits = cost(self.groups, &found.picks, 1) <= self.budgets[1];
        let better = |best: &Vec<usize>| value(self.groups, &found.picks) > value(self.groups, best);
        if fits && self.best.as_ref().is_none_or(better) {
            self.best = Some(found.picks);
        }
        Some(fits)
    }

    fn run(&mut self) -> Option<()> {
        if self.at(0.0)? {
            return Some(());
        }
        let (mut low, mut high) = (0.0, 1e-9);
        // Past this price only the second cost counts, and what does not fit then never will.
        while !self.at(high)? && high < 1e12 {
            (low, high) = (high, high * 8.0);
        }
        for _ in 0..PRICES {
            let middle = 0.5 * (low + high);
            if self.at(middle)? { high = middle } else { low = middle }
        }
        Some(())
    }
}

/// A choice for the first groups, as a step after a shorter one.
#[derive(Clone, Copy)]
struct State {
    costs: [u64; 2],
    value: f64,
    before: usize,
    pick: usize,
}

/// Extends partial solutions group by group; `best` is the best solution known, `price` that of the second budget.
fn extend(
    groups: &[Vec<Choice>],
    budgets: [u64; 2],
    best: Option<Vec<usize>>,
    bound: f64,
    price: f64,
) -> Option<Solution> {
    let known = best.as_ref().map_or(f64::NEG_INFINITY, |picks| value(groups, picks));
    let prices = [first_price(groups, budgets[0], price), price];
    let charged = |choice: &Choice| {
        choice.value - prices[0] * choice.costs[0] as f64 - prices[1] * choice.costs[1] as f64
    };
    // What the groups from each one on give at the prices, and what they cost at least.
    let mut rest = vec![0.0; groups.len() + 1];
    let mut least = vec![[0, 0]; groups.len() + 1];
    for (at, group) in groups.iter().enumerate().rev() {
        rest[at] = rest[at + 1] + group.iter().map(charged).fold(f64::NEG_INFINITY, f64::max);
        let cheapest = |axis: usize| group.iter().map(|choice| choice.costs[axis]).min();
        let [first, second] = least[at + 1];
        least[at] = [first + cheapest(0)?, second + cheapest(1)?];
    }
    let mut layers = vec![vec![State { costs: [0, 0], value: 0.0, before: 0, pick: 0 }]];
    for (at, group) in groups.iter().enumerate() {
        let mut states = Vec::new();
        for (before, state) in layers[at].iter().enumerate() {
            for (pick, choice) in group.iter().enumerate() {
                let costs = [0, 1].map(|axis| state.costs[axis] + choice.costs[axis]);
                let value = state.value + choice.value;
                let within = (0..2).all(|axis| costs[axis] + least[at + 1][axis] <= budgets[axis]);
                let left: f64 =
                    (0..2).map(|axis| prices[axis] * (budgets[axis] as f64 - costs[axis] as f64)).sum();
                if within && value + left + rest[at + 1] > known {
                    states.push(State { costs, value, before, pick });
                }
            }
        }
        let states = undominated(states);
        if states.len() > MOST_STATES {
            return best.map(|picks| solution(groups, picks, bound));
        }
        layers.push(states);
    }
    let last = layers.last().into_iter().flatten().max_by(|a, b| a.value.total_cmp(&b.value));
    let picks = match last {
        Some(state) if state.value > known => {
            let (mut picks, mut state) = (Vec::new(), *state);
            for states in layers[..groups.len()].iter().rev() {
                picks.push(state.pick);
                state = states[state.before];
            }
            picks.reverse();
            picks
        }
        _ => best?,
    };
    let value = value(groups, &picks);
    Some(solution(groups, picks, value))
}

fn solution(groups: &[Vec<Choice>], picks: Vec<usize>, bound: f64) -> Solution {
    Solution { cost: cost(groups, &picks, 0), value: value(groups, &picks), bound, picks }
}

/// The smallest price of the first budget at which the best options hold it, the second one charged at `second`.
fn first_price(groups: &[Vec<Choice>], budget: u64, second: f64) -> f64 {
    let fits = |price: f64| {
        let worth =
            |choice: &Choice| choice.value - price * choice.costs[0] as f64 - second * choice.costs[1] as f64;
        let best = |group: &Vec<Choice>| {
            let best = group.iter().max_by(|a, b| worth(a).total_cmp(&worth(b)));
            best.map_or(0, |choice| choice.costs[0])
        };
        groups.iter().map(best).sum::<u64>() <= budget
    };
    if fits(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1e-12);
    while !fits(high) && high < 1e12 {
        (low, high) = (high, high * 4.0);
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if fits(middle) { high = middle } else { low = middle }
    }
    high
}

/// The states that no other one beats in both costs and value.
fn undominated(mut states: Vec<State>) -> Vec<State> {
    states.sort_by(|a, b| a.costs.cmp(&b.costs).then(b.value.total_cmp(&a.value)));
    // Of the states so far, those that no cheaper one in the second cost beats: second cost and value, both rising.
    let mut front: Vec<(u64, f64)> = Vec::new();
    states.retain(|state| {
        let at = front.partition_point(|(cost, _)| *cost <= state.costs[1]);
        if at > 0 && front[at - 1].1 >= state.value {
            return false;
        }
        let beaten = front[at..].iter().take_while(|(_, value)| *value <= state.value).count();
        let start = at - usize::from(at > 0 && front[at - 1].0 == state.costs[1]);
        front.splice(start..at + beaten, [(state.costs[1], state.value)]);
        true
    });
    states
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The best value over all choices.
    fn brute_force(groups: &[Vec<Choice>], budgets: [u64; 2]) -> Option<f64> {
        let Some((first, rest)) = groups.split_first() else { return Some(0.0) };
        let fits = |choice: &&Choice| (0..2).all(|axis| choice.costs[axis] <= budgets[axis]);
        let options = first.iter().filter(fits).filter_map(|choice| {
            let left = [0, 1].map(|axis| budgets[axis] - choice.costs[axis]);
            Some(choice.value + brute_force(rest, left)?)
        });
        options.max_by(f64::total_cmp)
    }

    fn choice() -> impl Strategy<Value = Choice> {
        (0..40_u64, 0..40_u64, -50..50_i32)
            .prop_map(|(a, b, value)| Choice { costs: [a, b], value: f64::from(value) / 7.0 })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn is_the_best_of_all_choices(
            groups in prop::collection::vec(prop::collection::vec(choice(), 1..6), 0..6),
            budgets in [0..150_u64, 0..150_u64], free in 0..4_usize,
        ) {
            let limits = [0, 1].map(|axis| (free & (1 << axis) == 0).then_some(budgets[axis]));
            let found = solve(&groups, limits);
            let expected = brute_force(&groups, limits.map(|limit| limit.unwrap_or(10_000)));
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(expected)) = (found, expected) {
                prop_assert!((found.value - expected).abs() < 1e-9, "{} for {expected}", found.value);
                prop_assert!(found.bound >= expected - 1e-9);
                for (axis, limit) in limits.into_iter().enumerate() {
                    prop_assert!(cost(&groups, &found.picks, axis) <= limit.unwrap_or(u64::MAX));
                }
                prop_assert_eq!(found.cost, cost(&groups, &found.picks, 0));
            }
        }
    }

    /// As many layers and ranks as a ResNet-20 has, with two costs that nearly agree.
    #[test]
    fn a_network_is_solved_exactly_or_its_gap_is_small() {
        let group = |layer: u64| -> Vec<Choice> {
            let m = 16 << (layer / 7);
            let energy =
                |rank: u64| 1.0 - (-3.0 * rank as f64 / (m as f64 * (0.3 + 0.03 * layer as f64))).exp();
            let costs = |rank: u64| [rank * (40_000 >> (layer / 7)) + 900 * (rank % 4), rank * m * 20];
            (1..=m).map(|rank| Choice { costs: costs(rank), value: energy(rank).ln() }).collect()
        };
        let groups: Vec<_> = (0..19).map(group).collect();
        let full = [0, 1].map(|axis| groups.iter().map(|g| g.last().unwrap().costs[axis]).sum::<u64>());
        for (first, second) in [(2, 3), (4, 2), (3, 3)] {
            let found = solve(&groups, [Some(full[0] / first), Some(full[1] / second)]).unwrap();
            assert!(
                found.bound - found.value < 0.01 * found.value.abs(),
                "{} of {}",
                found.value,
                found.bound
            );
            assert!(found.cost <= full[0] / first && cost(&groups, &found.picks, 1) <= full[1] / second);
        }
    }
}
