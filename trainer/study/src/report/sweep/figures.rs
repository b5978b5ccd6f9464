//! What the runs of a sweep are compared by.

use lrpet_report::units;

use crate::boards::NANOSECONDS;
use crate::schema::sweep::{Row, Sweep};

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Count,
    Milliseconds,
}

impl Unit {
    /// In words for the page's script.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Count => "count",
            Unit::Milliseconds => "ms",
        }
    }

    pub fn text(self, value: f64) -> String {
        match self {
            Unit::Bytes => units::bytes(value),
            Unit::Count => units::count(value),
            Unit::Milliseconds => units::milliseconds(value),
        }
    }

    /// Factor and unit of an axis whose largest value is `most`.
    pub fn axis(self, most: f64) -> (f64, &'static str) {
        match self {
            Unit::Bytes if most >= 1024.0 * 1024.0 => (1.0 / (1024.0 * 1024.0), "MB"),
            Unit::Bytes => (1.0 / 1024.0, "KB"),
            Unit::Count if most >= 1e6 => (1e-6, "M"),
            Unit::Count if most >= 1e3 => (1e-3, "K"),
            Unit::Count => (1.0, ""),
            Unit::Milliseconds if most >= 1.0 => (1.0, "ms"),
            Unit::Milliseconds => (1e3, "µs"),
        }
    }
}

/// What part a figure has among the page's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Work,
    Flash,
    Ram,
    Latency,
}

/// A cost of every run.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// For the page's script and for names of files.
    pub key: String,
    pub label: String,
    pub unit: Unit,
    pub kind: Kind,
    /// Of each row; none where it was not measured.
    pub values: Vec<Option<f64>>,
}

impl Figure {
    fn new(
        sweep: &Sweep,
        (key, label): (&str, String),
        (unit, kind): (Unit, Kind),
        value: impl Fn(&Row) -> Option<f64>,
    ) -> Figure {
        let values = sweep.rows.iter().map(value).collect();
        Figure { key: key.to_owned(), label, unit, kind, values }
    }

    /// Smallest and largest value.
    pub fn range(&self) -> Option<(f64, f64)> {
        let known = || self.values.iter().flatten().copied();
        Some((known().reduce(f64::min)?, known().reduce(f64::max)?))
    }
}

/// Key of the arena in rows instead of layers.
pub(super) const ROWS: &str = "rows";

/// What the arena in rows is called, by the schedules that the runs have.
fn rows_label(sweep: &Sweep) -> String {
    let mut all: Vec<String> = Vec::new();
    for schedule in sweep.rows.iter().filter_map(|row| row.schedule.as_ref()) {
        let words = match schedule.ram.parse::<u64>() {
            Ok(bytes) => format!("within {}", units::bytes(bytes as f64)),
            Err(_) => schedule.ram.clone(),
        };
        if !all.contains(&words) {
            all.push(words);
        }
    }
    format!("RAM: arena in rows, {} (Cortex-M)", all.join(" or "))
}

/// The costs of which some run has a value.
pub(super) fn figures(sweep: &Sweep) -> Vec<Figure> {
    let mut all = vec![
        Figure::new(sweep, ("macs", "Multiply-adds".to_owned()), (Unit::Count, Kind::Work), |row| {
            Some(row.model.inspect.as_ref()?.macs as f64)
        }),
        Figure::new(sweep, ("flash", "Flash: model file".to_owned()), (Unit::Bytes, Kind::Flash), |row| {
            Some(row.file_bytes as f64)
        }),
        Figure::new(
            sweep,
            ("ram", "RAM: arena, layer by layer (Cortex-M)".to_owned()),
            (Unit::Bytes, Kind::Ram),
            |row| Some(row.layers_bytes()? as f64),
        ),
        Figure::new(sweep, (ROWS, rows_label(sweep)), (Unit::Bytes, Kind::Ram), |row| {
            Some(row.schedule.as_ref()?.arena_bytes as f64)
        }),
        Figure::new(
            sweep,
            ("host", "Time on the host, 1 thread".to_owned()),
            (Unit::Milliseconds, Kind::Latency),
            |row| Some(row.model.bench.as_ref()?.median_ms),
        ),
    ];
    for board in sweep.boards() {
        let first = sweep.rows.iter().find_map(|row| row.board(board));
        let core = first.and_then(|board| board.core.clone()).unwrap_or_default();
        let counter = first.map_or("", |board| board.counter.as_str());
        let (unit, factor) =
            if counter == NANOSECONDS { (Unit::Milliseconds, 1e-6) } else { (Unit::Count, 1.0) };
        let what = match units::measure_of(counter) {
            "time" => "Time".to_owned(),
            counter => format!("Executed {counter}"),
        };
        let label = format!("{what}: {board} ({core})");
        all.push(Figure::new(sweep, (board, label), (unit, Kind::Latency), |row| {
            Some(row.board(board)?.total as f64 * factor)
        }));
    }
    all.retain(|figure| figure.values.iter().any(Option::is_some));
    all
}

/// For each point of cost and accuracy, whether no other one costs no more, is at least as accurate, and is better in one
/// of the two.
pub fn pareto(points: &[(f64, f64)]) -> Vec<bool> {
    let beats = |a: &(f64, f64), b: &(f64, f64)| a.0 <= b.0 && a.1 >= b.1 && a != b;
    points.iter().map(|point| !points.iter().any(|other| beats(other, point))).collect()
}

/// The headline of a sweep.
pub(super) fn title(sweep: &Sweep) -> String {
    format!("{} on {}: accuracy against cost", sweep.network, sweep.dataset.name)
}
