//! The confusion matrix: a table of numbers for few classes, a picture for many.

use lrpet_report::{units, visible};
use maud::{Markup, html};

use super::{advance, cut, short};
use crate::report::chart::n;
use crate::schema::{Accuracy, ClassAccuracy};

/// Classes up to which every cell shows its number.
const NUMBERS: usize = 25;
/// Classes up to which every cell of the picture says what it is.
const TITLES: usize = 200;
/// Side of the picture.
const SIZE: f64 = 720.0;
/// Room for labels beside and above it, their distance from it, their size, and the height of a line.
const MARGIN: f64 = 120.0;
const GAP: f64 = 6.0;
const LETTER: f64 = 10.0;
const LINE: f64 = 11.0;

/// The matrix; rows are classes, columns the classes that the model said.
pub(super) fn matrix(accuracy: &Accuracy) -> Markup {
    if accuracy.classes.len() <= NUMBERS { table(accuracy) } else { picture(accuracy) }
}

/// How strongly a cell is coloured: the root of its share of its row, so that few mistakes are seen too.
fn strength(images: u64, row: u64) -> f64 {
    (images as f64 / row.max(1) as f64).sqrt()
}

fn title(accuracy: &Accuracy, class: usize, said: usize, images: u64) -> String {
    let [own, other] = [class, said].map(|class| visible(&accuracy.classes[class].name));
    let of = units::grouped(accuracy.classes[class].images as f64);
    let images = units::grouped(images as f64);
    if class == said {
        format!("{own}: {images} of {of} right")
    } else {
        format!("{own} taken for {other}: {images} of {of}")
    }
}

fn table(accuracy: &Accuracy) -> Markup {
    html! {
        div.scroll {
            table.confusion {
                thead {
                    tr {
                        th.corner scope="col" { "Class" }
                        @for class in &accuracy.classes { th scope="col" title=(visible(&class.name)) { span { (short(&class.name)) } } }
                    }
                }
                tbody {
                    @for (class, row) in accuracy.confusion.iter().enumerate() {
                        tr {
                            th scope="row" title=(visible(&accuracy.classes[class].name)) { (short(&accuracy.classes[class].name)) }
                            @for (said, images) in row.iter().enumerate() {
                                td.right[said == class].none[*images == 0]
                                    style=(format!("--s:{:.3}", strength(*images, accuracy.classes[class].images)))
                                    title=(title(accuracy, class, said, *images)) {
                                    @if *images > 0 { (images) } @else { "·" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn picture(accuracy: &Accuracy) -> Markup {
    let side = SIZE / accuracy.classes.len() as f64;
    let titles = accuracy.classes.len() <= TITLES;
    // As many labels as do not run together.
    let every = (LINE / side).ceil().max(1.0) as usize;
    let labelled = || accuracy.classes.iter().enumerate().step_by(every);
    let middle = |class: usize| n((class as f64 + 0.5) * side + LINE * 0.3);
    let label = |class: &ClassAccuracy| cut(&class.name, (MARGIN - GAP) / LETTER, advance);
    html! {
        svg.heat viewBox=(format!("-{MARGIN} -{MARGIN} {0} {0}", SIZE + MARGIN)) role="img" aria-label="confusion matrix" {
            rect.field width=(SIZE) height=(SIZE) {}
            @for (class, of) in labelled() {
                text.label x=(-GAP) y=(middle(class)) text-anchor="end" { (label(of)) title { (visible(&of.name)) } }
                text.label transform=(format!("translate({} -{GAP}) rotate(-90)", middle(class))) { (label(of)) title { (visible(&of.name)) } }
            }
            @for (class, row) in accuracy.confusion.iter().enumerate() {
                @for (said, images) in row.iter().enumerate().filter(|(_, images)| **images > 0) {
                    @let (x, y) = (n(said as f64 * side), n(class as f64 * side));
                    @let strength = format!("{:.2}", strength(*images, accuracy.classes[class].images));
                    rect.right[said == class] x=(x) y=(y) width=(n(side)) height=(n(side)) fill-opacity=(strength) {
                        @if titles { title { (title(accuracy, class, said, *images)) } }
                    }
                }
            }
        }
        p.note { "A line for each class and a column for each class that the model said, both in order of label, from the top left" @if every > 1 { "; the first of every " (every) " classes is named" } "." }
    }
}
