//! Accuracy against a cost: points, the Pareto front through them, and the dense network as a reference.

use lrpet_report::units;
use maud::{Markup, PreEscaped, html};

use super::figures::{Figure, figures, pareto};
use crate::report::chart::{STYLE, decimals_of_step, n, range, ticks};
use crate::schema::sweep::Sweep;

/// Width and height of a chart, and left, top, right and bottom of its plot.
const SIZE: (f64, f64) = (460.0, 270.0);
const PLOT: [f64; 4] = [52.0, 14.0, 446.0, 226.0];

/// Width and height that a name takes.
const NAME: (f64, f64) = (36.0, 13.0);

/// Style sheet of scatter charts, for the page and for the picture.
pub(super) const POINTS: &str = include_str!("points.css");

/// What the picture adds.
const PICTURE: &str = "
svg { font: 13px system-ui, -apple-system, \"Segoe UI\", Roboto, \"Noto Sans\", \"DejaVu Sans\", sans-serif; }
.page { fill: var(--page); } .title { fill: var(--ink); font-size: 20px; font-weight: 600; }
.name { fill: var(--ink); font-size: 15px; font-weight: 600; } .key { fill: var(--soft); }
";

/// Charts beside one another in the picture, room around them, and heads.
const COLUMNS: usize = 2;
const MARGIN: f64 = 28.0;
const TITLE: f64 = 72.0;
const HEAD: f64 = 26.0;

/// One run in a chart.
struct Point<'a> {
    row: usize,
    name: &'a str,
    dense: bool,
    x: f64,
    y: f64,
    title: String,
    front: bool,
}

fn points<'a>(sweep: &'a Sweep, figure: &Figure) -> Vec<Point<'a>> {
    let known = sweep.rows.iter().zip(&figure.values).enumerate();
    let known: Vec<_> =
        known.filter_map(|(index, (row, value))| Some((index, row, (*value)?, row.accuracy()?))).collect();
    let front = pareto(&known.iter().map(|(.., x, y)| (*x, *y)).collect::<Vec<_>>());
    let point = |((row, of, x, y), front): ((usize, &'a crate::schema::sweep::Row, f64, f64), bool)| Point {
        row,
        name: &of.run,
        dense: of.prune == 0.0,
        x,
        y,
        title: format!("{}: {}, {}", of.run, units::percent(y), figure.unit.text(x)),
        front,
    };
    known.into_iter().zip(front).map(point).collect()
}

/// The chart as SVG; nothing where no run has both values.
pub(super) fn chart(sweep: &Sweep, figure: &Figure) -> Markup {
    let points = points(sweep, figure);
    let (Some(x_range), Some(y_range)) =
        (range(points.iter().map(|point| point.x)), range(points.iter().map(|point| point.y)))
    else {
        return html! {};
    };
    // No axis goes past 100 %, and one of equal points keeps some room.
    let y_high = y_range.1.min(1.0);
    let y_range = (y_range.0.min(y_high - 0.01), y_high);
    let (factor, unit) = figure.unit.axis(x_range.1);
    let x_ticks = ticks((0.0, x_range.1 * factor), 6, 0.0);
    let y_ticks = ticks((y_range.0 * 100.0, y_range.1 * 100.0), 5, 0.0);
    let ends = |ticks: &[f64]| (ticks[0], ticks[ticks.len() - 1].max(ticks[0] + f64::MIN_POSITIVE));
    let ((x_low, x_high), (y_low, y_high)) = (ends(&x_ticks), ends(&y_ticks));
    let [left, top, right, bottom] = PLOT;
    let x = |value: f64| left + (value - x_low) / (x_high - x_low) * (right - left);
    let y = |value: f64| bottom - (value - y_low) / (y_high - y_low) * (bottom - top);
    let at = |point: &Point| (x(point.x * factor), y(point.y * 100.0));
    let mut front: Vec<&Point> = points.iter().filter(|point| point.front).collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x));
    let path: Vec<String> =
        front.iter().map(|point| at(point)).map(|(x, y)| format!("{},{}", n(x), n(y))).collect();
    let dense = points.iter().find(|point| point.dense).map(|point| y(point.y * 100.0));
    let (x_decimals, y_decimals) = (decimals_of_step(&x_ticks, 1.0), decimals_of_step(&y_ticks, 1.0));
    let labels = labels(points.iter().map(|point| (at(point), point)));
    html! {
        svg.scatter viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img"
            aria-label=(format!("accuracy against {}", figure.label)) data-figure=(figure.key) {
            g.grid {
                @for tick in &y_ticks {
                    line x1=(left) x2=(right) y1=(n(y(*tick))) y2=(n(y(*tick))) {}
                    text x=(left - 8.0) y=(n(y(*tick) + 4.0)) text-anchor="end" { (format!("{tick:.y_decimals$} %")) }
                }
                @for tick in &x_ticks {
                    line x1=(n(x(*tick))) x2=(n(x(*tick))) y1=(bottom) y2=(bottom + 5.0) {}
                    text x=(n(x(*tick))) y=(bottom + 20.0) text-anchor="middle" { (format!("{tick:.x_decimals$}")) }
                }
                text x=(right) y=(bottom + 38.0) text-anchor="end" { (unit) }
            }
            @if let Some(y) = dense { line.reference x1=(left) x2=(right) y1=(n(y)) y2=(n(y)) {} }
            @if path.len() > 1 { polyline.front points=(path.join(" ")) {} }
            @for (point, label) in points.iter().zip(&labels) {
                @let (x, y) = at(point);
                g.point.dense[point.dense].best[point.front] data-row=(point.row) {
                    circle cx=(n(x)) cy=(n(y)) r="5" {}
                    text x=(n(label.0)) y=(n(label.1)) text-anchor=(label.2) { (point.name) }
                    circle.reach cx=(n(x)) cy=(n(y)) r="13" { title { (point.title) } }
                }
            }
        }
    }
}

/// Place and anchor of the name of each point, beside the line, which rises to the right: above and to the left of a point on the
/// front, else to the right (that of the dense run above its dashes), or below where there is no room; farther away where another name is.
fn labels<'a>(points: impl Iterator<Item = ((f64, f64), &'a Point<'a>)>) -> Vec<(f64, f64, &'static str)> {
    let mut placed: Vec<(f64, f64, f64, &'static str)> = Vec::new();
    for ((x, y), point) in points {
        let above = point.front && x - 9.0 - NAME.0 > PLOT[0];
        let end = above || x + 9.0 + NAME.0 > PLOT[2];
        let (x, first, anchor) =
            if end { (x - 9.0, x - 9.0 - NAME.0, "end") } else { (x + 9.0, x + 9.0, "start") };
        let (mut y, step) = if above || (point.dense && !end) {
            (y - 7.0, -NAME.1)
        } else if end || point.front {
            (y + 16.0, NAME.1)
        } else {
            (y + 4.0, NAME.1)
        };
        while placed
            .iter()
            .any(|other| (other.0 - first).abs() < NAME.0 && (other.2 - y).abs() < NAME.1 - 1.0)
        {
            y += step;
        }
        placed.push((first, x, y, anchor));
    }
    placed.into_iter().map(|(_, x, y, anchor)| (x, y, anchor)).collect()
}

/// All charts of the sweep as one picture of its own, in light and dark.
pub fn svg(sweep: &Sweep) -> String {
    picture(sweep, &[STYLE, POINTS, PICTURE].concat())
}

/// The picture with this style sheet.
pub(super) fn picture(sweep: &Sweep, style: &str) -> String {
    let figures: Vec<Figure> = figures(sweep);
    let step = (SIZE.0 + MARGIN, SIZE.1 + HEAD + MARGIN);
    let width = MARGIN + COLUMNS as f64 * step.0;
    let height = MARGIN + TITLE + figures.len().div_ceil(COLUMNS) as f64 * step.1;
    let title = super::figures::title(sweep);
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height)
            role="img" aria-label=(title) {
            title { (title) }
            style { (PreEscaped(style)) }
            rect.page width="100%" height="100%" {}
            text.title x=(MARGIN) y=(MARGIN + 20.0) { (title) }
            text.key x=(MARGIN) y=(MARGIN + 44.0) {
                "Top-1 accuracy against cost. Line: no other run is cheaper and more accurate. Dashes: dense."
            }
            @for (index, figure) in figures.iter().enumerate() {
                @let (column, row) = ((index % COLUMNS) as f64, (index / COLUMNS) as f64);
                g transform=(format!("translate({} {})", MARGIN + column * step.0, MARGIN + TITLE + row * step.1)) {
                    text.name x="0" y="14" { (figure.label) }
                    svg y=(HEAD) width=(SIZE.0) height=(SIZE.1) { (chart(sweep, figure)) }
                }
            }
        }
    };
    picture.into_string()
}
