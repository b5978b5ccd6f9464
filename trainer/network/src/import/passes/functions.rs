//! Activations that exporters write out.

use std::f32::consts::FRAC_1_SQRT_2;

use lrpet_runtime::model::{Activation, BinaryKind};

use super::{Plan, near};
use crate::import::step::{Part, What};
use crate::import::view::Stored;

/// √(2/π) and the cube's factor of GELU's approximation.
const GELU_TANH: (f32, f32) = (0.797_884_6, 0.044_715);

impl Plan {
    /// Finds them, innermost first.
    pub(super) fn functions(&mut self) {
        for value in 1..=self.steps.len() {
            if let Some((activation, of, name)) = self.function(value) {
                self.make_activation(value, activation, of);
                self.see(name);
            }
        }
    }

    fn function(&self, value: Stored) -> Option<(Activation, Stored, &'static str)> {
        self.hard_sigmoid(value).or_else(|| self.gated(value)).or_else(|| self.gelu(value))
    }

    /// clip(s·x + b, 0, m) / m.
    fn hard_sigmoid(&self, value: Stored) -> Option<(Activation, Stored, &'static str)> {
        let (factor, clipped) = match self.uniform(value) {
            Some((factor, 0.0, clipped)) => (factor, clipped),
            Some(_) => return None,
            None => (1.0, value),
        };
        let (activation, inner) = self.activated(clipped)?;
        let max = match activation {
            Activation::Relu6 => 6.0,
            Activation::Clip { min: 0.0, max } => max,
            _ => return None,
        };
        let (scale, shift, x) = self.uniform(inner)?;
        if !near(factor * max, 1.0) || scale <= 0.0 {
            return None;
        }
        Some((
            Activation::HardSigmoid { alpha: scale * factor, beta: shift * factor },
            x,
            "hard sigmoid, written out",
        ))
    }

    /// x · sigmoid(x) and x · hard sigmoid(x).
    fn gated(&self, value: Stored) -> Option<(Activation, Stored, &'static str)> {
        let is_swish = |alpha: f32, beta: f32| near(alpha, 1.0 / 6.0) && near(beta, 0.5);
        for [x, gate] in self.pairs(value, BinaryKind::Mul) {
            match self.activated(gate) {
                Some((Activation::Sigmoid, of)) if of == x => {
                    return Some((Activation::Silu, x, "x · sigmoid(x): SiLU"));
                }
                Some((Activation::HardSigmoid { alpha, beta }, of)) if of == x && is_swish(alpha, beta) => {
                    return Some((Activation::HardSwish, x, "x · hard sigmoid(x): hard swish"));
                }
                _ => {}
            }
        }
        // x · relu6(x + 3) / 6.
        let (factor, shift, product) = self.uniform(value)?;
        if !near(factor, 1.0 / 6.0) || shift != 0.0 {
            return None;
        }
        self.pairs(product, BinaryKind::Mul).find_map(|[x, gate]| {
            let (activation, inner) = self.activated(gate)?;
            let (scale, shift, of) = self.uniform(inner)?;
            let is = activation == Activation::Relu6 && of == x && scale == 1.0 && shift == 3.0;
            is.then_some((Activation::HardSwish, x, "x · hard sigmoid(x): hard swish"))
        })
    }

    /// x/2 · (1 + erf(x/√2)), and with tanh in place of erf.
    fn gelu(&self, value: Stored) -> Option<(Activation, Stored, &'static str)> {
        let (outer, product) = match self.uniform(value) {
            Some((factor, 0.0, product)) => (factor, product),
            _ => (1.0, value),
        };
        self.pairs(product, BinaryKind::Mul).find_map(|[left, right]| {
            let halved = self.uniform(left).filter(|(_, shift, _)| *shift == 0.0);
            let forms = [Some((1.0, left)), halved.map(|(factor, _, x)| (factor, x))];
            let (scale, shift, of) = self.uniform(right)?;
            let fits = |(half, x): (f32, Stored)| {
                if !near(scale, shift) || !near(outer * half * scale, 0.5) {
                    return None;
                }
                if let Some(erf) = self.maker(of).filter(|step| step.what == What::Part(Part::Erf)) {
                    let (scale, shift, inner) = self.uniform(erf.inputs[0])?;
                    let is = inner == x && near(scale, FRAC_1_SQRT_2) && shift == 0.0;
                    return is.then_some((Activation::Gelu, x, "x/2 · (1 + erf(x/√2)): GELU"));
                }
                let (activation, inner) = self.activated(of)?;
                let is = activation == Activation::Tanh && self.is_gelu_argument(inner, x);
                is.then_some((Activation::GeluTanh, x, "GELU by tanh, written out"))
            };
            forms.into_iter().flatten().find_map(fits)
        })
    }

    /// √(2/π) · (x + 0.044715·x³), or √(2/π)·x · (1 + 0.044715·x²).
    fn is_gelu_argument(&self, value: Stored, x: Stored) -> bool {
        let (root, cubic) = GELU_TANH;
        let square = |of: Stored| self.pair(of, BinaryKind::Mul) == Some([x, x]);
        let cube = |of: Stored| self.pairs(of, BinaryKind::Mul).any(|[a, b]| square(a) && b == x);
        let scaled = |of: Stored, factor: f32| {
            self.uniform(of)
                .filter(|(scale, shift, _)| near(*scale, factor) && *shift == 0.0)
                .map(|(_, _, of)| of)
        };
        if let Some(sum) = scaled(value, root) {
            let form = |[a, b]: [Stored; 2]| a == x && scaled(b, cubic).is_some_and(cube);
            if self.pairs(sum, BinaryKind::Add).any(form) {
                return true;
            }
        }
        self.pairs(value, BinaryKind::Mul).any(|[a, b]| {
            let factor = self.uniform(b).filter(|(scale, shift, _)| near(*scale, cubic) && *shift == 1.0);
            scaled(a, root) == Some(x) && factor.is_some_and(|(_, _, of)| square(of))
        })
    }
}
