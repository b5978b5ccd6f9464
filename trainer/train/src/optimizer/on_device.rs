//! The same steps where the parameters lie on a GPU.

use candle_core::Tensor;

use super::{Algorithm, EPSILON, Optimizer, SQUARES};
use crate::{Gradients, Parameters, TrainError};

impl Optimizer {
    /// [`Optimizer::step`] on a GPU: `prepare` was called.
    pub(super) fn step_on_device(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<(), TrainError> {
        #[cfg(feature = "cuda")]
        if parameters.device().is_cuda() && self.algorithm == Algorithm::Sgd {
            self.descend(parameters, gradients, rate)?;
            return self.follow_with_candle(parameters, gradients);
        }
        self.step_with_candle(parameters, gradients, rate)?;
        self.follow_with_candle(parameters, gradients)
    }

    /// One kernel that moves weights and velocities where they lie.
    #[cfg(any(test, feature = "cuda"))]
    fn descend(&self, parameters: &Parameters, gradients: &Gradients, rate: f64) -> Result<(), TrainError> {
        let mut tensors = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let weight = parameters.get(name)?.as_detached_tensor();
            tensors.push((weight, gradient.contiguous()?, self.slots[name].first.clone()));
        }
        let moved: Vec<crate::cuda::Moved> = tensors
            .iter()
            .map(|(weight, slope, velocity)| crate::cuda::Moved { weight, slope, velocity })
            .collect();
        Ok(crate::cuda::descend(parameters.device(), &moved, rate, self.momentum, self.weight_decay)?)
    }

    /// A step by the kernel of a GPU, wherever the tests run it.
    #[cfg(test)]
    pub(crate) fn step_by_kernel(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<(), TrainError> {
        self.prepare(parameters, gradients)?;
        self.descend(parameters, gradients, rate)
    }

    /// A step by candle's operations, which run anywhere.
    pub(super) fn step_with_candle(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<(), TrainError> {
        let corrections = [self.correction(self.momentum), self.correction(SQUARES).sqrt()];
        let (momentum, decay) = (self.momentum, self.weight_decay);
        for (name, gradient) in gradients {
            let var = parameters.get(name)?;
            let weight = var.as_detached_tensor();
            let Some(slot) = self.slots.get_mut(name) else { continue };
            let moved = match (self.algorithm, &slot.second) {
                (Algorithm::AdamW, Some(second)) => {
                    slot.first = (&slot.first + (gradient - &slot.first)?.affine(1.0 - momentum, 0.0)?)?;
                    let second =
                        (second.affine(SQUARES, 0.0)? + gradient.sqr()?.affine(1.0 - SQUARES, 0.0)?)?;
                    let root = second.sqrt()?.affine(corrections[1].recip(), EPSILON)?;
                    slot.second = Some(second);
                    let step = slot.first.div(&root)?.affine(rate / corrections[0], 0.0)?;
                    (weight.affine(1.0 - rate * decay, 0.0)? - step)?
                }
                (algorithm, _) => {
                    let slope = (gradient + weight.affine(decay, 0.0)?)?;
                    slot.first = (slot.first.affine(momentum, 0.0)? + &slope)?;
                    let way = match algorithm {
                        Algorithm::Nesterov => (slope + slot.first.affine(momentum, 0.0)?)?,
                        _ => slot.first.clone(),
                    };
                    (weight - way.affine(rate, 0.0)?)?
                }
            };
            var.set(&moved)?;
        }
        Ok(())
    }

    /// Moves the averages towards the weights.
    pub(super) fn follow_with_candle(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
    ) -> Result<(), TrainError> {
        let follow = self.follow();
        for name in gradients.keys() {
            let weight: Tensor = parameters.get(name)?.as_detached_tensor();
            let Some(slot) = self.slots.get_mut(name) else { continue };
            if let Some(average) = &slot.average {
                slot.average = Some((average + (weight - average)?.affine(follow, 0.0)?)?);
            }
        }
        Ok(())
    }
}
