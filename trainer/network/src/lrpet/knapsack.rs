//! One option for each group under a budget: the multiple-choice knapsack problem.
//!
//! Lagrange's relaxation gives a bound and a first solution; then partial solutions are extended group by group, and
//! those are dropped that another one dominates or that cannot beat the best known any more (Pisinger, "A minimal
//! algorithm for the multiple-choice knapsack problem", European Journal of Operational Research 83, 1995).

/// One option of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    /// What it takes from the budget.
    pub cost: u64,
    /// What it is worth; finite.
    pub value: f64,
}

/// One option for each group.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// Index of the option of each group.
    pub picks: Vec<usize>,
    /// Cost of them all.
    pub cost: u64,
    /// Value of them all.
    pub value: f64,
    /// No solution is worth more than this; equal to `value`, but for rounding, where the solution is optimal.
    pub bound: f64,
}

/// Partial solutions kept at once; past this the relaxation's solution is returned, with its bound.
const MOST_STATES: usize = 1 << 16;

/// The most valuable choice of one option a group whose cost is within `budget`; none where even the cheapest exceed
/// it or a group has no option.
pub fn solve(groups: &[Vec<Choice>], budget: u64) -> Option<Solution> {
    let options: Vec<Vec<usize>> = groups.iter().map(|group| undominated(group)).collect();
    let cheapest: u64 = groups
        .iter()
        .zip(&options)
        .map(|(group, kept)| kept.first().map(|&first| group[first].cost))
        .sum::<Option<u64>>()?;
    if cheapest > budget {
        return None;
    }
    let problem = Problem { groups, options: &options, budget };
    let price = problem.price();
    let bound = problem.relaxed(price);
    let first = problem.improved(problem.best_at(price));
    Some(problem.extend(price, bound, first))
}

/// Options that no other one beats in cost and value, by rising cost.
fn undominated(group: &[Choice]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by(|&a, &b| group[a].cost.cmp(&group[b].cost).then(group[b].value.total_cmp(&group[a].value)));
    let mut best = f64::NEG_INFINITY;
    order.retain(|&option| {
        let better = group[option].value > best;
        best = best.max(group[option].value);
        better
    });
    order
}

struct Problem<'a> {
    groups: &'a [Vec<Choice>],
    /// Undominated options of each group.
    options: &'a [Vec<usize>],
    budget: u64,
}

/// A choice for the first groups, as a step after a shorter one.
#[derive(Clone, Copy)]
struct State {
    cost: u64,
    value: f64,
    before: usize,
    pick: usize,
}

impl Problem<'_> {
    /// The option of a group that is worth most when each unit of cost is charged `price`; the cheapest of equals.
    fn pick_at(&self, group: usize, price: f64) -> usize {
        let worth = |&option: &usize| {
            let Choice { cost, value } = self.groups[group][option];
            value - price * cost as f64
        };
        let mut options = self.options[group].iter().copied();
        let first = options.next().expect("every group has an option");
        options.fold(first, |best, option| if worth(&option) > worth(&best) { option } else { best })
    }

    fn best_at(&self, price: f64) -> Vec<usize> {
        (0..self.groups.len()).map(|group| self.pick_at(group, price)).collect()
    }

    fn cost(&self, picks: &[usize]) -> u64 {
        self.groups.iter().zip(picks).map(|(group, &pick)| group[pick].cost).sum()
    }

    fn value(&self, picks: &[usize]) -> f64 {
        self.groups.iter().zip(picks).map(|(group, &pick)| group[pick].value).sum()
    }

    /// The smallest price at which the best options are within the budget.
    fn price(&self) -> f64 {
        let fits = |price: f64| self.cost(&self.best_at(price)) <= self.budget;
        if fits(0.0) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, 1e-12);
        while !fits(high) {
            (low, high) = (high, high * 4.0);
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if fits(middle) { high = middle } else { low = middle }
        }
        high
    }

    /// Upper bound on the value of any solution: Lagrange's dual function.
    fn relaxed(&self, price: f64) -> f64 {
        let picks = self.best_at(price);
        self.value(&picks) + price * (self.budget as f64 - self.cost(&picks) as f64)
    }

    /// Spends what is left of the budget on the steps that gain most for their cost.
    fn improved(&self, mut picks: Vec<usize>) -> Vec<usize> {
        loop {
            let left = self.budget - self.cost(&picks);
            let mut best: Option<(f64, usize, usize)> = None;
            for (group, &pick) in picks.iter().enumerate() {
                let now = self.groups[group][pick];
                for &option in &self.options[group] {
                    let then = self.groups[group][option];
                    if then.cost <= now.cost || then.cost - now.cost > left {
                        continue;
                    }
                    let rate = (then.value - now.value) / (then.cost - now.cost) as f64;
                    if best.is_none_or(|(most, ..)| rate > most) {
                        best = Some((rate, group, option));
                    }
                }
            }
            match best {
                Some((_, group, option)) => picks[group] = option,
                None => return picks,
            }
        }
    }

    /// Extends partial solutions group by group, from `first` as the best solution known.
    fn extend(&self, price: f64, bound: f64, first: Vec<usize>) -> Solution {
        let known = self.value(&first);
        // What the groups from each one on give at the price, and what they cost at least.
        let (mut rest, mut least) = (vec![0.0; self.groups.len() + 1], vec![0; self.groups.len() + 1]);
        for group in (0..self.groups.len()).rev() {
            let Choice { cost, value } = self.groups[group][self.pick_at(group, price)];
            rest[group] = rest[group + 1] + value - price * cost as f64;
            least[group] = least[group + 1] + self.groups[group][self.options[group][0]].cost;
        }
        let mut layers = vec![vec![State { cost: 0, value: 0.0, before: 0, pick: 0 }]];
        for group in 0..self.groups.len() {
            let mut states = Vec::new();
            for (before, state) in layers[group].iter().enumerate() {
                for &pick in &self.options[group] {
                    let Choice { cost, value } = self.groups[group][pick];
                    let (cost, value) = (state.cost + cost, state.value + value);
                    let within = cost + least[group + 1] <= self.budget;
                    if within && value + price * (self.budget as f64 - cost as f64) + rest[group + 1] > known
                    {
                        states.push(State { cost, value, before, pick });
                    }
                }
            }
            states.sort_by(|a, b| a.cost.cmp(&b.cost).then(b.value.total_cmp(&a.value)));
            let mut best = f64::NEG_INFINITY;
            states.retain(|state| {
                let better = state.value > best;
                best = best.max(state.value);
                better
            });
            if states.len() > MOST_STATES {
                return Solution { cost: self.cost(&first), value: known, picks: first, bound };
            }
            layers.push(states);
        }
        let last = layers.last().and_then(|states| states.last());
        let picks = match last {
            Some(state) if state.value > known => {
                let mut picks = Vec::new();
                let mut state = *state;
                for states in layers[..self.groups.len()].iter().rev() {
                    picks.push(state.pick);
                    state = states[state.before];
                }
                picks.reverse();
                picks
            }
            _ => first,
        };
        let value = self.value(&picks);
        Solution { cost: self.cost(&picks), value, picks, bound: value }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The best value over all choices.
    fn brute_force(groups: &[Vec<Choice>], budget: u64) -> Option<f64> {
        let Some((first, rest)) = groups.split_first() else { return Some(0.0) };
        first
            .iter()
            .filter(|choice| choice.cost <= budget)
            .filter_map(|choice| Some(choice.value + brute_force(rest, budget - choice.cost)?))
            .max_by(f64::total_cmp)
    }

    fn choice() -> impl Strategy<Value = Choice> {
        (0..40_u64, -50..50_i32).prop_map(|(cost, value)| Choice { cost, value: f64::from(value) / 7.0 })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn is_the_best_of_all_choices(
            groups in prop::collection::vec(prop::collection::vec(choice(), 1..6), 0..6), budget in 0..150_u64,
        ) {
            let (found, expected) = (solve(&groups, budget), brute_force(&groups, budget));
            prop_assert_eq!(found.is_some(), expected.is_some());
            if let (Some(found), Some(expected)) = (found, expected) {
                prop_assert!((found.value - expected).abs() < 1e-9, "{} for {expected}", found.value);
                prop_assert!(found.bound >= expected - 1e-9 && found.cost <= budget);
                let cost: u64 = groups.iter().zip(&found.picks).map(|(group, &pick)| group[pick].cost).sum();
                prop_assert_eq!(cost, found.cost);
            }
        }
    }

    #[test]
    fn an_empty_group_has_no_solution() {
        assert!(solve(&[vec![], vec![Choice { cost: 1, value: 1.0 }]], 9).is_none());
    }

    /// As many groups and options as a deep network has layers and ranks, with spectra that decay.
    #[test]
    fn a_deep_network_is_solved_exactly() {
        let group = |layer: u64| -> Vec<Choice> {
            let (m, unit) = (16 << (layer % 3), 9 * (16 << (layer % 3)) + 7 * layer);
            let energy =
                |rank: u64| 1.0 - (-3.0 * rank as f64 / (m as f64 * (0.3 + 0.01 * layer as f64))).exp();
            (1..=m).map(|rank| Choice { cost: rank * unit, value: energy(rank).ln() }).collect()
        };
        let groups: Vec<_> = (0..55).map(group).collect();
        let full: u64 = groups.iter().map(|group| group.last().unwrap().cost).sum();
        for share in [2, 3, 5] {
            let found = solve(&groups, full / share).unwrap();
            assert_eq!(found.bound, found.value, "1/{share}");
            assert!(found.cost <= full / share && found.cost > full / share * 99 / 100);
        }
    }
}
