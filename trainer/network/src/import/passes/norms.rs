//! Normalisations: of layers written out, and batch normalisations behind convolutions.

use lrpet_runtime::model::{Activation, BinaryKind, NormaliseOver, Reduction};

use super::Plan;
use crate::import::step::What;
use crate::import::view::Stored;

impl Plan {
    /// (x − mean) / √(variance + ε) written out, and normalisations of groups by those of planes.
    pub(super) fn layer_norms(&mut self) {
        for value in 1..=self.steps.len() {
            if let Some((x, over, epsilon)) = self.layer_norm(value) {
                let step = &mut self.steps[value - 1];
                let channels = step.shape[0];
                let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
                (step.what, step.inputs) = (What::Normalise { over, epsilon, scale, shift }, vec![x]);
                self.see("(x − mean) / √(variance + ε): layer normalisation");
            } else if let Some((x, groups, epsilon)) = self.group_norm(value) {
                let step = &mut self.steps[value - 1];
                let channels = step.shape[0];
                let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
                let over = NormaliseOver::Groups(groups);
                (step.what, step.inputs) = (What::Normalise { over, epsilon, scale, shift }, vec![x]);
                self.see("reshape, instance normalisation, reshape: group normalisation");
            }
        }
        // Scale and shift behind them.
        for value in 1..=self.steps.len() {
            let What::Affine { scale, shift } = &self.steps[value - 1].what else { continue };
            let (scale, shift) = (scale.clone(), shift.clone());
            let of = self.steps[value - 1].inputs[0];
            let Some(before) = self.maker(of).filter(|step| step.activation == Activation::None) else {
                continue;
            };
            let (What::Normalise { over, epsilon, scale: inner, shift: offset }, true) =
                (&before.what, self.readers()[of] == 1)
            else {
                continue;
            };
            let what = What::Normalise {
                over: *over,
                epsilon: *epsilon,
                scale: inner.iter().zip(&scale).map(|(a, b)| a * b).collect(),
                shift: offset
                    .iter()
                    .zip(&scale)
                    .zip(&shift)
                    .map(|((a, scale), shift)| a * scale + shift)
                    .collect(),
            };
            let (inputs, name) = (before.inputs.clone(), before.name.clone());
            let step = &mut self.steps[value - 1];
            (step.what, step.inputs) = (what, inputs);
            if !name.is_empty() {
                step.name = name;
            }
        }
    }

    fn layer_norm(&self, value: Stored) -> Option<(Stored, NormaliseOver, f32)> {
        // d / √(v + ε), or d · (1 / √(v + ε)).
        let [centred, root] = self.pair(value, BinaryKind::Div).or_else(|| {
            self.pairs(value, BinaryKind::Mul).find_map(|[centred, inverse]| {
                let [one, root] = self.pair(inverse, BinaryKind::Div)?;
                let is_one = self.uniform(one).is_some_and(|(scale, shift, _)| scale == 0.0 && shift == 1.0);
                is_one.then_some([centred, root])
            })
        })?;
        let (activation, sum) = self.activated(root)?;
        let (1.0, epsilon, variance) = self.uniform(sum)? else { return None };
        let (axes, square) = self.mean(variance)?;
        let of_centred = |value: Stored| value == centred || self.same_difference(value, centred);
        let [a, b] = self.pair(square, BinaryKind::Mul)?;
        let [x, mean] = self.pair(centred, BinaryKind::Sub)?;
        let (over_axes, of) = self.mean(mean)?;
        if activation != Activation::Sqrt
            || !of_centred(a)
            || !of_centred(b)
            || of != x
            || over_axes != axes
            || epsilon <= 0.0
        {
            return None;
        }
        let shape = self.maker(centred)?.shape;
        let over = match axes {
            [true, false, false] => NormaliseOver::Channels,
            [false, true, true] => NormaliseOver::Plane,
            [true, true, true] => NormaliseOver::All,
            // An axis of length 1 says nothing.
            [true, h, w] if (h || shape[1] == 1) && (w || shape[2] == 1) => NormaliseOver::All,
            _ => return None,
        };
        Some((x, over, epsilon))
    }

    /// The axes of a mean, and what it is of.
    fn mean(&self, value: Stored) -> Option<([bool; 3], Stored)> {
        let step = self.maker(value).filter(|step| step.activation == Activation::None)?;
        let What::Reduce { kind: Reduction::Mean, axes } = step.what else { return None };
        Some((axes, step.inputs[0]))
    }

    /// True of two differences of the same values.
    fn same_difference(&self, a: Stored, b: Stored) -> bool {
        let pair = |value| self.pair(value, BinaryKind::Sub);
        matches!((pair(a), pair(b)), (Some([x, m]), Some([y, n])) if x == y && (m == n || self.mean(m) == self.mean(n)))
    }

    /// Groups of channels each normalised as one plane.
    fn group_norm(&self, value: Stored) -> Option<(Stored, u32, f32)> {
        let back = self.maker(value).filter(|step| step.what == What::Reshape)?;
        let norm = self.maker(back.inputs[0])?;
        let What::Normalise { over: NormaliseOver::Plane, epsilon, scale, shift } = &norm.what else {
            return None;
        };
        let there = self.maker(norm.inputs[0]).filter(|step| step.what == What::Reshape)?;
        let x = there.inputs[0];
        let shape = self.maker(x).map_or(self.input, |step| step.shape);
        let plain = scale.iter().all(|scale| *scale == 1.0) && shift.iter().all(|shift| *shift == 0.0);
        let groups = norm.shape[0];
        let is = plain && shape == back.shape && shape[0].is_multiple_of(groups) && groups < shape[0];
        is.then_some((x, groups as u32, *epsilon))
    }

    /// Behind a convolution they stay with it, so that it can be trained; others are a scale and a shift for each channel.
    pub(super) fn batch_norms(&mut self) {
        let readers = self.readers();
        for value in 1..=self.steps.len() {
            let What::BatchNorm(norm) = &self.steps[value - 1].what else { continue };
            let (norm, of) = (norm.clone(), self.steps[value - 1].inputs[0]);
            let before = of.checked_sub(1).map(|at| &mut self.steps[at]);
            if let Some(before) = before
                && before.activation == Activation::None
                && readers[of] == 1
                && let What::Convolution(convolution) = &mut before.what
                && convolution.norm.is_none()
                && !convolution.residual
            {
                convolution.norm = Some(norm);
                self.replace(value, of);
                self.see("convolution and batch normalisation");
                continue;
            }
            let (scale, shift) = norm.affine();
            self.steps[value - 1].what = What::Affine { scale, shift };
            self.see("batch normalisation without a convolution before it: scale and shift");
        }
    }
}
