//! The self-check: does this machine compute the logits that the model's own samples must give?

/// Largest difference of a logit, relative to the sample's largest logit where that exceeds 1: storage is f16 and
/// orders of summation differ between instruction sets.
pub const TOLERANCE: f32 = 1e-2;

/// How the logits of one sample compare with the model's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Class computed here.
    pub class: usize,
    /// Class of the model's logits.
    pub expected_class: usize,
    /// Largest difference of a logit; infinite where one of them is no number.
    pub max_abs_diff: f32,
    /// Difference that is allowed, in logits.
    pub tolerance: f32,
}

impl Comparison {
    /// Compares `logits` with the model's, both of the same number of values, with [`TOLERANCE`].
    pub fn of(logits: &[f32], expected: impl Iterator<Item = f32>) -> Self {
        Self::within(TOLERANCE, logits, expected)
    }

    /// As [`Comparison::of`] with another tolerance.
    pub fn within(tolerance: f32, logits: &[f32], expected: impl Iterator<Item = f32>) -> Self {
        let mut max_abs_diff = 0.0f32;
        let mut largest = 1.0f32;
        let (mut class, mut expected_class) = (Largest::new(), Largest::new());
        for (value, expected) in logits.iter().zip(expected) {
            let diff = (value - expected).abs();
            max_abs_diff = max_abs_diff.max(if diff.is_nan() { f32::INFINITY } else { diff });
            largest = largest.max(expected.abs());
            class.next(*value);
            expected_class.next(expected);
        }
        Self {
            class: class.index,
            expected_class: expected_class.index,
            max_abs_diff,
            tolerance: tolerance * largest,
        }
    }

    /// True where the class is the same and every logit is close enough.
    pub fn passes(&self) -> bool {
        self.class == self.expected_class && self.max_abs_diff <= self.tolerance
    }
}

/// Index of the largest of a row of values, the first of equals; what is no number never wins.
struct Largest {
    index: usize,
    value: f32,
    seen: usize,
}

impl Largest {
    fn new() -> Self {
        Self { index: 0, value: f32::NEG_INFINITY, seen: 0 }
    }

    fn next(&mut self, value: f32) {
        if value > self.value {
            (self.index, self.value) = (self.seen, value);
        }
        self.seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_logits_of_the_same_class_pass() {
        let compare = |logits: &[f32], expected: &[f32]| Comparison::of(logits, expected.iter().copied());
        assert!(compare(&[0.1, 0.5], &[0.105, 0.495]).passes());
        assert!(!compare(&[0.1, 0.5], &[0.1, 0.52]).passes());
        assert!(compare(&[10.0, 50.0], &[10.3, 49.6]).passes(), "the tolerance follows the logits");
        assert!(!compare(&[0.5001, 0.5], &[0.5, 0.5001]).passes(), "another class");
        let not_a_number = compare(&[f32::NAN, 0.5, 0.1], &[0.0, 0.5, 0.1]);
        assert!(!not_a_number.passes());
        assert_eq!(not_a_number.max_abs_diff, f32::INFINITY, "a later finite difference hides nothing");
    }
}
