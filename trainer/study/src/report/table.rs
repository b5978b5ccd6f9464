//! The table as data: one row a metric, one column a model, each value beside its ratio to the dense model.

use super::units;
use crate::schema::{Accuracy, Bench, Board, Host, Inspect, Model, Origin, Report};

/// The comparison of all models of a report.
pub(super) struct Table<'a> {
    pub columns: Vec<Column<'a>>,
    pub rows: Vec<Row>,
    /// What no model has a figure for, in words.
    pub not_measured: Vec<&'static str>,
}

/// One model of the table.
pub(super) struct Column<'a> {
    pub model: &'a Model,
    /// The dense model that it is compared with; `None` for a dense model.
    pub baseline: Option<&'a Model>,
}

impl Column<'_> {
    /// Whether the model is compared with a dense one, be it only with what it knows of its own dense network.
    pub fn has_versus(&self) -> bool {
        !is_dense(self.model) && (self.baseline.is_some() || self.model.inspect.is_some())
    }

    /// What it is compared with, in words.
    pub fn versus(&self) -> Option<String> {
        self.has_versus().then(|| format!("against {}", reference(self.baseline)))
    }
}

/// One metric.
pub(super) struct Row {
    /// Heading that it shares with its neighbours.
    pub group: &'static str,
    pub label: String,
    /// Where the figure comes from, such as a board; may be empty.
    pub detail: String,
    /// One a model; `None` where it was not measured.
    pub cells: Vec<Option<Cell>>,
}

/// One figure.
pub(super) struct Cell {
    /// As people read it.
    pub text: String,
    /// The exact figure, with its unit.
    pub exact: String,
    /// Against the dense model: a ratio, or a difference in points.
    pub versus: Option<String>,
    /// Share of the largest value of the row, for costs.
    pub share: Option<f64>,
    /// False for a check that failed.
    pub good: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Accuracy,
    Count(&'static str),
    Bytes,
    Milliseconds,
}

/// The model is dense: its ratio is 0, or it is called so, or it costs what the dense network costs.
pub(super) fn is_dense(model: &Model) -> bool {
    match (model.prune, &model.inspect) {
        (Some(g), _) => g == 0.0,
        (None, Some(inspect)) => inspect.macs == inspect.macs_dense,
        // Ratio and network of a document's model are not known where its ranks were chosen by something else.
        (None, None) => model.name == "dense" && model.macs.is_none(),
    }
}

/// The dense model to compare `model` with: of the same network for the same images and classes, tested on the same data set. Of several
/// the one of its own run comes first, then one of which more is known. What is not known of one of the two is not taken for the same,
/// but in one run alone, whose author put them side by side.
pub(super) fn baseline<'a>(report: &'a Report, model: &Model) -> Option<&'a Model> {
    if is_dense(model) {
        return None;
    }
    let comparable = |other: &&Model| {
        let own_run = other.origin == model.origin;
        let network = match (other.network(), model.network()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => own_run,
            _ => false,
        };
        let same_data = dataset(report, other) == dataset(report, model);
        is_dense(other)
            && network
            && same_data
            && differ(input(other), input(model)).is_none()
            && differ(classes(other), classes(model)).is_none()
    };
    let known =
        |other: &&Model| (other.origin == model.origin, other.inspect.is_some(), other.eval.is_some());
    let dense = report.models.iter().filter(comparable);
    // The first of equals.
    dense.rev().max_by_key(known)
}

/// What a low-rank model is compared with, in words.
pub(super) fn reference(baseline: Option<&Model>) -> &str {
    baseline.map_or("its dense network", |dense| &dense.name)
}

/// Two values that are both known and differ.
fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<(T, T)> {
    one.zip(other).filter(|(one, other)| one != other)
}

/// Shape of a model's image, where it is known.
fn input(model: &Model) -> Option<[u64; 3]> {
    let first = model.inspect.as_ref().and_then(|inspect| inspect.layers.first()?.input);
    model.input.or(first)
}

/// Number of a model's classes, where it is known.
fn classes(model: &Model) -> Option<u64> {
    let last = model.inspect.as_ref().and_then(|inspect| inspect.layers.last()?.output);
    model.classes.or(last.map(|[classes, ..]| classes))
}

/// The run that a model comes from, in a merged report.
fn origin<'a>(report: &'a Report, model: &Model) -> Option<&'a Origin> {
    report.origins.iter().find(|origin| Some(&origin.label) == model.origin.as_ref())
}

/// Name of the data set of a model.
pub(super) fn dataset<'a>(report: &'a Report, model: &'a Model) -> Option<&'a str> {
    let set = origin(report, model).map_or(&report.dataset, |origin| &origin.dataset);
    model.dataset.as_deref().or(set.as_ref().map(|dataset| dataset.name.as_str()))
}

/// The machine of the report that a model comes from.
pub(super) fn host<'a>(report: &'a Report, model: &Model) -> Option<&'a Host> {
    origin(report, model).map_or(&report.host, |origin| &origin.host).as_ref()
}

/// What a latency was measured on: processor, and threads with instruction set.
fn bench_key<'a>(report: &'a Report, model: &Model, bench: &'a Bench) -> (Option<&'a str>, String) {
    let cpu = || host(report, model).and_then(|host| host.cpu.as_deref());
    (bench.cpu.as_deref().or_else(cpu), bench.detail())
}

/// The latency of `other` that was measured on the same as `bench` of `model`.
pub(super) fn bench_like<'a>(
    report: &Report,
    model: &Model,
    bench: &Bench,
    other: &'a Model,
) -> Option<&'a Bench> {
    let key = bench_key(report, model, bench);
    other.benches().find(|like| bench_key(report, other, like) == key)
}

/// Host latencies of two models in milliseconds, where both were measured on the same: the least, which what else runs on the
/// machine disturbs least, or the medians where one says no least.
pub(super) fn latencies(report: &Report, one: &Model, other: &Model) -> Option<(f64, f64)> {
    let pair = |bench| Some((bench, bench_like(report, one, bench, other)?));
    let (first, second) = one.benches().find_map(pair)?;
    Some(first.min_ms.zip(second.min_ms).unwrap_or((first.median_ms, second.median_ms)))
}

/// The entries (board, counter) that any model has, in order of appearance: instructions and cycles never share a row.
pub(super) fn boards(report: &Report) -> Vec<(&str, &str)> {
    let mut boards = Vec::new();
    for board in report.models.iter().flat_map(|model| &model.boards) {
        let key = (board.board.as_str(), board.counter.as_str());
        if !boards.contains(&key) {
            boards.push(key);
        }
    }
    boards
}

/// What `model` measured on a board.
pub(super) fn on_board<'a>(model: &'a Model, (name, counter): (&str, &str)) -> Option<&'a Board> {
    model.boards.iter().find(|board| board.board == name && board.counter == counter)
}

impl<'a> Table<'a> {
    /// The table of all models of `report`.
    pub fn of(report: &'a Report) -> Table<'a> {
        let columns = report.models.iter().map(|model| Column { model, baseline: baseline(report, model) });
        let mut table = Table { columns: columns.collect(), rows: Vec::new(), not_measured: Vec::new() };
        table.datasets(report);
        table.accuracy();
        table.costs();
        for board in boards(report) {
            table.board(board);
        }
        table.host(report);
        table.rows.sort_by_key(|row| GROUPS.iter().position(|group| *group == row.group));
        table.find_gaps();
        table
    }

    fn datasets(&mut self, report: &Report) {
        let names: Vec<_> = self.columns.iter().map(|column| dataset(report, column.model)).collect();
        if names.windows(2).any(|pair| pair[0] != pair[1]) {
            let cells = names.into_iter().map(|name| name.map(Cell::words)).collect();
            self.push("Accuracy", "Data set", String::new(), cells);
        }
    }

    fn accuracy(&mut self) {
        type Engine = fn(&Model) -> Option<&Accuracy>;
        let engines: [(&str, Engine); 2] = [
            ("trainer, f32", |model| model.eval.as_ref()?.candle.as_ref()),
            ("runtime, f16", |model| model.eval.as_ref()?.runtime.as_ref()),
        ];
        for (engine, of) in engines {
            let mut images: Vec<String> =
                self.columns.iter().filter_map(|column| of(column.model)).map(Accuracy::tested).collect();
            images.dedup();
            let detail =
                format!("{engine}{}{}", if images.is_empty() { "" } else { ", " }, images.join(" / "));
            let value = |model: &Model| of(model).map(|a| a.accuracy);
            self.number("Accuracy", "Top-1 accuracy", detail, Unit::Accuracy, value, |_| None);
        }
    }

    fn costs(&mut self) {
        type Costs = fn(&Inspect) -> (u64, u64);
        let rows: [(&'static str, &str, &str, Unit, Costs); 4] = [
            ("Compute", "Multiply-adds", "one inference", Unit::Count("MACs"), |i| (i.macs, i.macs_dense)),
            ("Flash", "Parameters", "without biases", Unit::Count("parameters"), |i| {
                (i.params, i.params_dense)
            }),
            ("Flash", "Weights", "as stored, biases included", Unit::Bytes, |i| {
                (i.weight_bytes, i.weight_bytes_dense)
            }),
            ("RAM", "Arena", "activations, scratch and table", Unit::Bytes, |i| {
                (i.arena_bytes, i.arena_bytes_dense)
            }),
        ];
        for (group, label, detail, unit, of) in rows {
            let said = |model: &Model| model.macs.filter(|_| label == "Multiply-adds");
            let value = |model: &Model| {
                let inspected = model.inspect.as_ref().map(|inspect| of(inspect).0);
                inspected.or_else(|| said(model)).map(|n| n as f64)
            };
            let dense = |model: &Model| model.inspect.as_ref().map(|inspect| of(inspect).1 as f64);
            self.number(group, label, detail.to_owned(), unit, value, dense);
        }
        let file = |model: &Model| model.file_bytes.filter(|_| model.inspect.is_none()).map(|n| n as f64);
        self.number("Flash", "Model file", "the whole file".to_owned(), Unit::Bytes, file, |_| None);
    }

    fn board(&mut self, board: (&str, &str)) {
        let core = self.columns.iter().find_map(|column| on_board(column.model, board)?.core.clone());
        let place = core.map_or(board.0.to_owned(), |core| format!("{}, {core}", board.0));
        type Field = fn(&Board) -> Option<u64>;
        let (label, unit) = match board.1 {
            "instructions" => ("Executed instructions", Unit::Count("instructions")),
            "cycles" => ("Cycles", Unit::Count("cycles")),
            "nanoseconds" => ("Latency, median", Unit::Milliseconds),
            _ => ("Ticks", Unit::Count("ticks")),
        };
        let rows: [(&'static str, &str, Unit, Field); 3] = [
            ("Compute", label, unit, |b| Some(b.total)),
            ("Flash", "Whole image", Unit::Bytes, |b| b.flash_bytes),
            ("RAM", "Arena, static data and stack", Unit::Bytes, Board::ram),
        ];
        for (group, label, unit, of) in rows {
            let scale = if unit == Unit::Milliseconds { 1e-6 } else { 1.0 };
            let value = |model: &Model| on_board(model, board).and_then(of).map(|n| n as f64 * scale);
            self.number(group, label, place.clone(), unit, value, |_| None);
        }
        let check = |column: &Column| on_board(column.model, board)?.self_check.map(Cell::check);
        let cells = self.columns.iter().map(check).collect();
        self.push("Accuracy", "Self-check on the board", place, cells);
    }

    fn host(&mut self, report: &'a Report) {
        let mut keys = Vec::new();
        let all = report.models.iter().flat_map(|model| model.benches().map(move |bench| (model, bench)));
        for key in all.map(|(model, bench)| bench_key(report, model, bench)) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let several = keys.iter().any(|(cpu, _)| *cpu != keys[0].0);
        for key in &keys {
            let cpu = key.0.filter(|_| several).map(|cpu| format!("{cpu}, ")).unwrap_or_default();
            let detail = format!("{cpu}{}", key.1);
            let there =
                |model: &'a Model| model.benches().find(|bench| bench_key(report, model, bench) == *key);
            type Figure = fn(&Bench) -> Option<f64>;
            let figures: [(&'static str, &str, Unit, Figure); 3] = [
                ("Compute", "Latency on the host, least", Unit::Milliseconds, |bench| bench.min_ms),
                ("Compute", "Latency on the host, median", Unit::Milliseconds, |bench| Some(bench.median_ms)),
                ("RAM", "Arena on the host", Unit::Bytes, |bench| bench.arena_bytes.map(|n| n as f64)),
            ];
            for (group, label, unit, of) in figures {
                let value = |model: &'a Model| there(model).and_then(of);
                self.number(group, label, detail.clone(), unit, value, |_| None);
            }
            let check = |column: &Column<'a>| there(column.model)?.self_check.map(Cell::check);
            let cells = self.columns.iter().map(check).collect();
            self.push("Accuracy", "Self-check on the host", detail, cells);
        }
    }

    /// Adds a row of numbers; `dense` is what a low-rank model knows of its dense network, for want of a dense model.
    fn number(
        &mut self,
        group: &'static str,
        label: &str,
        detail: String,
        unit: Unit,
        value: impl Fn(&'a Model) -> Option<f64>,
        dense: impl Fn(&'a Model) -> Option<f64>,
    ) {
        // The bar of a single figure would have nothing to be compared with.
        let figures = || self.columns.iter().filter_map(|column| value(column.model));
        let largest = if figures().nth(1).is_some() { figures().fold(0.0, f64::max) } else { 0.0 };
        let cell = |column: &Column<'a>| {
            let number = value(column.model)?;
            let reference = match column.baseline {
                // A dense training knows no costs, but the model knows those of its own dense network, which is the same.
                Some(baseline) => value(baseline).or_else(|| dense(column.model)),
                None if is_dense(column.model) => None,
                None => dense(column.model),
            };
            Some(Cell::number(number, unit, reference, largest))
        };
        let cells = self.columns.iter().map(cell).collect();
        self.push(group, label, detail, cells);
    }

    fn push(&mut self, group: &'static str, label: &str, detail: String, cells: Vec<Option<Cell>>) {
        if cells.iter().any(Option::is_some) {
            self.rows.push(Row { group, label: label.to_owned(), detail, cells });
        }
    }

    fn find_gaps(&mut self) {
        let any = |has: fn(&Model) -> bool| self.columns.iter().any(|column| has(column.model));
        let parts = [
            ("accuracy of the trainer", any(|m| m.eval.as_ref().is_some_and(|e| e.candle.is_some()))),
            ("accuracy of the runtime", any(|m| m.eval.as_ref().is_some_and(|e| e.runtime.is_some()))),
            ("costs by layer", any(|m| m.inspect.is_some())),
            ("boards", any(|m| !m.boards.is_empty())),
            ("host latency", any(|m| m.benches().next().is_some())),
        ];
        self.not_measured = parts.into_iter().filter(|(_, there)| !there).map(|(part, _)| part).collect();
    }
}

/// Order of the groups.
const GROUPS: [&str; 4] = ["Accuracy", "Compute", "Flash", "RAM"];

impl Cell {
    /// Whether a self-check passed.
    fn check(passed: bool) -> Cell {
        Cell { good: passed, ..Cell::words(if passed { "passed" } else { "failed" }) }
    }

    fn words(words: &str) -> Cell {
        Cell { text: words.to_owned(), exact: words.to_owned(), versus: None, share: None, good: true }
    }

    fn number(number: f64, unit: Unit, reference: Option<f64>, largest: f64) -> Cell {
        let (text, exact) = match unit {
            Unit::Accuracy => (units::percent(number), format!("{number}")),
            Unit::Count(of) => (units::count(number), format!("{} {of}", units::grouped(number))),
            Unit::Bytes => (units::bytes(number), format!("{} bytes", units::grouped(number))),
            Unit::Milliseconds => (units::milliseconds(number), format!("{number} ms")),
        };
        let versus = reference.and_then(|reference| match unit {
            Unit::Accuracy => Some(format!("{} points", units::points(number - reference))),
            _ => (reference > 0.0).then(|| units::times(number / reference)),
        });
        let share = (unit != Unit::Accuracy && largest > 0.0).then(|| number / largest);
        Cell { text, exact, versus, share, good: true }
    }
}
