//! Ranks, spectra with the cuts drawn, and the energy that is kept.

use lrpet_report::units;
use maud::{Markup, html};

use crate::report::chart::n;
use crate::schema::sweep::{Row, RowLayer, Sweep};

/// Width and height of a spectrum, and left, top, right and bottom of its plot.
const SIZE: (f64, f64) = (230.0, 120.0);
const PLOT: [f64; 4] = [4.0, 6.0, 226.0, 98.0];

/// Share of the energy of a spectrum in its first `rank` values.
fn energy_kept(values: &[f64], rank: u64) -> f64 {
    let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let total = energy(values);
    let kept = values.get(..(rank as usize).min(values.len())).map_or(0.0, energy);
    if total > 0.0 { kept / total } else { 1.0 }
}

/// The section.
pub(super) fn section(sweep: &Sweep) -> Markup {
    let dense = sweep.rows.iter().find(|row| row.prune == 0.0);
    let Some(first) = dense.or(sweep.rows.first()) else { return html! {} };
    html! {
        section #layers {
            h2 { "Ranks and spectra" }
            p.note {
                @if dense.is_some() {
                    "Singular values of the dense network's weights with batch normalisation merged, as shares of the largest;
                    the cut of each run is drawn at its rank. Energy kept is what such a cut leaves of these weights. A training
                    with projections moves its energy into the values that stay: what its own last projection kept stands below it."
                } @else {
                    "There is no dense run, so the spectra are those of the first one."
                }
            }
            div.spectra {
                @for layer in &first.layers { (spectrum(sweep, layer)) }
            }
            div.scroll {
                table.plain {
                    thead {
                        tr {
                            th { "layer" }
                            th { "singular values" }
                            @for (index, row) in sweep.rows.iter().enumerate() { th data-row=(index) { (row.run) } }
                        }
                    }
                    tbody {
                        @for layer in &first.layers {
                            tr {
                                th scope="row" { (layer.name) }
                                td { (layer.singular_values.len()) }
                                @for (index, row) in sweep.rows.iter().enumerate() {
                                    td data-row=(index) { (cell(row, layer)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(row: &Row, layer: &RowLayer) -> Markup {
    let Some(own) = row.layers.iter().find(|own| own.name == layer.name) else { return html! { "–" } };
    let Some(rank) = own.rank else { return html! { span.note { "dense" } } };
    html! {
        (rank) " " span.note { "(" (units::percent_short(energy_kept(&layer.singular_values, rank))) ")" }
        @if let Some(kept) = own.energy_kept {
            small.note title="share of energy that the last projection of the training kept" { (format!("{:.2} %", kept * 100.0)) }
        }
    }
}

/// The spectrum of a layer as bars, and a line where each run cuts it.
fn spectrum(sweep: &Sweep, layer: &RowLayer) -> Markup {
    let [left, top, right, bottom] = PLOT;
    let count = layer.singular_values.len().max(1) as f64;
    let width = (right - left) / count;
    let y = |value: f64| bottom - value.clamp(0.0, 1.0) * (bottom - top);
    let cuts = sweep.rows.iter().enumerate().filter_map(|(index, row)| {
        let rank = row.layers.iter().find(|own| own.name == layer.name)?.rank?;
        Some((index, row, rank))
    });
    html! {
        figure {
            figcaption { (layer.name) }
            svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img"
                aria-label=(format!("singular values of {}", layer.name)) {
                g.values {
                    @for (index, value) in layer.singular_values.iter().enumerate() {
                        rect x=(n(left + index as f64 * width + width * 0.1)) y=(n(y(*value))) width=(n(width * 0.8))
                            height=(n(bottom - y(*value))) { title { (format!("{}: {value:.4}", index + 1)) } }
                    }
                }
                @for (index, row, rank) in cuts {
                    @let x = left + rank as f64 * width;
                    g.cut data-row=(index) {
                        line x1=(n(x)) x2=(n(x)) y1=(top) y2=(bottom) {}
                        text x=(n(x)) y=(bottom + 14.0) text-anchor="middle" { (rank) }
                        line.reach x1=(n(x)) x2=(n(x)) y1=(top) y2=(bottom) {
                            title {
                                (row.run) ": rank " (rank) ", "
                                (units::percent(energy_kept(&layer.singular_values, rank))) " of the energy"
                            }
                        }
                    }
                }
            }
        }
    }
}
