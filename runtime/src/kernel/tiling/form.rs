//! How a convolution's weights are stored, and what that must not change: the scratch of a layer.

use crate::model::{Shape, Weights, Window};

/// Storage of a convolution, as far as its tiles depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) enum Form {
    Dense,
    Pair { rank: usize },
    Depthwise,
}

impl Form {
    pub fn of(weights: Weights) -> Form {
        match weights {
            Weights::Dense => Form::Dense,
            Weights::Pair { rank } => Form::Pair { rank: rank as usize },
            Weights::Depthwise => Form::Depthwise,
        }
    }

    /// Rank of a pair, else 0.
    pub fn rank(self) -> usize {
        if let Form::Pair { rank } = self { rank } else { 0 }
    }
}

/// Largest rank of a pair with fewer multiply-adds than the dense layer; 0 where there is none.
pub(in crate::kernel) fn largest_paying_rank(rows: usize, columns: usize) -> usize {
    let (rows, columns) = (rows as u64, columns as u64);
    (rows.saturating_mul(columns).saturating_sub(1) / rows.saturating_add(columns).max(1)) as usize
}

/// What a convolution takes, be it dense or a pair that pays: the most that `need` says of this form, of the dense one,
/// and of the pair of the largest rank that pays.
pub(in crate::kernel) fn of_either_form(
    (input, output): (Shape, Shape),
    window: &Window,
    form: Form,
    need: impl Fn(Form) -> usize,
) -> usize {
    let columns = (input.channels as usize).saturating_mul(window.taps() as usize);
    let paying = largest_paying_rank(output.channels as usize, columns);
    match form {
        Form::Depthwise => need(form),
        Form::Dense | Form::Pair { .. } => {
            need(Form::Dense).max(need(Form::Pair { rank: form.rank().max(paying) }))
        }
    }
}
