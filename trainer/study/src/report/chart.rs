//! Drawing: colours of models, axes, line charts and bars as inline SVG. Colours come from the page's style sheet
//! (classes `c0`, `c1`, …), so that one drawing serves the light scheme, the dark one and paper.

use maud::{Markup, html};

use super::table::is_dense;
use crate::schema::Report;

/// Colours of the style sheet after `c0`.
const PALETTE: usize = 6;

/// Class of the colour of each model: `c0`, the neutral one, is the first dense model's.
pub(super) fn colours(report: &Report) -> Vec<String> {
    let mut next = 0;
    let mut neutral_taken = false;
    let colour = |model| {
        if is_dense(model) && !neutral_taken {
            neutral_taken = true;
            return "c0".to_owned();
        }
        next += 1;
        format!("c{}", (next - 1) % PALETTE + 1)
    };
    report.models.iter().map(colour).collect()
}

/// One line of a chart.
pub(crate) struct Series {
    /// Class of its colour.
    pub colour: String,
    /// Drawn in dashes.
    pub dashed: bool,
    /// Points from left to right.
    pub points: Vec<Point>,
}

/// One point of a line.
pub(crate) struct Point {
    pub x: f64,
    pub y: f64,
    /// Drawn as a dot.
    pub marked: bool,
    /// Shown where the pointer rests on it.
    pub title: String,
}

/// A line chart over whole numbers (epochs).
pub(crate) struct LineChart<'a> {
    /// What it shows, for readers who do not see it.
    pub label: &'a str,
    /// Name of the horizontal axis.
    pub x_label: &'a str,
    /// Factor of the values as printed on the vertical axis, and the unit there.
    pub y_scale: (f64, &'a str),
    /// The lines.
    pub series: Vec<Series>,
}

/// Style sheet of charts: colours in light and dark, and lines.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// Drawing area: width, height, and the plot's left, top, right and bottom edges.
pub(crate) const SIZE: (f64, f64) = (460.0, 270.0);
const PLOT: [f64; 4] = [46.0, 12.0, 448.0, 228.0];

impl LineChart<'_> {
    /// The chart as SVG; nothing where there is no point.
    pub fn render(&self) -> Markup {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (Some(x_range), Some(y_range)) = (range(points().map(|p| p.x)), range(points().map(|p| p.y)))
        else {
            return html! {};
        };
        let x_ticks = ticks(x_range, 7, 1.0);
        let y_ticks = ticks(y_range, 5, 0.0);
        let y_range = (
            y_range.0.min(*y_ticks.first().unwrap_or(&y_range.0)),
            y_range.1.max(*y_ticks.last().unwrap_or(&y_range.1)),
        );
        let [left, top, right, bottom] = PLOT;
        let x =
            |value: f64| left + 8.0 + (value - x_range.0) / (x_range.1 - x_range.0) * (right - left - 16.0);
        let y = |value: f64| bottom - (value - y_range.0) / (y_range.1 - y_range.0) * (bottom - top);
        let (scale, unit) = self.y_scale;
        let decimals = decimals_of_step(&y_ticks, scale);
        html! {
            svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" aria-label=(self.label) {
                g.grid {
                    @for tick in &y_ticks {
                        line x1=(left) x2=(right) y1=(n(y(*tick))) y2=(n(y(*tick))) {}
                        text x=(left - 8.0) y=(n(y(*tick) + 4.0)) text-anchor="end" {
                            (format!("{:.decimals$}{unit}", tick * scale))
                        }
                    }
                    @for tick in &x_ticks {
                        line x1=(n(x(*tick))) x2=(n(x(*tick))) y1=(bottom) y2=(bottom + 5.0) {}
                        text x=(n(x(*tick))) y=(bottom + 20.0) text-anchor="middle" { (format!("{tick:.0}")) }
                    }
                    text x=(right) y=(bottom + 36.0) text-anchor="end" { (self.x_label) }
                }
                @for series in &self.series { (series.render(&x, &y)) }
            }
        }
    }
}

impl Series {
    fn render(&self, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> Markup {
        let path: Vec<_> = self.points.iter().map(|p| format!("{},{}", n(x(p.x)), n(y(p.y)))).collect();
        let spacing = match self.points.as_slice() {
            [first, .., last] => (x(last.x) - x(first.x)) / (self.points.len() - 1) as f64,
            _ => f64::INFINITY,
        };
        let radius = (spacing * 0.3).clamp(1.2, 3.4);
        let reach = (spacing * 0.5).clamp(3.0, 9.0);
        html! {
            g class={ "line " (self.colour) } {
                polyline.dashed[self.dashed] points=(path.join(" ")) {}
                @for point in &self.points {
                    @let (cx, cy) = (n(x(point.x)), n(y(point.y)));
                    @if point.marked || self.points.len() == 1 { circle.dot cx=(cx) cy=(cy) r=(n(radius)) {} }
                    circle.reach cx=(cx) cy=(cy) r=(n(reach)) { title { (point.title) } }
                }
            }
        }
    }
}

/// A bar of a table: one or more parts laid end to end, each a share of the full width, a class and a title.
pub(super) fn bar(colour: &str, parts: &[(f64, &str, String)]) -> Markup {
    let mut start = 0.0;
    html! {
        svg class={ "bar " (colour) } width="100%" height="8" aria-hidden="true" {
            @for (share, class, title) in parts {
                @let from = start;
                @let width = share.clamp(0.0, 1.0);
                @let () = start += width;
                @if width > 0.0 {
                    rect class=(class) x=(format!("{:.2}%", from * 100.0)) width=(format!("{:.2}%", width * 100.0))
                        height="100%" { title { (title) } }
                }
            }
        }
    }
}

/// A coordinate, to a hundredth.
pub(crate) fn n(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Smallest and largest finite value, a little apart where they are one.
pub(crate) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return None;
    }
    let apart = if low == high { low.abs().max(1.0) * 0.05 } else { 0.0 };
    // A share or a loss is never negative, nor is its axis.
    let least = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    Some(((low - apart).max(least), high + apart))
}

/// Round values (1, 2 or 5 times a power of ten apart, at least `least`) that cover the range with about `wanted`
/// steps. With `least` 0 they enclose the range, otherwise they lie inside it.
pub(crate) fn ticks((low, high): (f64, f64), wanted: usize, least: f64) -> Vec<f64> {
    let raw = (high - low) / wanted as f64;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= raw);
    let step = step.unwrap_or(10.0 * power).max(least);
    let (first, last) = if least > 0.0 {
        ((low / step).ceil(), (high / step).floor())
    } else {
        ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil())
    };
    (0..=(last - first).max(0.0) as usize).map(|i| (first + i as f64) * step).collect()
}

/// Decimals that tell neighbouring ticks apart.
pub(crate) fn decimals_of_step(ticks: &[f64], scale: f64) -> usize {
    let step = ticks.windows(2).next().map_or(1.0, |pair| (pair[1] - pair[0]) * scale);
    (0..6)
        .find(|d| (step * 10f64.powi(*d)).fract().min(1.0 - (step * 10f64.powi(*d)).fract()) < 1e-6)
        .unwrap_or(6) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_range() {
        let rounded = |ticks: Vec<f64>| ticks.iter().map(|t| (t * 1e6).round() / 1e6).collect::<Vec<_>>();
        assert_eq!(rounded(ticks((0.13, 0.92), 5, 0.0)), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(rounded(ticks((0.872, 0.913), 5, 0.0)), [0.87, 0.88, 0.89, 0.9, 0.91, 0.92]);
        assert_eq!(ticks((1.0, 12.0), 7, 1.0), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(ticks((1.0, 3.0), 7, 1.0), [1.0, 2.0, 3.0]);
        assert_eq!(decimals_of_step(&[0.87, 0.88], 100.0), 0);
        assert_eq!(decimals_of_step(&[0.0, 0.25], 1.0), 2);
    }

    #[test]
    fn a_line_that_stays_low_has_no_axis_below_zero() {
        let (low, high) = range([0.0208, 0.0208].into_iter()).unwrap();
        assert!(low == 0.0 && high > 0.0208);
        assert!(ticks((low, high), 5, 0.0).iter().all(|tick| *tick >= 0.0));
        assert_eq!(range([-1.0, -1.0].into_iter()).map(|(low, _)| low), Some(-1.05));
        assert_eq!(range([0.5, 0.7].into_iter()), Some((0.5, 0.7)));
    }

    #[test]
    fn a_chart_without_finite_points_is_empty() {
        let point = Point { x: 1.0, y: f64::NAN, marked: false, title: String::new() };
        let series = Series { colour: "c0".into(), dashed: false, points: vec![point] };
        let chart = LineChart { label: "", x_label: "", y_scale: (1.0, ""), series: vec![series] };
        assert_eq!(chart.render().into_string(), "");
    }

    #[test]
    fn a_single_point_lies_inside_the_plot() {
        let point = Point { x: 1.0, y: 0.5, marked: true, title: "epoch 1".into() };
        let series = Series { colour: "c1".into(), dashed: false, points: vec![point] };
        let chart = LineChart { label: "loss", x_label: "epoch", y_scale: (1.0, ""), series: vec![series] };
        let svg = chart.render().into_string();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let dot = document.descendants().find(|node| node.attribute("class") == Some("dot")).unwrap();
        let at = |name| dot.attribute(name).unwrap().parse::<f64>().unwrap();
        assert!(
            at("cx") > PLOT[0] && at("cx") < PLOT[2] && at("cy") > PLOT[1] && at("cy") < PLOT[3],
            "{svg}"
        );
    }
}
