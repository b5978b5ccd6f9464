//! Placed nodes and edges as SVG.

use std::fmt::Write;

use super::place::{Placed, Way};
use super::{Kind, Node, count};

/// Width and height of a node, and the gaps between columns and rows.
const NODE: (f64, f64) = (268.0, 46.0);
const GAP: (f64, f64) = (28.0, 22.0);
/// Space around all, and of the title.
const MARGIN: f64 = 24.0;
const TITLE: f64 = 56.0;
/// Width of a lane of edges.
const LANE: f64 = 14.0;
/// Most characters of a name and of what a layer does, beside the figures on the right.
const NAME: usize = 21;
const ABOUT: usize = 27;

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2430}\
.title{font-size:18px;font-weight:600}.sub{font-size:12px;fill:#5b6475}\
.name{font-weight:600}.small{font-size:11px;fill:#5b6475}.end{text-anchor:end}.rank{fill:#9a3d00;font-weight:600}\
.edge{fill:none;stroke:#8b94a6;stroke-width:1.4}.head{fill:#8b94a6}\
.node{stroke-width:1}.bar{opacity:.85}.saved{opacity:.25}\
.input{fill:#f3f4f7;stroke:#b9c0cd}.conv{fill:#e8f0fe;stroke:#7fa4e8}.depthwise{fill:#e2f5f1;stroke:#5fb8a5}\
.linear{fill:#f1eafc;stroke:#a98ae0}.pool{fill:#fdf3de;stroke:#d9b054}.other{fill:#f3f4f7;stroke:#b9c0cd}\
.conv-bar{fill:#3f74d6}.depthwise-bar{fill:#23917a}.linear-bar{fill:#7a4fc9}";

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::Conv => "conv",
            Kind::Depthwise => "depthwise",
            Kind::Linear => "linear",
            Kind::Pool => "pool",
            Kind::Other => "other",
        }
    }
}

/// Left and top of a node.
fn corner((row, column): (usize, usize)) -> (f64, f64) {
    (MARGIN + column as f64 * (NODE.0 + GAP.0), TITLE + MARGIN + row as f64 * (NODE.1 + GAP.1))
}

/// Where the first lane to the right of so many columns is.
fn right_of(columns: usize) -> f64 {
    MARGIN + columns as f64 * (NODE.0 + GAP.0) - GAP.0 + 2.0 * LANE
}

/// The picture, with a title and a line below it.
pub(super) fn render(title: &str, about: &str, nodes: &[Node], placed: &Placed) -> String {
    let width = (right_of(placed.columns) + placed.lanes as f64 * LANE + MARGIN).max(2.0 * MARGIN + 420.0);
    let height = TITLE + 2.0 * MARGIN + placed.rows as f64 * (NODE.1 + GAP.1) - GAP.1;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"38\">{}</text>\n<text class=\"sub\" x=\"{MARGIN}\" y=\"58\">{}</text>\n",
        escaped(title),
        escaped(about)
    );
    for &(upper, lower, way) in &placed.edges {
        edge(&mut svg, placed.places[upper], placed.places[lower], way);
    }
    let most = nodes.iter().map(|node| node.macs_dense).max().unwrap_or(0);
    for (node, &place) in nodes.iter().zip(&placed.places) {
        draw_node(&mut svg, node, corner(place), most);
    }
    svg + "</svg>\n"
}

fn edge(svg: &mut String, from: (usize, usize), to: (usize, usize), way: Way) {
    let ((left, top), (to_left, to_top)) = (corner(from), corner(to));
    let (x, y) = (left + NODE.0 / 2.0, top + NODE.1);
    let (to_x, to_y) = (to_left + NODE.0 / 2.0, to_top - 5.0);
    let curve = |x: f64, y: f64, to_x: f64, to_y: f64| {
        let middle = (y + to_y) / 2.0;
        format!("M{x} {y}C{x} {middle} {to_x} {middle} {to_x} {to_y}")
    };
    let path = match way {
        Way::Above => {
            let turn = to_top - GAP.1;
            format!("M{x} {y}L{x} {turn}{}", curve(x, turn, to_x, to_y))
        }
        Way::Below => {
            let turn = y + GAP.1;
            format!("{}L{to_x} {to_y}", curve(x, y, to_x, turn))
        }
        Way::Lane { lane, columns } => {
            let lane = right_of(columns) + lane as f64 * LANE;
            let (x, y, to_x) = (left + NODE.0, top + NODE.1 * 0.75, to_left + NODE.0 + 5.0);
            let to_y = to_top + NODE.1 * 0.25;
            let (down, up) = (y + LANE, to_y - LANE);
            let _ = writeln!(
                svg,
                "<path class=\"edge\" d=\"M{x} {y}H{}Q{lane} {y} {lane} {down}V{up}Q{lane} {to_y} {} {to_y}H{to_x}\"/>\
                 <path class=\"head\" d=\"M{} {to_y}l7 -4v8z\"/>",
                lane - LANE,
                lane - LANE,
                to_x - 5.0
            );
            return;
        }
    };
    let _ = writeln!(
        svg,
        "<path class=\"edge\" d=\"{path}\"/><path class=\"head\" d=\"M{to_x} {to_top}l-4 -7h8z\"/>"
    );
}

fn draw_node(svg: &mut String, node: &Node, (left, top): (f64, f64), most: u64) {
    let class = node.kind.class();
    let (width, height) = NODE;
    let _ = writeln!(
        svg,
        "<g><title>{}</title><rect class=\"node {class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"7\"/>",
        escaped(&node.name)
    );
    let mut line = |class: &str, x: f64, y: f64, text: &str| {
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
    };
    line("name", left + 10.0, top + 18.0, &short(&node.name, NAME));
    line("end", left + width - 10.0, top + 18.0, &node.shape.to_string());
    match node.rank {
        Some([rank, of]) => {
            let about = node.about.split(" + ").next().unwrap_or_default();
            line(
                "small rank",
                left + 10.0,
                top + 34.0,
                &format!("{} · rank {rank} of {of}", short(about, 20)),
            );
        }
        None => line("small", left + 10.0, top + 34.0, &short(&node.about, ABOUT)),
    }
    if node.macs > 0 {
        line("small end", left + width - 10.0, top + 34.0, &format!("{} MACs", count(node.macs)));
        let share = |macs: u64| (width - 20.0) * macs as f64 / most.max(1) as f64;
        for (extra, macs) in [(" saved", node.macs_dense), ("", node.macs)] {
            let _ = writeln!(
                svg,
                "<rect class=\"bar {class}-bar{extra}\" x=\"{}\" y=\"{}\" width=\"{:.1}\" height=\"3\" rx=\"1.5\"/>",
                left + 10.0,
                top + height - 6.0,
                share(macs).max(1.0)
            );
        }
    }
    svg.push_str("</g>\n");
}

/// A text that is not longer than `most` characters; the middle is left out of a longer one.
fn short(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(most / 2).collect();
    let tail: String = text.chars().skip(count - (most - most / 2 - 1)).collect();
    format!("{head}…{tail}")
}

/// A text as XML holds it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
