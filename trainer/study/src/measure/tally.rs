//! What a model says of labelled images, counted by class.

use lrpet_network::export::Logits;
use lrpet_runtime::host::softmax;

use crate::schema::{Accuracy, ClassAccuracy};

/// Classes among which the right one is looked for.
const TOP: usize = 5;

/// Answers of a model to labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    classes: usize,
    /// Images of each class that were said to be of each class, class by class.
    confusion: Vec<u64>,
    /// Images whose class is among the [`TOP`] with the largest logits.
    top: u64,
    /// Images with a logit that is no finite number.
    not_finite: u64,
    wrong: Vec<Wrong>,
}

/// An image that was taken for one of another class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wrong {
    /// Its index in the data set.
    pub index: usize,
    /// Its class.
    pub class: u32,
    /// The class that the model said.
    pub said: u32,
    /// How sure the model was of that, 0 to 1 (softmax of its logits).
    pub probability: f32,
}

impl Tally {
    /// No answer yet, of a model of so many classes.
    pub fn new(classes: usize) -> Tally {
        let confusion = vec![0; classes * classes];
        Tally { classes, confusion, top: 0, not_finite: 0, wrong: Vec::new() }
    }

    /// Adds the answers `logits` to images with these labels and these indices in their data set.
    ///
    /// # Panics
    /// Where a label or the number of logits is not that of the classes.
    pub fn add(&mut self, logits: &Logits, labels: &[u32], indices: &[usize]) {
        assert!(logits.classes == self.classes && logits.len() == labels.len(), "one answer an image");
        let answers = logits.rows().zip(logits.predictions());
        for ((row, said), (&class, &index)) in answers.zip(labels.iter().zip(indices)) {
            let (true_at, said_at) = (class as usize, said as usize);
            self.confusion[true_at * self.classes + said_at] += 1;
            let finite = row.iter().all(|logit| logit.is_finite());
            self.not_finite += u64::from(!finite);
            // Of equals the first counts as the larger one, as it does for the answer.
            let own = row[true_at];
            let before = |&(at, &logit): &(usize, &f32)| logit > own || (logit == own && at < true_at);
            self.top += u64::from(finite && row.iter().enumerate().filter(before).count() < TOP);
            if said != class {
                self.wrong.push(Wrong { index, class, said, probability: softmax(row)[said_at] });
            }
        }
    }

    /// Number of images.
    pub fn images(&self) -> u64 {
        self.confusion.iter().sum()
    }

    /// Images that were classified right.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.confusion[class * self.classes + class]).sum()
    }

    /// The images that were taken for others, in the order in which they were added.
    pub fn wrong(&self) -> &[Wrong] {
        &self.wrong
    }

    /// All that was counted, of classes with these names.
    pub fn accuracy(&self, names: &[String]) -> Accuracy {
        let share = |part: u64, of: u64| part as f64 / of as f64;
        let rows: Vec<Vec<u64>> = self.confusion.chunks_exact(self.classes).map(<[u64]>::to_vec).collect();
        let class = |(at, (name, row)): (usize, (&String, &Vec<u64>))| {
            let (images, correct) = (row.iter().sum(), row[at]);
            let accuracy = (images > 0).then(|| share(correct, images));
            ClassAccuracy { name: name.clone(), images, correct, accuracy }
        };
        let images = self.images();
        Accuracy {
            accuracy: if images > 0 { share(self.correct(), images) } else { 0.0 },
            images,
            of: None,
            top5: (self.classes > TOP && images > 0).then(|| share(self.top, images)),
            not_finite: self.not_finite,
            classes: names.iter().zip(&rows).enumerate().map(class).collect(),
            confusion: rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_class() {
        let mut tally = Tally::new(7);
        let mut row = |top: &[usize], label: u32, index: usize| {
            let mut values = vec![0.0; 7];
            top.iter().enumerate().for_each(|(at, &class)| values[class] = 9.0 - at as f32);
            tally.add(&Logits { values, classes: 7 }, &[label], &[index]);
        };
        row(&[2, 1], 2, 0);
        row(&[2, 1], 1, 10);
        row(&[2, 1], 1, 11);
        // Fifth: 0 and 3 are equals of 4 and come first.
        row(&[2, 1], 4, 12);
        row(&[2, 1], 5, 13);
        row(&[1], 1, 14);
        row(&[6, 5, 4, 3, 2], 0, 15);
        let names: Vec<String> = (0..7).map(|class| format!("c{class}")).collect();
        let found = tally.accuracy(&names);
        assert_eq!((tally.correct(), found.images, found.not_finite), (2, 7, 0));
        assert_eq!(found.accuracy, 2.0 / 7.0);
        assert_eq!(found.top5, Some(5.0 / 7.0));
        assert_eq!(found.confusion[1], [0, 1, 2, 0, 0, 0, 0]);
        assert_eq!((found.classes[1].images, found.classes[1].accuracy), (3, Some(1.0 / 3.0)));
        assert_eq!((found.untested(), found.classes[3].accuracy), (vec!["c3", "c6"], None));
        assert_eq!(found.mistakes(), [(1, 2, 2), (0, 6, 1), (4, 2, 1), (5, 2, 1)]);
        let wrong: Vec<_> =
            tally.wrong().iter().map(|wrong| (wrong.index, wrong.class, wrong.said)).collect();
        assert_eq!(wrong, [(10, 1, 2), (11, 1, 2), (12, 4, 2), (13, 5, 2), (15, 0, 6)]);
        let sure = (9.0f32.exp()) / (9.0f32.exp() + 8.0f32.exp() + 5.0);
        assert!((tally.wrong()[0].probability - sure).abs() < 1e-5);
    }

    #[test]
    fn logits_that_are_no_numbers_are_counted_as_such() {
        let mut tally = Tally::new(6);
        let values = vec![f32::NAN, 1.0, 2.0, 0.0, 0.0, 0.0, f32::INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0];
        tally.add(&Logits { values, classes: 6 }, &[2, 1], &[0, 1]);
        let found = tally.accuracy(&["a", "b", "c", "d", "e", "f"].map(str::to_owned));
        assert_eq!((found.not_finite, found.top5), (2, Some(0.0)));
        // Five classes have the right one among them always.
        assert_eq!(Tally::new(5).accuracy(&[]).top5, None);
    }
}
