//! The section on layers: for each low-rank model, what each layer costs against the dense layer that it replaces.

use std::collections::HashMap;

use lrpet_report::visible;
use maud::{Markup, html};

use super::accuracy::short;
use super::chart::bar;
use super::table::{baseline, bench_like, is_dense, on_board, reference};
use super::units;
use crate::schema::{Bench, LayerCost, Model, Report};

/// The section; `colours` has the class of each model's colour.
pub(super) fn section(report: &Report, colours: &[String]) -> Markup {
    let has_layers =
        |model: &&Model| model.inspect.as_ref().is_some_and(|inspect| !inspect.layers.is_empty());
    let any_low_rank = report.models.iter().filter(has_layers).any(|model| !is_dense(model));
    let shown: Vec<_> = report
        .models
        .iter()
        .zip(colours)
        .filter(|(model, _)| has_layers(model) && !(any_low_rank && is_dense(model)))
        .collect();
    html! {
        section #layers {
            h2 { "Layer by layer" }
            @if shown.is_empty() {
                p.absent { "No figures by layer: no model of this report has an `inspect` part with layers." }
            }
            @for (index, (model, colour)) in shown.iter().enumerate() {
                @let breakdown = Breakdown::of(report, model);
                @if shown.len() == 1 {
                    (breakdown.render(colour))
                } @else {
                    details open=[(index == 0).then_some("open")] {
                        summary title=(visible(&model.name)) { span class={ "swatch " (colour) } {} (short(&model.name)) }
                        (breakdown.render(colour))
                    }
                }
            }
        }
    }
}

/// All layers of a model, and the measures taken of them.
struct Breakdown<'a> {
    model: &'a str,
    dense: &'a str,
    rows: Vec<(&'a str, Option<&'a LayerCost>)>,
    measures: Vec<Measure>,
}

/// One measure of all layers: own and dense values in the order of the rows, then of the whole network.
struct Measure {
    name: String,
    detail: String,
    unit: Format,
    exact: Format,
    values: Vec<(Option<f64>, Option<f64>)>,
    total: (Option<f64>, Option<f64>),
}

/// How a number is printed.
type Format = fn(f64) -> String;

/// Layers without weights share names, so a layer's key is its name and how often that name came before.
type Key<'a> = (&'a str, usize);

fn keyed<'a, T>(layers: &'a [T], name: fn(&T) -> &str) -> Vec<(Key<'a>, &'a T)> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let key = |layer| {
        let count = seen.entry(name(layer)).or_default();
        *count += 1;
        ((name(layer), *count - 1), layer)
    };
    layers.iter().map(key).collect()
}

impl<'a> Breakdown<'a> {
    fn of(report: &'a Report, model: &'a Model) -> Breakdown<'a> {
        let dense = baseline(report, model);
        let costs = model.inspect.as_ref().map_or(&[][..], |inspect| &inspect.layers);
        let costs = keyed(costs, |layer| &layer.name);
        let mut keys: Vec<Key> = costs.iter().map(|(key, _)| *key).collect();
        let measured = model
            .boards
            .iter()
            .flat_map(|board| keyed(&board.layers, |layer| &layer.name))
            .map(|(key, _)| key);
        let timed =
            model.benches().flat_map(|bench| keyed(&bench.layers, |layer| &layer.name)).map(|(key, _)| key);
        for key in measured.chain(timed) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let costs: HashMap<Key, &LayerCost> = costs.into_iter().collect();
        let mut breakdown = Breakdown {
            model: &model.name,
            dense: reference(dense),
            rows: keys.iter().map(|key| (key.0, costs.get(key).copied())).collect(),
            measures: Vec::new(),
        };
        breakdown.add_costs(model);
        breakdown.add_boards(model, dense, &keys);
        for bench in model.benches().filter(|bench| !bench.layers.is_empty()) {
            let reference = dense.and_then(|dense| bench_like(report, model, bench, dense));
            breakdown.add_bench(bench, reference, &keys);
        }
        breakdown
    }

    fn add_costs(&mut self, model: &Model) {
        let Some(inspect) = &model.inspect else { return };
        let macs = self.cost("Multiply-adds", "MACs", units::count, |l| (l.macs, l.macs_dense));
        let weights = self.cost("Weights", "bytes", units::bytes, |l| (l.weight_bytes, l.weight_bytes_dense));
        self.measures.push(Measure { total: both((inspect.macs, inspect.macs_dense)), ..macs });
        self.measures
            .push(Measure { total: both((inspect.weight_bytes, inspect.weight_bytes_dense)), ..weights });
    }

    /// A cost of each layer; the total is left to the caller.
    fn cost(&self, name: &str, detail: &str, unit: Format, of: fn(&LayerCost) -> (u64, u64)) -> Measure {
        let value = |(_, cost): &(&str, Option<&LayerCost>)| cost.map_or((None, None), |cost| both(of(cost)));
        Measure {
            name: name.to_owned(),
            detail: detail.to_owned(),
            unit,
            exact: units::grouped,
            values: self.rows.iter().map(value).collect(),
            total: (None, None),
        }
    }

    fn add_boards(&mut self, model: &'a Model, dense: Option<&'a Model>, keys: &[Key]) {
        for board in model.boards.iter().filter(|board| !board.layers.is_empty()) {
            let reference = dense.and_then(|dense| on_board(dense, (&board.board, &board.counter)));
            let ticks = |layers: &'a [crate::schema::LayerTicks]| -> HashMap<Key<'a>, f64> {
                keyed(layers, |l| &l.name).into_iter().map(|(key, layer)| (key, layer.ticks as f64)).collect()
            };
            let own = ticks(&board.layers);
            let other = reference.map(|board| ticks(&board.layers)).unwrap_or_default();
            let time = units::measure_of(&board.counter) == "time";
            let unit: (Format, Format) = if time {
                (|ns| units::milliseconds(ns / 1e6), |ns| format!("{} ns", units::grouped(ns)))
            } else {
                (units::count, units::grouped)
            };
            self.measures.push(Measure {
                name: capitalised(units::measure_of(&board.counter)),
                detail: board.board.clone(),
                unit: unit.0,
                exact: unit.1,
                values: keys.iter().map(|key| (own.get(key).copied(), other.get(key).copied())).collect(),
                total: (Some(board.total as f64), reference.map(|board| board.total as f64)),
            });
        }
    }

    fn add_bench(&mut self, bench: &'a Bench, reference: Option<&'a Bench>, keys: &[Key]) {
        let times = |layers: &'a [crate::schema::LayerTime]| -> HashMap<Key<'a>, f64> {
            keyed(layers, |l| &l.name).into_iter().map(|(key, layer)| (key, layer.median_ms)).collect()
        };
        let own = times(&bench.layers);
        let other = reference.map(|bench| times(&bench.layers)).unwrap_or_default();
        self.measures.push(Measure {
            name: "Host time".to_owned(),
            detail: bench.detail(),
            unit: units::milliseconds,
            exact: |ms| format!("{ms} ms"),
            values: keys.iter().map(|key| (own.get(key).copied(), other.get(key).copied())).collect(),
            total: (Some(bench.median_ms), reference.map(|bench| bench.median_ms)),
        });
    }

    fn render(&self, colour: &str) -> Markup {
        html! {
            ul.legend {
                li { span class={ "swatch bar-key " (colour) } {} (short(self.model)) ", as stored" }
                li { span class="swatch bar-key dense" {} (short(self.dense)) }
            }
            div.scroll {
                table.layers {
                    thead {
                        tr {
                            th { "Layer" }
                            th title="rank r of the stored pair, of m singular values" { "Rank" }
                            @for measure in &self.measures { th { (measure.name) " " small { (measure.detail) } } }
                        }
                    }
                    tbody {
                        @for (index, (name, cost)) in self.rows.iter().enumerate() {
                            tr {
                                th scope="row" title=(visible(name)) { (short(name)) small { (cost.map(describe).unwrap_or_default()) } }
                                td.rank { (rank(*cost)) }
                                @for measure in &self.measures { (measure.cell(name, measure.values[index], colour)) }
                            }
                        }
                    }
                    tfoot {
                        tr {
                            th scope="row" { "Whole network" }
                            td.rank {}
                            @for measure in &self.measures {
                                td data-label=(measure.label()) { (measure.figures(measure.total)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Own and dense value of a measure.
fn both((own, dense): (u64, u64)) -> (Option<f64>, Option<f64>) {
    (Some(own as f64), Some(dense as f64))
}

impl Measure {
    fn label(&self) -> String {
        format!("{} ({})", self.name, self.detail)
    }

    fn cell(&self, layer: &str, (own, dense): (Option<f64>, Option<f64>), colour: &str) -> Markup {
        let all = self.values.iter().flat_map(|(own, dense)| [*own, *dense]).flatten();
        let largest = all.fold(f64::MIN_POSITIVE, f64::max);
        let one = |value: f64, whose: &str| {
            let title = format!("{layer}, {}, {whose}: {}", self.label(), (self.exact)(value));
            vec![(value / largest, "s0", title)]
        };
        html! {
            td data-label=(self.label()) {
                @if own.is_some_and(|own| own > 0.0) || dense.is_some_and(|dense| dense > 0.0) {
                    (self.figures((own, dense)))
                    @if let Some(own) = own { (bar(colour, &one(own, "as stored"))) }
                    @if let Some(dense) = dense { (bar("dense", &one(dense, "dense"))) }
                } @else {
                    span.note { "–" }
                }
            }
        }
    }

    fn figures(&self, (own, dense): (Option<f64>, Option<f64>)) -> Markup {
        html! {
            span.figures {
                @if let Some(own) = own { b title=((self.exact)(own)) { ((self.unit)(own)) } }
                @if let Some(dense) = dense {
                    " " span.note title=((self.exact)(dense)) { "of " ((self.unit)(dense)) }
                }
            }
        }
    }
}

/// Kind and shapes: `pair 16×28×28 → 32×14×14`.
fn describe(cost: &LayerCost) -> String {
    let shape = |[c, h, w]: [u64; 3]| format!("{c}×{h}×{w}");
    let kind = cost.kind.clone().unwrap_or_default();
    match (cost.input, cost.output) {
        (Some(input), Some(output)) => format!("{kind} {} → {}", shape(input), shape(output)),
        _ => kind,
    }
}

fn rank(cost: Option<&LayerCost>) -> Markup {
    let Some(cost) = cost else { return html! {} };
    html! {
        @match (cost.rank, cost.max_rank) {
            (Some(rank), Some(max)) => { b { (rank) } span.note { " of " (max) } },
            (Some(rank), None) => b { (rank) },
            (None, Some(max)) if cost.macs > 0 => span.note { "dense, m = " (max) },
            (None, _) if cost.macs > 0 => span.note { "dense" },
            _ => {},
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
