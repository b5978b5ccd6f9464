//! Optimisers, and the average of the weights that they move.
//!
//! On the CPU one threaded pass moves everything where it lies (`lrpet_kernels::optimizer`); on a GPU SGD without Nesterov's
//! momentum is one kernel, and all else are candle's operations.

mod in_place;
mod on_device;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use candle_core::{Storage, Tensor};
use lrpet_kernels::optimizer::{Moved, Rule};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Gradients, Parameters, TrainError};
use in_place::with_values;
pub(super) use state::is_state;

/// How a step follows from a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SGD in PyTorch's form: v ← μ·v + (g + λ·w), w ← w − η·v.
    #[default]
    Sgd,
    /// The same with Nesterov's momentum: w ← w − η·((g + λ·w) + μ·v).
    Nesterov,
    /// AdamW in PyTorch's form, with β₁ = μ, β₂ = 0.999 and ε = 1e-8; the decay acts on the weights alone.
    AdamW,
}

impl Algorithm {
    /// Whether it is the usual one.
    pub(super) fn is_usual(&self) -> bool {
        *self == Algorithm::Sgd
    }
}

/// β₂ of AdamW.
const SQUARES: f64 = 0.999;
/// ε of AdamW.
const EPSILON: f64 = 1e-8;
/// Values that one thread moves at a time.
const PART: usize = 1 << 15;

/// What an optimiser keeps of one parameter, of its shape.
#[derive(Clone, Debug)]
struct Slot {
    /// The velocity v, or AdamW's mean of gradients.
    first: Tensor,
    /// AdamW's mean of squares.
    second: Option<Tensor>,
    /// The average of the weights.
    average: Option<Tensor>,
}

/// An optimiser of a model's parameters. The decay acts on all that are trained, as in the paper.
#[derive(Clone, Debug)]
pub struct Optimizer {
    algorithm: Algorithm,
    momentum: f64,
    weight_decay: f64,
    /// Decay d of the average; none where there is none.
    average: Option<f64>,
    steps: u64,
    slots: BTreeMap<String, Slot>,
}

impl Optimizer {
    /// An optimiser at rest, with momentum μ and weight decay λ.
    pub fn new(algorithm: Algorithm, momentum: f64, weight_decay: f64) -> Self {
        Optimizer { algorithm, momentum, weight_decay, average: None, steps: 0, slots: BTreeMap::new() }
    }

    /// SGD without Nesterov's momentum.
    pub fn sgd(momentum: f64, weight_decay: f64) -> Self {
        Optimizer::new(Algorithm::Sgd, momentum, weight_decay)
    }

    /// Keeps an average of the weights too, if `decay` says so: a ← d·a + (1 − d)·w after each step, where d is `decay`, but
    /// at most (1 + n) / (10 + n) after the n-th step: the first weights, which know nothing, are soon forgotten.
    #[must_use]
    pub fn averaging(mut self, decay: Option<f64>) -> Self {
        self.average = decay;
        self
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step with learning rate η.
    ///
    /// # Errors
    /// Where a gradient belongs to no parameter or has another shape.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<(), TrainError> {
        self.prepare(parameters, gradients)?;
        if !parameters.device().is_cpu() {
            return self.step_on_device(parameters, gradients, rate);
        }
        let (rule, follow) = (self.rule(rate), self.follow() as f32);
        let slots = &self.slots;
        let move_one = |(name, gradient): (&String, &Tensor)| -> Result<(), TrainError> {
            let slot = &slots[name];
            let gradient = gradient.contiguous()?;
            let weight = parameters.get(name)?.as_detached_tensor();
            let (storage, layout) = gradient.storage_and_layout();
            let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
                return Err(TrainError::Setting(format!("the gradient of `{name}` is not on the CPU")));
            };
            let gradient = &storage.as_slice::<f32>()?[start..end];
            let others = [Some(&slot.first), slot.second.as_ref(), slot.average.as_ref()];
            let tensors: Vec<&Tensor> =
                std::iter::once(&weight).chain(others.into_iter().flatten()).collect();
            with_values(&tensors, |values| {
                let mut values = values.into_iter();
                let mut next =
                    |there| if there { values.next().unwrap_or_default() } else { Default::default() };
                let moved = Moved {
                    weight: next(true),
                    gradient,
                    first: next(true),
                    second: next(slot.second.is_some()),
                    average: next(slot.average.is_some()),
                };
                parts(moved).into_par_iter().for_each(|part| part.step(&rule, follow));
            })?;
            Ok(())
        };
        let all: Vec<_> = gradients.iter().collect();
        all.into_par_iter().try_for_each(move_one)
    }

    /// Counts a step on `gradients`, for which every parameter gets its place.
    fn prepare(&mut self, parameters: &Parameters, gradients: &Gradients) -> Result<(), TrainError> {
        for (name, gradient) in gradients {
            let weight = parameters.get(name)?;
            if gradient.shape() != weight.shape() {
                let (name, expected) = (name.clone(), weight.dims().to_vec());
                return Err(TrainError::Shape { name, expected, found: gradient.dims().to_vec() });
            }
            self.place(name, weight.as_tensor())?;
        }
        self.steps += 1;
        Ok(())
    }

    /// The rule of the current step on the CPU.
    fn rule(&self, rate: f64) -> Rule {
        let (momentum, decay) = (self.momentum, self.weight_decay);
        match self.algorithm {
            Algorithm::Sgd | Algorithm::Nesterov => Rule::Sgd {
                rate: rate as f32,
                momentum: momentum as f32,
                decay: decay as f32,
                nesterov: self.algorithm == Algorithm::Nesterov,
            },
            Algorithm::AdamW => Rule::AdamW {
                shrink: (1.0 - rate * decay) as f32,
                rate: (rate / self.correction(momentum)) as f32,
                betas: [momentum as f32, SQUARES as f32],
                correction: self.correction(SQUARES).sqrt().recip() as f32,
                epsilon: EPSILON as f32,
            },
        }
    }

    /// 1 − βᵗ at the current step t.
    fn correction(&self, beta: f64) -> f64 {
        1.0 - beta.powf(self.steps as f64)
    }

    /// How far the average goes towards the weights after the current step: 1 − d.
    fn follow(&self) -> f64 {
        let steps = self.steps as f64;
        1.0 - self.average.unwrap_or(0.0).min((1.0 + steps) / (10.0 + steps))
    }
}

/// What threads share of one parameter.
fn parts(moved: Moved<'_>) -> Vec<Moved<'_>> {
    let (mut parts, mut rest) = (Vec::with_capacity(moved.weight.len() / PART + 1), moved);
    while !rest.weight.is_empty() {
        let (part, after) = rest.split(PART);
        parts.push(part);
        rest = after;
    }
    parts
}
