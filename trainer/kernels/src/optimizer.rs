//! The step of an optimiser, with the average of the weights, in one pass over memory.

/// What a step does to a weight w with gradient g, all in f32, in the order of operations of PyTorch's optimisers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent: v ← μ·v + (g + λ·w), w ← w − η·v; with `nesterov` w ← w − η·((g + λ·w) + μ·v).
    Sgd {
        /// Learning rate η.
        rate: f32,
        /// Momentum μ.
        momentum: f32,
        /// Weight decay λ.
        decay: f32,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019): w ← (1 − η·λ)·w,
    /// m ← β₁·m + (1 − β₁)·g, s ← β₂·s + (1 − β₂)·g², w ← w − η/(1 − β₁ᵗ) · m / (√s / √(1 − β₂ᵗ) + ε).
    AdamW {
        /// 1 − η·λ.
        shrink: f32,
        /// η / (1 − β₁ᵗ).
        rate: f32,
        /// β₁ and β₂.
        betas: [f32; 2],
        /// 1 / √(1 − β₂ᵗ).
        correction: f32,
        /// ε.
        epsilon: f32,
    },
}

/// A run of parameters; all slices but the empty ones have the same length.
#[derive(Debug)]
pub struct Moved<'a> {
    /// Weights w.
    pub weight: &'a mut [f32],
    /// Gradients g.
    pub gradient: &'a [f32],
    /// v or m.
    pub first: &'a mut [f32],
    /// s of AdamW; else empty.
    pub second: &'a mut [f32],
    /// The average a ← a + κ·(w − a) after the step; empty where there is none.
    pub average: &'a mut [f32],
}

/// Values of each array that one turn works on: what five arrays of it take stays in the nearest cache.
const TURN: usize = 1024;

impl Moved<'_> {
    /// The first values, at most `count`, and the rest.
    pub fn split(self, count: usize) -> (Self, Self) {
        fn cut(slice: &mut [f32], count: usize) -> (&mut [f32], &mut [f32]) {
            let count = count.min(slice.len());
            slice.split_at_mut(count)
        }
        let (weight, weight_rest) = cut(self.weight, count);
        let (first, first_rest) = cut(self.first, count);
        let (second, second_rest) = cut(self.second, count);
        let (average, average_rest) = cut(self.average, count);
        let (gradient, gradient_rest) = self.gradient.split_at(count.min(self.gradient.len()));
        (
            Moved { weight, gradient, first, second, average },
            Moved {
                weight: weight_rest,
                gradient: gradient_rest,
                first: first_rest,
                second: second_rest,
                average: average_rest,
            },
        )
    }

    /// One step; `follow` is κ, how far the average goes towards the new weights.
    pub fn step(self, rule: &Rule, follow: f32) {
        let mut rest = self;
        while !rest.weight.is_empty() {
            let (mut turn, after) = rest.split(TURN);
            turn.descend(rule);
            for (average, weight) in turn.average.iter_mut().zip(turn.weight) {
                *average += follow * (*weight - *average);
            }
            rest = after;
        }
    }

    fn descend(&mut self, rule: &Rule) {
        let values = self.weight.iter_mut().zip(self.gradient).zip(self.first.iter_mut());
        match *rule {
            Rule::Sgd { rate, momentum, decay, nesterov: false } => {
                for ((weight, gradient), velocity) in values {
                    *velocity = momentum * *velocity + (gradient + decay * *weight);
                    *weight -= rate * *velocity;
                }
            }
            Rule::Sgd { rate, momentum, decay, nesterov: true } => {
                for ((weight, gradient), velocity) in values {
                    let slope = gradient + decay * *weight;
                    *velocity = momentum * *velocity + slope;
                    *weight -= rate * (slope + momentum * *velocity);
                }
            }
            Rule::AdamW { shrink, rate, betas: [beta, gamma], correction, epsilon } => {
                for (((weight, gradient), mean), square) in values.zip(self.second.iter_mut()) {
                    *mean += (1.0 - beta) * (gradient - *mean);
                    *square = gamma * *square + (1.0 - gamma) * (gradient * gradient);
                    *weight = shrink * *weight - rate * (*mean / (square.sqrt() * correction + epsilon));
                }
            }
        }
    }
}
