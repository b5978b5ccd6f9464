//! What an optimiser remembers, as tensors of a checkpoint.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Algorithm, Optimizer, Slot};
use crate::{Parameters, TrainError};

/// Prefix of velocities and means of gradients.
const FIRST: &str = "momentum.";
/// Prefix of AdamW's means of squares.
const SECOND: &str = "optimizer.square.";
/// Prefix of the averages of weights.
const AVERAGE: &str = "optimizer.average.";

/// Whether the tensor called `name` in a checkpoint is one of an optimiser's.
pub(crate) fn is_state(name: &str) -> bool {
    [FIRST, SECOND, AVERAGE].iter().any(|prefix| name.starts_with(prefix))
}

impl Optimizer {
    /// All that is remembered, by name; empty before the first step.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (name, slot) in &self.slots {
            state.insert(format!("{FIRST}{name}"), slot.first.clone());
            let others = [(SECOND, &slot.second), (AVERAGE, &slot.average)];
            let others = others.into_iter().filter_map(|(prefix, tensor)| Some((prefix, tensor.clone()?)));
            state.extend(others.map(|(prefix, tensor)| (format!("{prefix}{name}"), tensor)));
        }
        state
    }

    /// [`Optimizer::state`] of all of `parameters`: those that were never moved begin here.
    ///
    /// # Errors
    /// Where the device fails.
    pub(crate) fn whole_state(
        &mut self,
        parameters: &Parameters,
    ) -> Result<BTreeMap<String, Tensor>, TrainError> {
        for (name, weight) in parameters.trained() {
            self.place(name, weight.as_tensor())?;
        }
        Ok(self.state())
    }

    /// Replaces all that is remembered by `state`, which is that after so many `steps`.
    ///
    /// # Errors
    /// Where a tensor belongs to no parameter or has another shape, or one is missing.
    pub fn set_state(
        &mut self,
        parameters: &Parameters,
        state: BTreeMap<String, Tensor>,
        steps: u64,
    ) -> Result<(), TrainError> {
        let mut slots = BTreeMap::new();
        let take = |prefix: &str, name: &str| -> Result<Tensor, TrainError> {
            let full = format!("{prefix}{name}");
            let tensor = state.get(&full).ok_or_else(|| TrainError::NoTensor { name: full.clone() })?;
            let expected = parameters.get(name)?.dims().to_vec();
            if tensor.dims() != expected {
                return Err(TrainError::Shape { name: full, expected, found: tensor.dims().to_vec() });
            }
            // In memory of its own: it moves where it lies.
            Ok(tensor.to_device(parameters.device())?.copy()?)
        };
        for full in state.keys() {
            let name = [FIRST, SECOND, AVERAGE].iter().find_map(|prefix| full.strip_prefix(prefix));
            let name = name.ok_or_else(|| TrainError::NotOurs { name: full.clone() })?;
            parameters.get(name)?;
            if slots.contains_key(name) {
                continue;
            }
            let second = self.squares().then(|| take(SECOND, name)).transpose()?;
            let average = self.average.map(|_| take(AVERAGE, name)).transpose()?;
            slots.insert(name.to_owned(), Slot { first: take(FIRST, name)?, second, average });
        }
        (self.slots, self.steps) = (slots, steps);
        Ok(())
    }

    /// The averages by name of the parameter; none where none are kept.
    pub fn averages(&self) -> Option<BTreeMap<String, Tensor>> {
        self.average?;
        let averages =
            self.slots.iter().filter_map(|(name, slot)| Some((name.clone(), slot.average.clone()?)));
        Some(averages.collect())
    }

    /// Gives the parameter called `name` its place, if it has none: at rest, its average where it is.
    pub(super) fn place(&mut self, name: &str, weight: &Tensor) -> Result<(), TrainError> {
        if self.slots.contains_key(name) {
            return Ok(());
        }
        let rest = || weight.detach().zeros_like();
        let slot = Slot {
            first: rest()?,
            second: self.squares().then(rest).transpose()?,
            average: self.average.map(|_| weight.detach().copy()).transpose()?,
        };
        self.slots.insert(name.to_owned(), slot);
        Ok(())
    }

    fn squares(&self) -> bool {
        self.algorithm == Algorithm::AdamW
    }
}
