//! Steps into fewer: patterns that exporters write out become what they were, and what the runtime does in one operation is one.

mod functions;
mod fuse;
mod joins;
mod norms;
mod shortcuts;

use std::collections::BTreeMap;

use lrpet_runtime::model::{Activation, BinaryKind};

use crate::import::step::{Step, What};
use crate::import::view::Stored;

/// Steps of which the last made is the network's result.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub input: [usize; 3],
    pub output: Stored,
    /// What was seen, and how often.
    pub seen: BTreeMap<&'static str, usize>,
}

impl Plan {
    /// Steps that end in one result, or in several.
    pub(crate) fn of_outputs(mut steps: Vec<Step>, input: [usize; 3], outputs: &[Stored]) -> Plan {
        let output = match outputs {
            [output] => *output,
            several => {
                let shape_of = |value: Stored| value.checked_sub(1).map_or(input, |step| steps[step].shape);
                let count = several.iter().map(|&value| shape_of(value).iter().product::<usize>()).sum();
                // Of no node of its own.
                let node = steps.last().map_or(0, |step| step.node);
                steps.push(Step {
                    what: What::Outputs,
                    inputs: several.to_vec(),
                    shape: [count, 1, 1],
                    activation: Activation::None,
                    name: String::new(),
                    node,
                });
                steps.len()
            }
        };
        Plan { steps, input, output, seen: BTreeMap::new() }
    }

    /// An output that is another one again becomes a copy of it: no list of outputs has one twice.
    fn repeated_outputs(&mut self) {
        let Some(last) = self.steps.last().filter(|step| step.what == What::Outputs) else { return };
        let mut last = last.clone();
        self.steps.pop();
        for at in 1..last.inputs.len() {
            let value = last.inputs[at];
            if !last.inputs[..at].contains(&value) {
                continue;
            }
            let shape = self.maker(value).map_or(self.input, |step| step.shape);
            let (inputs, name) = (vec![value], String::new());
            self.steps.push(Step { what: What::Reshape, inputs, shape, name, ..last.clone() });
            last.inputs[at] = self.steps.len();
            self.see("output that is another one again");
        }
        self.steps.push(last);
        self.output = self.steps.len();
    }

    /// All passes; steps that nothing reads are gone after them.
    pub(crate) fn simplify(&mut self) {
        self.remove_unread();
        let passes: [fn(&mut Plan); 9] = [
            Plan::functions,
            Plan::layer_norms,
            Plan::pads,
            Plan::batch_norms,
            Plan::affines,
            Plan::activations,
            Plan::shortcuts,
            Plan::residuals,
            Plan::joins,
        ];
        for pass in passes {
            pass(self);
            // What a pass went around must not be seen by the next.
            self.remove_unread();
        }
        self.repeated_outputs();
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// The step that makes a value; none makes the input.
    fn maker(&self, value: Stored) -> Option<&Step> {
        self.steps.get(value.checked_sub(1)?)
    }

    /// The shape of a value.
    fn shape(&self, value: Stored) -> [usize; 3] {
        self.maker(value).map_or(self.input, |step| step.shape)
    }

    /// How many read each value, the result being read too.
    fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.steps.len() + 1];
        for step in self.live_steps() {
            step.inputs.iter().for_each(|&value| readers[value] += 1);
        }
        readers[self.output] += 1;
        readers
    }

    /// True of each step that the result depends on.
    fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.steps.len()];
        let mut stack = vec![self.output];
        while let Some(value) = stack.pop() {
            let Some(step) = value.checked_sub(1) else { continue };
            if !std::mem::replace(&mut live[step], true) {
                stack.extend(&self.steps[step].inputs);
            }
        }
        live
    }

    fn live_steps(&self) -> impl Iterator<Item = &Step> {
        self.live().into_iter().zip(&self.steps).filter(|(live, _)| *live).map(|(_, step)| step)
    }

    /// What reads `old` reads `new`.
    fn replace(&mut self, old: Stored, new: Stored) {
        for input in self.steps.iter_mut().flat_map(|step| &mut step.inputs) {
            if *input == old {
                *input = new;
            }
        }
        if self.output == old {
            self.output = new;
        }
    }

    /// Leaves out what the result does not depend on.
    fn remove_unread(&mut self) {
        let live = self.live();
        let mut numbers = vec![0; self.steps.len() + 1];
        let mut kept = Vec::new();
        for (index, mut step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            if live[index] {
                step.inputs.iter_mut().for_each(|value| *value = numbers[*value]);
                kept.push(step);
                numbers[index + 1] = kept.len();
            }
        }
        self.output = numbers[self.output];
        self.steps = kept;
    }

    /// The scale and shift of a step that is the same x·scale + shift for all numbers, and x.
    fn uniform(&self, value: Stored) -> Option<(f32, f32, Stored)> {
        let step = self.maker(value).filter(|step| step.activation == Activation::None)?;
        let What::Affine { scale, shift } = &step.what else { return None };
        let same = |values: &[f32]| values.iter().all(|value| *value == values[0]).then(|| values[0]);
        Some((same(scale)?, same(shift)?, step.inputs[0]))
    }

    /// The activation of a value and what it is applied to, where a step does nothing else.
    fn activated(&self, value: Stored) -> Option<(Activation, Stored)> {
        let step = self.maker(value)?;
        (step.what == What::Activate).then(|| (step.activation, step.inputs[0]))
    }

    /// The two values of an operation without activation.
    fn pair(&self, value: Stored, kind: BinaryKind) -> Option<[Stored; 2]> {
        let step = self.maker(value).filter(|step| step.activation == Activation::None)?;
        (step.what == What::Binary(kind)).then(|| [step.inputs[0], step.inputs[1]])
    }

    /// As [`Plan::pair`], in both orders.
    fn pairs(&self, value: Stored, kind: BinaryKind) -> impl Iterator<Item = [Stored; 2]> {
        self.pair(value, kind).into_iter().flat_map(|[a, b]| [[a, b], [b, a]])
    }

    /// Makes of a step an activation alone.
    fn make_activation(&mut self, value: Stored, activation: Activation, of: Stored) {
        let step = &mut self.steps[value - 1];
        (step.what, step.inputs, step.activation) = (What::Activate, vec![of], activation);
    }
}

/// True of two numbers that differ by roundings of f16 at most.
fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-3 * b.abs().max(1e-3)
}
