//! An inference in its memory: which rows of each value there are and when, where they lie, and what less memory costs.

use std::fmt::Write;

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Program, cost::stored};
use lrpet_runtime::plan::{Choice, Plan, PlanError, Trace, trace};

use super::svg::escaped;

/// Where time begins and how wide it is; the whole width.
const LEFT: f64 = 250.0;
const TIME: f64 = 780.0;
const WIDTH: f64 = LEFT + TIME + 30.0;
/// Height of a value's lane and from one to the next; of the arena; of the curve.
const LANE: f64 = 20.0;
const STEP: f64 = 25.0;
const ARENA: f64 = 300.0;
const CURVE: f64 = 200.0;
/// From one picture to the next, its heading included.
const GAP: f64 = 66.0;

const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2430}\
.title{font-size:18px;font-weight:600}.head{font-size:14px;font-weight:600}.sub{fill:#5b6475}\
.small{font-size:10.5px;fill:#5b6475}.label{font-size:10.5px}.end{text-anchor:end}.middle{text-anchor:middle}\
.map{fill:#f0f2f6}.frame{fill:none;stroke:#b9c0cd}.axis{stroke:#b9c0cd}.scratch{fill:#c9ced8}\
.curve{fill:none;stroke:#3f74d6;stroke-width:2}.point{fill:#3f74d6}.chosen{fill:#c8421b}";

/// Draws an inference of `program` on `isa` as its schedule says, beside the `choices` that there are. `title` names the model.
///
/// # Errors
/// As [`Plan::new`].
pub fn draw_rows<'a>(
    title: &str,
    program: &Program<'a>,
    isa: Isa,
    choices: &[Choice],
) -> Result<String, PlanError<'a>> {
    let (plan, trace) = (Plan::new(program, isa)?, trace(program, isa)?);
    let picture = Picture { program, plan, times: times(program, &trace), trace };
    let values = program.len();
    let lanes = values as f64 * STEP;
    let height = 90.0 + lanes + GAP + ARENA + GAP + CURVE + 60.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"20\" y=\"30\">{}</text>\n\
         <text class=\"sub\" x=\"20\" y=\"50\">one inference on {} in {} bytes, layer by layer {}; from left to right, time counted in multiply-adds</text>\n",
        escaped(title),
        isa.name(),
        plan.arena_bytes,
        choices.first().map_or(plan.arena_bytes, |layers| layers.plan.arena_bytes)
    );
    picture.lanes(&mut svg, 90.0);
    picture.arena(&mut svg, 90.0 + lanes + GAP);
    curve(&mut svg, 90.0 + lanes + GAP + ARENA + GAP, choices, plan.arena_bytes);
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// When each turn begins, from 0 to 1, and 1 behind the last.
fn times(program: &Program<'_>, trace: &Trace) -> Vec<f64> {
    let layers: Vec<_> = program.layers().collect();
    let work = |layer: usize, rows: usize| {
        let layer = &layers[layer];
        let all = stored(&layer.op, layer.input).macs as f64;
        // What has no products takes time too.
        let least = layer.output.len() as f64;
        (all + least) * rows as f64 / f64::from(layer.output.height.max(1))
    };
    let turns = trace.turns.iter().map(|turn| turn.layer.map_or(0.0, |layer| work(layer, turn.rows.len())));
    let mut begins = vec![0.0f64];
    turns.for_each(|work| begins.push(begins.last().copied().unwrap_or(0.0) + work));
    let all = begins.last().copied().unwrap_or(1.0).max(1.0);
    begins.into_iter().map(|begin| begin / all).collect()
}

/// A colour of its own for each value.
fn colour(value: usize) -> String {
    format!("hsl({:.0},52%,{}%)", (value as f64 * 137.5) % 360.0, 58 + 8 * (value % 2))
}

struct Picture<'p, 'a> {
    program: &'p Program<'a>,
    plan: Plan,
    trace: Trace,
    times: Vec<f64>,
}

impl Picture<'_, '_> {
    fn x(&self, turn: usize) -> f64 {
        LEFT + TIME * self.times.get(turn).copied().unwrap_or(1.0)
    }

    /// Name, rows and bytes of a row of a value.
    fn value(&self, value: usize) -> (String, usize, usize) {
        let named = value.checked_sub(1).and_then(|index| self.program.layers().nth(index));
        let input = self.program.header().input;
        let (name, shape) =
            named.map_or(("image".to_owned(), input), |layer| (layer.op.name().to_owned(), layer.output));
        (name, shape.height as usize, shape.len() / (shape.height as usize).max(1) * 2)
    }

    /// A lane for each value: its map from the first row to the last, and the rows that are in memory.
    fn lanes(&self, svg: &mut String, top: f64) {
        let _ = writeln!(
            svg,
            "<text class=\"head\" x=\"20\" y=\"{:.1}\">Rows in memory</text><text class=\"small\" x=\"{LEFT}\" y=\"{:.1}\">each lane \
             is a whole map, first row above; coloured are the rows that are there</text>",
            top - 12.0,
            top - 12.0
        );
        for value in 0..self.program.len() {
            let Some(stay) = self.trace.stays.iter().find(|stay| stay.value == Some(value)) else { continue };
            let (name, height, row) = self.value(value);
            let y = top + value as f64 * STEP;
            let rows = (stay.bytes / row.max(1)).min(height);
            let name: String = name.chars().take(24).collect();
            let _ = writeln!(
                svg,
                "<text x=\"20\" y=\"{:.1}\">{}</text><text class=\"small end\" x=\"{:.1}\" y=\"{:.1}\">{rows} of {height} rows</text>\
                 <rect class=\"map\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{TIME}\" height=\"{LANE}\"/>",
                y + 14.0,
                escaped(&name),
                LEFT - 8.0,
                y + 14.0
            );
            let scale = LANE / height.max(1) as f64;
            let mut path = String::new();
            for (from, to, kept, made) in self.held(value, &stay.turns) {
                let (x, width) = (self.x(from), self.x(to) - self.x(from));
                let (begin, end) = (y + kept as f64 * scale, y + made as f64 * scale);
                let _ = write!(path, "M{x:.1} {begin:.1}h{width:.2}V{end:.1}h-{width:.2}z");
            }
            let _ = writeln!(svg, "<path fill=\"{}\" d=\"{path}\"/>", colour(value));
        }
    }

    /// From which turn to which the rows from one to before another of a value are there.
    fn held(&self, value: usize, stay: &std::ops::Range<usize>) -> Vec<(usize, usize, usize, usize)> {
        let makes = |turn: &usize| match value.checked_sub(1) {
            Some(layer) => self.trace.turns[*turn].layer == Some(layer),
            None => self.trace.turns[*turn].layer.is_none(),
        };
        let made: Vec<usize> = stay.clone().filter(makes).collect();
        if made.is_empty() {
            return vec![(stay.start, stay.end, 0, self.value(value).1)];
        }
        let height = self.value(value).1;
        let ends = made.iter().skip(1).copied().chain([stay.end]);
        let turn = |(at, end): (&usize, usize)| {
            let turn = &self.trace.turns[*at];
            // A mean has one row, of all those that it reads.
            (*at, end, turn.kept.min(height), turn.rows.end.min(height))
        };
        made.iter().zip(ends).map(turn).collect()
    }

    /// The arena over time.
    fn arena(&self, svg: &mut String, top: f64) {
        let plan = &self.plan;
        let scale = ARENA / plan.arena_bytes.max(1) as f64;
        let _ = writeln!(
            svg,
            "<text class=\"head\" x=\"20\" y=\"{:.1}\">The arena: {} bytes</text><text class=\"small\" x=\"{LEFT}\" y=\"{:.1}\">where \
             the values lie, in the colours of their lanes; grey: scratch, and the table of steps at the top</text>\
             <rect class=\"frame\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{TIME}\" height=\"{ARENA}\"/>\
             <rect class=\"scratch\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{TIME}\" height=\"{:.1}\"/>",
            top - 12.0,
            plan.arena_bytes,
            top - 12.0,
            plan.table_bytes as f64 * scale
        );
        let mut labelled = std::collections::BTreeSet::new();
        for stay in &self.trace.stays {
            let (x, width) = (self.x(stay.turns.start), self.x(stay.turns.end) - self.x(stay.turns.start));
            let (y, height) =
                (top + (plan.table_bytes + stay.offset) as f64 * scale, stay.bytes as f64 * scale);
            let fill = stay
                .value
                .map_or("class=\"scratch\"".to_owned(), |value| format!("fill=\"{}\"", colour(value)));
            let _ = writeln!(
                svg,
                "<rect {fill} stroke=\"#fff\" stroke-width=\".5\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
            );
            let Some(value) = stay.value.filter(|value| height > 11.0 && labelled.insert(*value)) else {
                continue;
            };
            let name = self.value(value).0;
            if width > 6.5 * name.len() as f64 {
                let _ = writeln!(
                    svg,
                    "<text class=\"label middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    x + width / 2.0,
                    y + height / 2.0 + 4.0,
                    escaped(&name)
                );
            }
        }
    }
}

/// Memory against instructions: all that may be chosen, and the one that is drawn.
fn curve(svg: &mut String, top: f64, choices: &[Choice], arena: usize) {
    let most = choices.iter().map(|choice| choice.plan.arena_bytes).max().unwrap_or(1).max(1) as f64;
    let layers = choices.first().map_or(1, |choice| choice.cost).max(1) as f64;
    let share = |choice: &Choice| choice.cost as f64 / layers;
    let costly = choices.iter().map(share).fold(1.0, f64::max);
    let _ = writeln!(
        svg,
        "<text class=\"head\" x=\"20\" y=\"{:.1}\">What less memory costs</text><text class=\"small\" x=\"{LEFT}\" y=\"{:.1}\">estimated \
         instructions, as a share of layer by layer, against the bytes of the arena</text>\
         <line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
         <line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{top:.1}\" y2=\"{:.1}\"/>",
        top - 12.0,
        top - 12.0,
        LEFT + TIME,
        top + CURVE,
        top + CURVE,
        top + CURVE
    );
    // Each axis begins at zero: the eye then compares shares.
    let x = |bytes: usize| LEFT + TIME * bytes as f64 / most;
    let y = |share: f64| top + CURVE - CURVE * share / (costly * 1.05);
    for tick in 0..=4 {
        let bytes = most as usize * tick / 4;
        let _ = writeln!(
            svg,
            "<text class=\"small middle\" x=\"{:.1}\" y=\"{:.1}\">{:.0} KB</text>",
            x(bytes),
            top + CURVE + 16.0,
            bytes as f64 / 1024.0
        );
    }
    for tick in [0.5, 1.0, 1.5, 2.0].into_iter().filter(|tick| *tick <= costly) {
        let _ = writeln!(
            svg,
            "<text class=\"small end\" x=\"{:.1}\" y=\"{:.1}\">{tick}×</text><line class=\"axis\" stroke-dasharray=\"2 3\" x1=\"{LEFT}\" \
             x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            LEFT - 8.0,
            y(tick) + 4.0,
            LEFT + TIME,
            y(tick),
            y(tick)
        );
    }
    let points: Vec<String> = choices
        .iter()
        .map(|choice| format!("{:.1},{:.1}", x(choice.plan.arena_bytes), y(share(choice))))
        .collect();
    let _ = writeln!(svg, "<polyline class=\"curve\" points=\"{}\"/>", points.join(" "));
    for choice in choices {
        let chosen = choice.plan.arena_bytes == arena;
        let (class, radius) = if chosen { ("chosen", 6.0) } else { ("point", 2.5) };
        let (x, y) = (x(choice.plan.arena_bytes), y(share(choice)));
        let _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
        if chosen {
            let text = format!("{} bytes, {:.2}×", arena, share(choice));
            let anchor = if x > LEFT + TIME / 2.0 { ("end", -10.0) } else { ("", 10.0) };
            let _ = writeln!(
                svg,
                "<text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                anchor.0,
                x + anchor.1,
                y - 10.0
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lrpet_runtime::host::AlignedBytes;
    use lrpet_runtime::plan::curve;

    use super::*;
    use crate::Normalization;
    use crate::export::{Folded, checked, file::serialize};
    use crate::lrpet::RankPlan;
    use crate::network::Known;

    /// Of every schedule of some networks: all lies in the arena, and nothing on anything else but what is written over it.
    #[test]
    fn what_is_drawn_lies_where_the_plan_says() {
        for name in ["resnet8", "ds_cnn", "mobilenet_v1_025"] {
            let known = Known::named(name).unwrap();
            let network = known.build(known.input, known.classes).unwrap();
            let ranks = RankPlan::uniform(&network, 0.0).unwrap();
            let channels = known.input.channels as usize;
            let normalization = Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] };
            let file =
                serialize(&Folded::zeros(&network, &ranks, normalization), &BTreeMap::new(), None).unwrap();
            let bytes = AlignedBytes::copy_of(&file);
            let model = checked(bytes.as_slice(), name).unwrap();
            let choices = curve(model.program(), Isa::CortexM).unwrap();
            for choice in choices.iter().step_by(6).chain(choices.last()) {
                let schedule = choice.bytes();
                let program = model.program().with_schedule(&schedule).unwrap();
                let Trace { turns, stays } = trace(&program, Isa::CortexM).unwrap();
                let space = choice.plan.arena_bytes - choice.plan.table_bytes;
                // All rows of each operation once, in order.
                for layer in program.layers() {
                    let rows: Vec<_> = turns.iter().filter(|turn| turn.layer == Some(layer.index)).collect();
                    assert_eq!(rows.first().unwrap().rows.start, 0);
                    assert!(rows.windows(2).all(|pair| pair[0].rows.end == pair[1].rows.start));
                    assert!(rows.iter().all(|turn| turn.kept <= turn.rows.start));
                }
                for (at, stay) in stays.iter().enumerate() {
                    assert!(
                        stay.offset + stay.bytes <= space && stay.turns.end <= turns.len(),
                        "{name}: {stay:?}"
                    );
                    for other in &stays[at + 1..] {
                        let apart = stay.turns.end <= other.turns.start
                            || other.turns.end <= stay.turns.start
                            || stay.offset + stay.bytes <= other.offset
                            || other.offset + other.bytes <= stay.offset;
                        let over = stay.offset == other.offset && stay.bytes == other.bytes;
                        assert!(apart || over, "{name}: {stay:?} and {other:?}");
                    }
                }
                let svg = draw_rows("<name>", &program, Isa::CortexM, &choices).unwrap();
                assert_eq!(svg.matches("class=\"map\"").count(), program.len());
                assert!(svg.contains("&lt;name&gt;") && svg.matches("class=\"chosen\"").count() == 1);
            }
        }
    }
}
