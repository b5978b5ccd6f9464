//! The search against brute force and against uniform ranks, with boards that are tables.

use std::path::Path;

use anyhow::Result;
use lrpet_network::export::checked;
use lrpet_network::lrpet::{RankList, RankPlan};
use lrpet_network::network::Network;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Shape;
use lrpet_runtime::model::cost;

use super::*;
use crate::boards::{Bench, Board, INSTRUCTIONS, Measured};
use crate::schema::LayerTicks;
use crate::search::Values;

/// A board whose layers take twice their multiply-adds and, in blocks of four ranks, some more.
struct Invented {
    name: &'static str,
    key: String,
    runs: usize,
}

/// What [`Invented`] counts for a layer.
fn count(macs: u64, rank: u64, pixels: u64) -> u64 {
    2 * macs + 500 * rank.div_ceil(4) * pixels / 64
}

impl Bench for Invented {
    fn board(&self) -> Board {
        Board::find(self.name).unwrap()
    }

    fn key(&self) -> Result<String> {
        Ok(self.key.clone())
    }

    fn capacity(&self) -> u64 {
        1 << 20
    }

    fn measure(&mut self, model: &Path) -> Result<Measured> {
        self.runs += 1;
        let map = MappedModel::open(model)?;
        let model = checked(map.bytes(), "model")?;
        let layers = model.program().layers().map(|layer| {
            let own = cost::stored(&layer.op, layer.input);
            let rank = match layer.op {
                lrpet_runtime::model::Op::Conv(conv) => cost::rank_of(conv.weights),
                lrpet_runtime::model::Op::Linear(linear) => cost::rank_of(linear.weights),
                _ => 0,
            };
            let ticks = count(own.macs, rank, layer.output.pixels() as u64);
            LayerTicks { name: layer.op.name().to_owned(), ticks }
        });
        let layers: Vec<_> = layers.collect();
        let total = layers.iter().map(|layer| layer.ticks).sum();
        Ok(Measured {
            board: self.name.to_owned(),
            counter: INSTRUCTIONS.to_owned(),
            total,
            layers,
            ..Measured::default()
        })
    }
}

fn invented() -> Invented {
    Invented { name: "qemu-mps2-an386", key: "first".to_owned(), runs: 0 }
}

fn resnet8() -> Network {
    Network::by_name("resnet8", Shape::new(3, 32, 32), 10).unwrap()
}

/// Worths that rise with the rank, in each layer otherwise.
fn values(network: &Network) -> Values {
    let all = LayerShape::all(network).into_iter().enumerate();
    let worth = |(layer, (name, shape)): (usize, (String, LayerShape))| {
        let most = *shape.paying().end() as f64;
        let decay = 2.0 + layer as f64;
        (name, shape.paying().map(|rank| -(-decay * rank as f64 / most).exp()).collect())
    };
    all.map(worth).filter(|(name, _)| name != "fc").collect()
}

fn table(network: &Network) -> CostTable {
    let mut bench = invented();
    let mut table = CostTable::in_memory(&bench).unwrap();
    let shapes: Vec<_> = LayerShape::all(network).into_iter().map(|(_, shape)| shape).collect();
    table.measure(&mut bench, &shapes, |_, _| ()).unwrap();
    assert!(table.missing(&shapes).is_empty() && bench.runs > 1);
    table
}

fn request<'a>(network: &'a Network, values: &'a Values, table: &'a CostTable) -> Request<'a> {
    let base = Base { latency: 10_000, flash: 90_000, ram: 4_000 };
    Request { network, isa: Isa::CortexM, values, table, base, limits: Limits::default() }
}

#[test]
fn the_table_has_what_the_board_counted() {
    let network = resnet8();
    let table = table(&network);
    for (name, shape) in LayerShape::all(&network) {
        let matrix = shape.matrix();
        for rank in 0..=*shape.paying().end() {
            let cost = table.cost(&shape, rank).unwrap();
            let expected = count(matrix.cost(rank).macs, rank, matrix.pixels);
            assert_eq!((cost.count, cost.interpolated), (expected, false), "{name}, rank {rank}");
        }
    }
}

#[test]
fn search_beats_uniform_ranks_at_their_cost_and_keeps_its_budgets() {
    let network = resnet8();
    let (values, table) = (values(&network), table(&network));
    let mut request = request(&network, &values, &table);
    let dense = find(&request).unwrap();
    assert_eq!(dense.plan, RankPlan::dense(&network), "without a limit nothing is given up");
    assert_eq!((dense.value, dense.layers.len()), (0.0, values.len()));
    for g in [0.3, 0.5, 0.7] {
        let uniform = RankPlan::uniform(&network, g).unwrap();
        let latency = Found::latency_of(&request, &uniform).unwrap();
        request.limits = Limits { latency: Some(latency), ..Limits::default() };
        let found = find(&request).unwrap();
        assert!(found.latency <= latency && found.value >= Found::value_of(&values, &uniform), "g = {g}");
        assert!((found.bound - found.value).abs() < 1e-9, "one budget is solved exactly");
        assert_eq!(Found::latency_of(&request, &found.plan), Some(found.latency));
        assert!((Found::value_of(&values, &found.plan) - found.value).abs() < 1e-9);
        assert_eq!(found.flash, request.base.flash + found.plan.cost().weight_bytes);
        let known = Found::of_plan(&request, &uniform).unwrap();
        assert_eq!(
            (&known.plan, known.latency),
            (&uniform, latency),
            "ranks chosen by other means are told of alike"
        );
        assert_eq!(known.flash, request.base.flash + uniform.cost().weight_bytes);
        assert!(
            (known.value - Found::value_of(&values, &uniform)).abs() < 1e-9 && known.value <= found.value
        );

        let flash = request.base.flash + uniform.cost().weight_bytes * 9 / 10;
        request.limits.flash = Some(flash);
        let both = find(&request).unwrap();
        assert!(both.latency <= latency && both.flash <= flash);
        assert!(both.value <= found.value && both.bound - both.value < 0.01 * both.value.abs(), "g = {g}");
    }
}

#[test]
fn ram_is_kept_or_refused_with_what_is_needed() {
    let network = resnet8();
    let (values, table) = (values(&network), table(&network));
    let mut request = request(&network, &values, &table);
    let dense = arena_bytes(&network, &RankPlan::dense(&network), Isa::CortexM).unwrap();
    request.limits.ram = Some(dense + request.base.ram);
    let found = find(&request).unwrap();
    assert!(found.ram <= dense + request.base.ram);
    request.limits.ram = Some(20_000);
    let error = find(&request).unwrap_err().to_string();
    assert!(error.contains("RAM") && error.contains("20000"), "{error}");
    // What rows instead of layers would take is less than layers, and is said.
    let number = |before: &str| -> u64 {
        let digits = error.split(before).nth(1).unwrap().split(' ').next().unwrap();
        digits.parse().unwrap()
    };
    let (layers, rows) = (number("bytes, and "), number("an arena of "));
    assert!(rows > 20_000 && rows * 2 < layers, "{error}");
}

#[test]
fn budgets_that_cannot_be_met_say_what_would_do() {
    let network = resnet8();
    let (values, table) = (values(&network), table(&network));
    let mut request = request(&network, &values, &table);
    for limits in [
        Limits { latency: Some(5_000), ..Limits::default() },
        Limits { latency: Some(20_000), ..Limits::default() },
        Limits { flash: Some(10_000), ..Limits::default() },
        Limits { flash: Some(91_000), latency: Some(10_000_000), ..Limits::default() },
    ] {
        request.limits = limits;
        let error = find(&request).unwrap_err().to_string();
        assert!(error.contains("cheapest ranks take") || error.contains("smallest ranks take"), "{error}");
    }
    let empty = CostTable::in_memory(&invented()).unwrap();
    request.table = &empty;
    assert!(matches!(find(&request), Err(SearchError::Unmeasured(_))));
}

#[test]
fn the_file_of_ranks_is_read_back() {
    let network = resnet8();
    let (values, table) = (values(&network), table(&network));
    let mut request = request(&network, &values, &table);
    let uniform = RankPlan::uniform(&network, 0.6).unwrap();
    request.limits.latency = Found::latency_of(&request, &uniform);
    let found = find(&request).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ranks.toml");
    std::fs::write(&file, found.toml(&["a remark\nof two lines".to_owned()])).unwrap();
    let list = RankList::read(&file).unwrap();
    assert_eq!(RankPlan::listed(&network, &list).unwrap(), found.plan);
}

#[test]
fn ranks_between_measured_ones_lie_on_a_line() {
    let wide = Network::by_name("resnet18", Shape::new(3, 32, 32), 10).unwrap();
    let shape = LayerShape::all(&wide).into_iter().find(|(name, _)| name == "layer2.1.conv1").unwrap().1;
    let ranks = table::ranks_to_measure(&shape);
    assert!(
        ranks.len() == table::MOST_RANKS && (ranks[0], *ranks.last().unwrap()) == (1, *shape.paying().end())
    );
    let mut bench = invented();
    let mut table = CostTable::in_memory(&bench).unwrap();
    table.measure(&mut bench, [&shape], |_, _| ()).unwrap();
    let between = (1..ranks.len()).find(|&at| ranks[at] > ranks[at - 1] + 1).unwrap();
    let (below, above) = (ranks[between - 1], ranks[between]);
    let cost = |rank| table.cost(&shape, rank).unwrap();
    let middle = cost(below + 1);
    assert!(middle.interpolated && !cost(below).interpolated && !cost(above).interpolated);
    assert!(cost(below).count < middle.count && middle.count < cost(above).count);
    assert_eq!(table.cost(&shape, above * 100), None);
}

#[test]
fn a_table_is_kept_for_its_board_and_kernels_alone() {
    let network = resnet8();
    let shape = LayerShape::all(&network).remove(0).1;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deep/costs.json");
    let mut bench = invented();
    let mut first = CostTable::open(&file, &bench).unwrap();
    first.measure(&mut bench, [&shape], |_, _| ()).unwrap();
    let runs = bench.runs;
    let mut again = CostTable::open(&file, &bench).unwrap();
    again.measure(&mut bench, [&shape], |_, _| ()).unwrap();
    assert_eq!(
        (bench.runs, again.cost(&shape, 1)),
        (runs, first.cost(&shape, 1)),
        "nothing was measured twice"
    );

    bench.key = "other kernels".to_owned();
    assert_eq!(CostTable::open(&file, &bench).unwrap().cost(&shape, 1), None);
    let other = Invented { name: "qemu-mps3-an547", ..invented() };
    let error = CostTable::open(&file, &other).unwrap_err().to_string();
    assert!(error.contains("costs.json") && error.contains("qemu-mps2-an386"), "{error}");

    let good = std::fs::read_to_string(&file).unwrap();
    let cut = &good[..good.len() / 2];
    let newer = good.replace("cost table 1", "cost table 9");
    for text in ["", "[]", "{}", "\u{0}", cut, &newer, &good.replace("\"shapes\"", "\"shape\"")] {
        std::fs::write(&file, text).unwrap();
        let error = CostTable::open(&file, &bench).unwrap_err().to_string();
        assert!(error.contains("costs.json") && error.contains("--costs"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "a file that is no table stays as it is");
    }
}
