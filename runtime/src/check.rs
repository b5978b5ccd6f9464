//! The self-check: does this machine compute the logits that the model's own samples must give?

use crate::kernel::{Arithmetic, Isa, Operations};
use crate::model::SelfCheck;
use crate::session::Session;

/// Largest difference of a logit, relative to the sample's largest logit where that exceeds 1, for files that state none of
/// their own: storage is f16 and orders of summation differ between instruction sets.
pub const USUAL_TOLERANCE: f32 = 1e-2;

/// What sums in f16 may be off, in tolerances of sums in f32. The most that was measured is 1.30 (21 networks with random weights,
/// see `docs/decisions/rounding-bounds.md`): sums in f16 round more often than storage does, but few of them count.
const F16_SUMS: f32 = 4.0;

/// How the logits of one sample compare with the model's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Class computed here.
    pub class: usize,
    /// Class of the model's logits.
    pub expected_class: usize,
    /// Largest difference of a logit; infinite where one of them is no number.
    pub max_abs_diff: f32,
    /// Difference that is allowed.
    pub tolerance: f32,
}

impl Comparison {
    /// Compares `logits` with those of sample `index` of `check`, which this machine computed with sums in f32.
    pub fn of(logits: &[f32], check: &SelfCheck<'_>, index: usize) -> Self {
        Self::within(check.tolerance(index), logits, check.logits(index))
    }

    /// As [`Comparison::of`], of logits that `session` computed, in whatever it sums.
    pub fn by(
        session: &Session<'_, impl Operations>,
        logits: &[f32],
        check: &SelfCheck<'_>,
        index: usize,
    ) -> Self {
        let arithmetic = match session.isa() {
            Isa::CortexM55Half => Arithmetic::F16,
            _ => session.arithmetic(),
        };
        Self::in_arithmetic(arithmetic, logits, check, index)
    }

    /// As [`Comparison::of`], of logits from sums in `arithmetic`.
    pub fn in_arithmetic(
        arithmetic: Arithmetic,
        logits: &[f32],
        check: &SelfCheck<'_>,
        index: usize,
    ) -> Self {
        let tolerance = match arithmetic {
            Arithmetic::F16 => {
                let more = check.usual_tolerance(index).max(F16_SUMS * check.tolerance(index));
                more.min(check.largest(index))
            }
            _ => check.tolerance(index),
        };
        Self::within(tolerance, logits, check.logits(index))
    }

    /// Compares `logits` with the model's, both of the same number of values; `tolerance` is the largest difference of a
    /// logit.
    pub fn within(tolerance: f32, logits: &[f32], expected: impl Iterator<Item = f32>) -> Self {
        let mut max_abs_diff = 0.0f32;
        let (mut class, mut expected_class) = (Largest::new(), Largest::new());
        for (value, expected) in logits.iter().zip(expected) {
            let diff = (value - expected).abs();
            max_abs_diff = max_abs_diff.max(if diff.is_nan() { f32::INFINITY } else { diff });
            class.next(*value);
            expected_class.next(expected);
        }
        Self { class: class.index, expected_class: expected_class.index, max_abs_diff, tolerance }
    }

    /// True where every logit is close enough. The class is then the same, unless the model's own logits of both classes are
    /// within twice the tolerance: there roundings decide which is the larger.
    pub fn passes(&self) -> bool {
        self.max_abs_diff <= self.tolerance
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
    fn only_close_logits_pass() {
        let compare = |tolerance: f32, logits: &[f32], expected: &[f32]| {
            Comparison::within(tolerance, logits, expected.iter().copied())
        };
        assert!(compare(0.01, &[0.1, 0.5], &[0.105, 0.495]).passes());
        assert!(!compare(0.01, &[0.1, 0.5], &[0.1, 0.52]).passes());
        assert!(compare(0.5, &[10.0, 50.0], &[10.3, 49.6]).passes());
        // No rounding turns the first of these round; of the second two each is as good.
        assert!(!compare(0.01, &[0.6, 0.5], &[0.5, 0.6]).passes());
        let close = compare(0.01, &[0.5001, 0.5], &[0.5, 0.5001]);
        assert!(close.passes() && close.class != close.expected_class);
        let not_a_number = compare(0.01, &[f32::NAN, 0.5, 0.1], &[0.0, 0.5, 0.1]);
        assert!(!not_a_number.passes());
        assert_eq!(not_a_number.max_abs_diff, f32::INFINITY, "a later finite difference hides nothing");
    }
}
