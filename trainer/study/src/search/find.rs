//! The search itself: options of every layer, budgets, and the ranks that are found.

use std::collections::BTreeMap;
use std::fmt::Write;

use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Header, Op, Program};
use lrpet_runtime::plan::{Plan, curve};
use serde::Serialize;

use super::solve::{Choice, solve};
use super::worth::Values;
use super::{CostTable, LayerShape};
use crate::boards::count_text;

/// What there may be, each at most; none: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Count of one inference: instructions on emulated boards, nanoseconds on this machine.
    pub latency: Option<u64>,
    /// Bytes of flash: code and model file.
    pub flash: Option<u64>,
    /// Bytes of RAM: arena, other variables and stack.
    pub ram: Option<u64>,
}

/// What a model costs besides the layers whose ranks are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Base {
    /// Count of the other operations and of what lies between them.
    pub latency: u64,
    /// Bytes of code, and of the model file without weights and biases.
    pub flash: u64,
    /// Bytes of variables and stack, without the arena.
    pub ram: u64,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The network.
    pub network: &'a Network,
    /// Instruction set of the board, for the plan of its memory.
    pub isa: Isa,
    /// What ranks are worth; layers that are not listed stay dense.
    pub values: &'a Values,
    /// What layers cost on the board.
    pub table: &'a CostTable,
    /// What the rest costs there.
    pub base: Base,
    /// The budgets.
    pub limits: Limits,
}

/// Why no ranks are found.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A layer has no cost in the table.
    #[error("layer {0}: its cost on the board is not in the table; measure it first")]
    Unmeasured(String),
    /// The budgets cannot be met.
    #[error("no ranks meet the budget: {0}; allow more, or choose a smaller network")]
    Budget(String),
    /// The network cannot be planned.
    #[error("the memory of {network} cannot be planned: {reason}")]
    Plan {
        /// The network.
        network: String,
        /// Why.
        reason: String,
    },
}

/// Ranks under the budgets.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The ranks.
    #[serde(skip)]
    pub plan: RankPlan,
    /// Worth of the ranks; 0 is that of the dense network.
    pub value: f64,
    /// No ranks within the budgets are worth more; equal to `value`, but for rounding, where the ranks are the best.
    pub bound: f64,
    /// Predicted count of one inference; what the board counted, where known ranks were kept.
    pub latency: u64,
    /// Predicted bytes of flash.
    pub flash: u64,
    /// Bytes of RAM.
    pub ram: u64,
    /// Every layer whose rank was searched, in order.
    pub layers: Vec<FoundLayer>,
}

/// One layer of [`Found`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundLayer {
    /// Its name.
    pub name: String,
    /// Its rank; none where it stays dense.
    pub rank: Option<u64>,
    /// Singular values of its matrix.
    pub max_rank: u64,
    /// Worth of the rank.
    pub value: f64,
    /// Count on the board.
    pub latency: u64,
    /// Whether that lies between two measured ranks.
    pub interpolated: bool,
    /// Count of the dense layer.
    pub latency_dense: u64,
}

/// One layer's options: rank (0 is dense) and what it takes.
struct Layer {
    name: String,
    shape: LayerShape,
    ranks: Vec<u64>,
    choices: Vec<Choice>,
}

/// The ranks that are worth most within the budgets.
///
/// # Errors
/// [`SearchError`].
pub fn find(request: &Request<'_>) -> Result<Found, SearchError> {
    let Request { network, base, limits, .. } = *request;
    let mut layers = options(request)?;
    if let Some(ram) = limits.ram {
        keep_within_ram(request, &mut layers, ram)?;
    }
    let spent = [base.latency, base.flash + fixed_flash(network, &layers)];
    let limit = [limits.latency, limits.flash];
    let over =
        |axis: usize| SearchError::Budget(least_text(request, &layers, axis, spent[axis], limit[axis]));
    let mut budgets = [None; 2];
    for axis in 0..2 {
        if let Some(limit) = limit[axis] {
            budgets[axis] = Some(limit.checked_sub(spent[axis]).ok_or_else(|| over(axis))?);
        }
    }
    let groups: Vec<Vec<Choice>> = layers.iter().map(|layer| layer.choices.clone()).collect();
    let Some(solution) = solve(&groups, budgets) else {
        let tight = |axis: &usize| {
            let least = layers.iter().filter_map(|layer| layer.choices.iter().map(|c| c.costs[*axis]).min());
            budgets[*axis].is_some_and(|budget| least.sum::<u64>() > budget)
        };
        return Err((0..2).find(tight).map_or_else(
            || SearchError::Budget("latency and flash, each possible alone, are not together".to_owned()),
            over,
        ));
    };
    let bound = solution.bound;
    described(request, &layers, &solution.picks, bound)
}

/// What the picked options of the searched layers make together, the other layers dense.
fn described(
    request: &Request<'_>,
    layers: &[Layer],
    picks: &[usize],
    bound: f64,
) -> Result<Found, SearchError> {
    let Request { network, base, .. } = *request;
    let ranks: BTreeMap<&str, u64> =
        (layers.iter().zip(picks)).map(|(layer, &pick)| (layer.name.as_str(), layer.ranks[pick])).collect();
    let mut plan = RankPlan::dense(network);
    for layer in &mut plan.layers {
        layer.rank = ranks.get(layer.name.as_str()).copied().filter(|&rank| rank > 0);
    }
    let ram = base.ram + arena_bytes(network, &plan, request.isa)?;
    let chosen = || layers.iter().zip(picks).map(|(layer, &pick)| (layer, &layer.choices[pick], pick));
    let found = |(layer, choice, pick): (&Layer, &Choice, usize)| {
        let (rank, matrix) = (layer.ranks[pick], layer.shape.matrix());
        FoundLayer {
            name: layer.name.clone(),
            rank: (rank > 0).then_some(rank),
            max_rank: matrix.rows.min(matrix.columns),
            value: choice.value,
            latency: choice.costs[0],
            interpolated: request.table.cost(&layer.shape, rank).is_some_and(|cost| cost.interpolated),
            latency_dense: request.table.cost(&layer.shape, 0).map_or(0, |cost| cost.count),
        }
    };
    Ok(Found {
        value: chosen().map(|(_, choice, _)| choice.value).sum(),
        bound,
        latency: base.latency + chosen().map(|(_, choice, _)| choice.costs[0]).sum::<u64>(),
        flash: base.flash
            + fixed_flash(network, layers)
            + chosen().map(|(_, choice, _)| choice.costs[1]).sum::<u64>(),
        ram,
        layers: chosen().map(found).collect(),
        plan,
    })
}

/// Bytes of the weights of layers whose ranks are not searched.
fn fixed_flash(network: &Network, layers: &[Layer]) -> u64 {
    (RankPlan::dense(network).layers.iter())
        .filter(|layer| !layers.iter().any(|searched| searched.name == layer.name))
        .map(|layer| layer.matrix.cost(0).weight_bytes)
        .sum()
}

/// The options of each layer that is listed in the values.
fn options(request: &Request<'_>) -> Result<Vec<Layer>, SearchError> {
    let mut layers = Vec::new();
    for (name, shape) in LayerShape::all(request.network) {
        let Some(values) = request.values.get(&name) else { continue };
        let matrix = shape.matrix();
        let (mut ranks, mut choices) = (Vec::new(), Vec::new());
        let worth = std::iter::once(0.0).chain(values.iter().copied());
        for (rank, value) in (0..=*shape.paying().end()).zip(worth) {
            let cost = request.table.cost(&shape, rank);
            let cost = cost.ok_or_else(|| SearchError::Unmeasured(name.clone()))?;
            ranks.push(rank);
            choices.push(Choice { costs: [cost.count, matrix.cost(rank).weight_bytes], value });
        }
        layers.push(Layer { name, shape, ranks, choices });
    }
    Ok(layers)
}

/// Drops options whose scratch alone exceeds the RAM, wherever the other layers stand: memory peaks at one layer.
fn keep_within_ram(request: &Request<'_>, layers: &mut [Layer], ram: u64) -> Result<(), SearchError> {
    let dense = RankPlan::dense(request.network);
    let names: Vec<String> = layers.iter().map(|layer| layer.name.clone()).collect();
    let mut lowest = RankPlan::lowest(request.network);
    lowest.layers.iter_mut().filter(|layer| !names.contains(&layer.name)).for_each(|layer| layer.rank = None);
    let mut least = u64::MAX;
    for layer in layers {
        let mut kept = Vec::new();
        for (at, &rank) in layer.ranks.iter().enumerate() {
            let mut needed = u64::MAX;
            for others in [&lowest, &dense] {
                let mut plan = others.clone();
                for planned in plan.layers.iter_mut().filter(|planned| planned.name == layer.name) {
                    planned.rank = (rank > 0).then_some(rank);
                }
                let arena = arena_bytes(request.network, &plan, request.isa)?;
                needed = needed.min(arena + request.base.ram);
            }
            least = least.min(needed);
            if needed <= ram {
                kept.push(at);
            }
        }
        if kept.is_empty() {
            let rows = least_arena(request.network, &lowest, request.isa)?;
            return Err(SearchError::Budget(format!(
                "RAM of {ram} bytes, and {least} are needed at least (layer {}). These are layer by layer; in rows, with an arena of \
                 {rows} bytes at rank 1, the network takes {}, and more instructions than are counted: search without --ram, then lrpet \
                 schedule for the arena",
                layer.name,
                rows + request.base.ram
            )));
        }
        layer.ranks = kept.iter().map(|&at| layer.ranks[at]).collect();
        layer.choices = kept.iter().map(|&at| layer.choices[at]).collect();
    }
    Ok(())
}

/// What a budget asks and what would be enough.
fn least_text(
    request: &Request<'_>,
    layers: &[Layer],
    axis: usize,
    spent: u64,
    limit: Option<u64>,
) -> String {
    let least = layers.iter().filter_map(|layer| layer.choices.iter().map(|choice| choice.costs[axis]).min());
    let least = spent + least.sum::<u64>();
    let limit = limit.unwrap_or(0);
    match axis {
        0 => {
            let text = |count: u64| count_text(count as f64, request.table.counter());
            format!("{} allowed, and the cheapest ranks take {}", text(limit), text(least))
        }
        _ => format!("{limit} bytes of flash allowed, and the smallest ranks take {least}"),
    }
}

/// Bytes of the arena of `network` at the ranks of `plan`.
///
/// # Errors
/// [`SearchError::Plan`].
pub fn arena_bytes(network: &Network, plan: &RankPlan, isa: Isa) -> Result<u64, SearchError> {
    let failed = |reason: String| SearchError::Plan { network: network.name.clone(), reason };
    let bytes = program_bytes(network, plan)?;
    let program = Program::new_checked(&bytes).map_err(|error| failed(error.to_string()))?;
    let plan = Plan::new(&program, isa).map_err(|error| failed(error.to_string()))?;
    Ok(plan.arena_bytes as u64)
}

/// Bytes of the least arena of `network` at the ranks of `plan`, whatever its schedule.
///
/// # Errors
/// [`SearchError::Plan`].
pub fn least_arena(network: &Network, plan: &RankPlan, isa: Isa) -> Result<u64, SearchError> {
    let failed = |reason: String| SearchError::Plan { network: network.name.clone(), reason };
    let bytes = program_bytes(network, plan)?;
    let program = Program::new_checked(&bytes).map_err(|error| failed(error.to_string()))?;
    let choices = curve(&program, isa).map_err(|error| failed(error.to_string()))?;
    let least = choices.iter().map(|choice| choice.plan.arena_bytes as u64).min();
    least.ok_or_else(|| failed("it has no schedule".to_owned()))
}

/// The program of `network` at the ranks of `plan`, as a model file has it but for the normalisation of its input.
///
/// # Errors
/// [`SearchError::Plan`].
pub fn program_bytes(network: &Network, plan: &RankPlan) -> Result<Vec<u8>, SearchError> {
    let failed = |reason: String| SearchError::Plan { network: network.name.clone(), reason };
    let ops: Vec<Op<String>> = plan.apply(network);
    let header = Header::classifier(network.input, &[0.0], &[1.0], network.classes);
    let header = header.and_then(|header| header.of_ops(&ops));
    let header =
        header.ok_or_else(|| failed(format!("{} operations are more than a program holds", ops.len())))?;
    let mut bytes = postcard::to_allocvec(&header).map_err(|error| failed(error.to_string()))?;
    for op in &ops {
        bytes.extend(postcard::to_allocvec(op).map_err(|error| failed(error.to_string()))?);
    }
    Ok(bytes)
}

impl Found {
    /// `plan` as if it had been found, whatever the budgets: for ranks that are chosen by other means. `bound` is its worth.
    ///
    /// # Errors
    /// [`SearchError::Unmeasured`] where a rank is not in the table, [`SearchError::Plan`].
    pub fn of_plan(request: &Request<'_>, plan: &RankPlan) -> Result<Self, SearchError> {
        let layers = options(request)?;
        let pick = |layer: &Layer| {
            let rank = plan.layers.iter().find(|planned| planned.name == layer.name)?.rank.unwrap_or(0);
            layer.ranks.iter().position(|&option| option == rank)
        };
        let picks = (layers.iter())
            .map(|layer| pick(layer).ok_or_else(|| SearchError::Unmeasured(layer.name.clone())))
            .collect::<Result<Vec<_>, _>>()?;
        described(request, &layers, &picks, Self::value_of(request.values, plan))
    }

    /// Predicted count of `plan` with the same costs: for comparison with other ranks.
    pub fn latency_of(request: &Request<'_>, plan: &RankPlan) -> Option<u64> {
        let shapes: BTreeMap<String, LayerShape> = LayerShape::all(request.network).into_iter().collect();
        let searched = plan.layers.iter().filter(|layer| request.values.contains_key(&layer.name));
        let cost = |layer: &lrpet_network::lrpet::rank::PlannedLayer| {
            let shape = shapes.get(&layer.name)?;
            Some(request.table.cost(shape, layer.rank.unwrap_or(0))?.count)
        };
        let sum = searched.map(cost).sum::<Option<u64>>()?;
        Some(request.base.latency + sum)
    }

    /// Worth of `plan`.
    pub fn value_of(values: &Values, plan: &RankPlan) -> f64 {
        let worth = |(layer, rank): (&lrpet_network::lrpet::rank::PlannedLayer, u64)| {
            values.get(&layer.name)?.get(usize::try_from(rank).ok()?.checked_sub(1)?).copied()
        };
        plan.pairs().filter_map(worth).sum()
    }

    /// The ranks as a file for `lrpet train --ranks`; `remarks` stand above them as comments.
    pub fn toml(&self, remarks: &[String]) -> String {
        let mut text = String::new();
        for line in remarks.iter().flat_map(|remark| remark.lines()) {
            let _ = writeln!(text, "# {line}");
        }
        for layer in &self.layers {
            let _ = match layer.rank {
                Some(rank) => writeln!(text, "{} = {rank} # of {}", layer.name, layer.max_rank),
                None => writeln!(text, "# {} stays dense", layer.name),
            };
        }
        text
    }
}
