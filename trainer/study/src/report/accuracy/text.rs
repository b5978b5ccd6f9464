//! Accuracy by class for a terminal.

use lrpet_report::units;

use super::short;
use crate::report::columns::columns;
use crate::schema::Accuracy;

/// Classes up to which the whole matrix fits a terminal.
const MATRIX: usize = 12;
/// Classes up to which each has its line; of more the worst are shown.
const CLASSES: usize = 24;

/// Accuracy by class and, for few classes, the confusion matrix; nothing where the classes are not known.
pub fn text(accuracy: &Accuracy) -> String {
    let classes = &accuracy.classes;
    let mut order: Vec<usize> = (0..classes.len()).collect();
    let few = classes.len() <= CLASSES;
    if !few {
        order.retain(|&class| classes[class].images > 0);
        let share = |class: &usize| classes[*class].accuracy.unwrap_or(1.0);
        order.sort_by(|a, b| share(a).total_cmp(&share(b)));
        order.truncate(CLASSES);
    }
    let mut rows = vec![
        ["class", "", "images", "right", "accuracy", "most often taken for"].map(str::to_owned).to_vec(),
    ];
    for class in order {
        let of = &classes[class];
        let taken =
            accuracy.taken_for(class).map(|(said, images)| format!("{} ({images})", short(&said.name)));
        rows.push(vec![
            class.to_string(),
            short(&of.name),
            of.images.to_string(),
            of.correct.to_string(),
            of.accuracy.map_or("–".to_owned(), units::percent),
            taken.unwrap_or_default(),
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    let mut out = String::new();
    if !few {
        out.push_str(&format!("The {CLASSES} classes with the lowest accuracy of {}:\n", classes.len()));
    }
    out.push_str(&columns(&rows, 2));
    if classes.len() <= MATRIX {
        out.push_str("\nImages by class (lines) and by the class that the model said (columns):\n");
        let head = std::iter::once(String::new()).chain((0..classes.len()).map(|class| class.to_string()));
        let line = |(class, row): (usize, &Vec<u64>)| {
            let name = format!("{class} {}", short(&classes[class].name));
            std::iter::once(name)
                .chain(
                    row.iter().map(|images| if *images == 0 { "·".to_owned() } else { images.to_string() }),
                )
                .collect()
        };
        let lines: Vec<Vec<String>> =
            std::iter::once(head.collect()).chain(accuracy.confusion.iter().enumerate().map(line)).collect();
        out.push_str(&columns(&lines, 1));
    }
    for sentence in accuracy.caveats() {
        out.push_str(&format!("{sentence}\n"));
    }
    out
}
