//! Accuracy by class and what was taken for what: as text, as a section of a page, and as a page of its own.

mod matrix;
mod page;
mod text;

pub use page::{Tested, page};
pub(super) use page::{section, style};
pub use text::text;

use unicode_width::UnicodeWidthChar;

use crate::schema::{Accuracy, ClassAccuracy};

/// Names that a sentence lists.
const LISTED: usize = 8;
/// Characters of a name in a table.
const SHORT: usize = 40;

impl Accuracy {
    /// Names of the classes without an image, of which nothing is known.
    pub fn untested(&self) -> Vec<&str> {
        self.classes.iter().filter(|class| class.images == 0).map(|class| class.name.as_str()).collect()
    }

    /// What was taken for what, most often first: class, class said, images.
    pub fn mistakes(&self) -> Vec<(usize, usize, u64)> {
        let rows = self.confusion.iter().enumerate();
        let cells = rows.flat_map(|(class, row)| {
            row.iter().enumerate().map(move |(said, &images)| (class, said, images))
        });
        let mut found: Vec<_> = cells.filter(|(class, said, images)| class != said && *images > 0).collect();
        found.sort_by_key(|&(class, said, images)| (std::cmp::Reverse(images), class, said));
        found
    }

    /// Images that were classified right.
    pub fn correct(&self) -> u64 {
        self.classes.iter().map(|class| class.correct).sum()
    }

    /// What weakens the figures, in sentences.
    fn caveats(&self) -> Vec<String> {
        let mut found = Vec::new();
        let untested = self.untested();
        if !untested.is_empty() {
            let (what, names) = (if untested.len() == 1 { "class" } else { "classes" }, listed(&untested));
            found.push(format!(
                "No test image of {what} {names}: nothing is known of how well the model tells them."
            ));
        }
        if self.not_finite > 0 {
            let count = self.not_finite;
            found.push(format!(
                "Logits that are no finite numbers, of {}: the class said for them means nothing.",
                super::units::things(count, "image")
            ));
        }
        found
    }

    /// The class that images of class `class` are taken for most often, with the number of images.
    fn taken_for(&self, class: usize) -> Option<(&ClassAccuracy, u64)> {
        let others = self
            .confusion
            .get(class)?
            .iter()
            .enumerate()
            .filter(|(said, images)| *said != class && **images > 0);
        // The first of equals.
        let (said, &images) = others.rev().max_by_key(|(_, images)| **images)?;
        Some((self.classes.get(said)?, images))
    }
}

/// A class's name as a table has room for: the first characters, with what would move a cursor written out.
pub(in crate::report) fn short(name: &str) -> String {
    cut(name, SHORT as f64, |_| 1.0)
}

/// A name whose characters, each as long as `advance` says, are at most `most` long together; one that was longer ends with a
/// sign of it.
fn cut(name: &str, most: f64, advance: impl Fn(char) -> f64) -> String {
    let name = lrpet_report::visible(name);
    if name.chars().map(&advance).sum::<f64>() <= most {
        return name;
    }
    let mut room = most - advance('…');
    let fits = |letter: &char| {
        room -= advance(*letter);
        room >= 0.0
    };
    name.chars().take_while(fits).chain(['…']).collect()
}

/// About how far a character of a usual typeface without serifs reaches, in its size: at least as far as in most.
fn advance(letter: char) -> f64 {
    match letter {
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 1.0,
        _ if letter.width() == Some(2) => 1.0,
        _ if letter.is_uppercase() => 0.75,
        _ => 0.63,
    }
}

/// The first names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let first = names.iter().take(LISTED).map(|name| short(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_shortened_and_moves_no_cursor() {
        let long = short(&"ä".repeat(200));
        assert_eq!((long.chars().count(), long.chars().last()), (SHORT, Some('…')));
        assert_eq!(short(&"x".repeat(SHORT)), "x".repeat(SHORT));
        assert_eq!(short("größe\n"), "größe\\u{a}");
        // What is wide is cut earlier.
        let labels =
            ["class-000-long-name", "class-000-long-na", "0WWWWWWWWWWWWWWW", "種類の名前がとても長い"];
        assert_eq!(
            labels.map(|label| cut(label, 11.4, advance)),
            ["class-000-long-n…", "class-000-long-na", "0WWWWWWWWW…", "種類の名前がとても長い"]
        );
    }
}
