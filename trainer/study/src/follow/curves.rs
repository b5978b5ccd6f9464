//! The run's curves as one SVG: losses, accuracies, learning rate, energy kept, speed.

use lrpet_train::EpochRecord;
use maud::{Markup, PreEscaped, html};

use crate::report::chart::{LineChart, Point, SIZE, STYLE, Series};

/// What this file adds to the style sheet of charts.
const TEXT_STYLE: &str = "
svg { font: 13px system-ui, -apple-system, \"Segoe UI\", Roboto, \"Noto Sans\", \"DejaVu Sans\", sans-serif; }
.page { fill: var(--page); } .title { fill: var(--ink); font-size: 20px; font-weight: 600; }
.name { fill: var(--ink); font-size: 15px; font-weight: 600; } .key { fill: var(--soft); }
.swatch { fill: var(--c); }
";

/// Panels beside one another.
const COLUMNS: usize = 2;
/// Room around and between the panels, above all of them, and above each.
const MARGIN: f64 = 28.0;
const TITLE: f64 = 48.0;
const HEAD: f64 = 46.0;

type Value = fn(&EpochRecord) -> Option<f64>;

/// One chart with its name, unit and lines.
struct Panel {
    name: &'static str,
    /// Factor and unit of the vertical axis.
    scale: (f64, &'static str),
    /// Names of the lines, and where their values are.
    lines: &'static [(&'static str, Value)],
}

const PANELS: [Panel; 6] = [
    Panel {
        name: "Loss (cross-entropy, nats)",
        scale: (1.0, ""),
        lines: &[("training", |e| Some(e.train_loss)), ("validation", |e| Some(e.validation?.loss))],
    },
    Panel {
        name: "Top-1 accuracy (%)",
        scale: (100.0, " %"),
        lines: &[("training", |e| Some(e.train_accuracy)), ("validation", |e| Some(e.validation?.accuracy))],
    },
    Panel {
        name: "Learning rate (end of the epoch)",
        scale: (1.0, ""),
        lines: &[("learning rate", |e| Some(e.rate))],
    },
    Panel {
        name: "Energy kept by the epoch's last projection (%)",
        scale: (100.0, " %"),
        lines: &[
            ("mean of the layers", |e| Some(e.projection.as_ref()?.energy_kept)),
            ("least of the layers", |e| e.projection.as_ref()?.layers.values().copied().reduce(f64::min)),
        ],
    },
    Panel {
        name: "Speed of training (images/s)",
        scale: (1.0, ""),
        lines: &[("images/s", |e| Some(e.images_per_second))],
    },
    Panel {
        name: "Share of the epoch's time (%)",
        scale: (100.0, " %"),
        lines: &[
            ("projection", EpochRecord::projection_share),
            ("waiting for images", |e| Some(e.waiting_share())),
        ],
    },
];

impl Panel {
    /// Lines that have values, with the class of their colour.
    fn lines(&self, history: &[EpochRecord]) -> Vec<(&'static str, Series)> {
        let series = |(index, (name, value)): (usize, &(&'static str, Value))| {
            let point = |record: &EpochRecord| {
                let y = value(record).filter(|y| y.is_finite())?;
                let (factor, unit) = self.scale;
                let title = format!("epoch {}: {name} {}{unit}", record.epoch, significant(y * factor));
                Some(Point { x: record.epoch as f64, y, marked: history.len() == 1, title })
            };
            let points: Vec<Point> = history.iter().filter_map(point).collect();
            let colour = format!("c{}", index + 1);
            (!points.is_empty()).then_some((*name, Series { colour, dashed: false, points }))
        };
        self.lines.iter().enumerate().filter_map(series).collect()
    }

    /// The panel with its head, at the origin.
    fn render(&self, lines: Vec<(&'static str, Series)>) -> Markup {
        let keys: Vec<(&str, String)> =
            lines.iter().map(|(name, line)| (*name, line.colour.clone())).collect();
        let series = lines.into_iter().map(|(_, series)| series).collect();
        let chart = LineChart { label: self.name, x_label: "epoch", y_scale: self.scale, series };
        let mut at = 0.0;
        html! {
            text.name x="0" y="14" { (self.name) }
            @for (name, colour) in &keys {
                @let x = at;
                @let () = at += 30.0 + 7.2 * name.chars().count() as f64;
                rect class={ "swatch " (colour) } x=(x) y="29" width="14" height="3" rx="1.5" {}
                text.key x=(x + 20.0) y="35" { (name) }
            }
            svg y=(HEAD) width=(SIZE.0) height=(SIZE.1) { (chart.render()) }
        }
    }
}

/// The curves of `history` under `title`; a picture of its own, in light and dark. Panels without a value are left out.
pub fn svg(title: &str, history: &[EpochRecord]) -> String {
    let panels: Vec<_> = PANELS
        .iter()
        .map(|panel| (panel, panel.lines(history)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    let step = (SIZE.0 + MARGIN, SIZE.1 + HEAD + MARGIN);
    let width = MARGIN + COLUMNS as f64 * step.0;
    let height = MARGIN + TITLE + panels.len().div_ceil(COLUMNS) as f64 * step.1;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height)
            role="img" aria-label=(title) {
            title { (title) }
            style { (PreEscaped(STYLE)) (PreEscaped(TEXT_STYLE)) }
            rect.page width="100%" height="100%" {}
            text.title x=(MARGIN) y=(MARGIN + 20.0) { (title) }
            @for (index, (panel, lines)) in panels.into_iter().enumerate() {
                @let (column, row) = ((index % COLUMNS) as f64, (index / COLUMNS) as f64);
                g transform=(format!("translate({} {})", MARGIN + column * step.0, MARGIN + TITLE + row * step.1)) {
                    (panel.render(lines))
                }
            }
        }
    };
    picture.into_string()
}

/// Four significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (3 - value.abs().log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}
