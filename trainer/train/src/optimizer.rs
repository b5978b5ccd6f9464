//! Stochastic gradient descent with momentum and weight decay.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Gradients, Parameters, TrainError};

/// SGD in PyTorch's form: v ← μ·v + (g + λ·w), w ← w − η·v. The decay acts on all trained parameters, as in the paper.
#[derive(Clone, Debug)]
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    velocity: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// An optimiser at rest, with momentum μ and weight decay λ.
    pub fn new(momentum: f64, weight_decay: f64) -> Self {
        Sgd { momentum, weight_decay, velocity: BTreeMap::new() }
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
        #[cfg(feature = "cuda")]
        if parameters.device().is_cuda() {
            return self.step_at_once(parameters, gradients, rate);
        }
        for (name, gradient) in gradients {
            let weight = parameters.get(name)?;
            let held = weight.as_detached_tensor();
            let slope = (gradient + held.affine(self.weight_decay, 0.0)?)?;
            let velocity = match self.velocity.get(name) {
                Some(velocity) => (velocity.affine(self.momentum, 0.0)? + slope)?,
                None => slope,
            };
            weight.set(&(held - velocity.affine(rate, 0.0)?)?)?;
            self.velocity.insert(name.clone(), velocity);
        }
        Ok(())
    }

    /// [`Sgd::step`] by one kernel that moves weights and velocities where they lie.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn step_at_once(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<(), TrainError> {
        let mut tensors = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let weight = parameters.get(name)?.as_detached_tensor();
            if gradient.shape() != weight.shape() {
                let (name, expected) = (name.clone(), weight.dims().to_vec());
                return Err(TrainError::Shape { name, expected, found: gradient.dims().to_vec() });
            }
            if !self.velocity.contains_key(name) {
                self.velocity.insert(name.clone(), weight.zeros_like()?);
            }
            tensors.push((weight, gradient.contiguous()?, self.velocity[name].clone()));
        }
        let moved: Vec<crate::cuda::Moved> = tensors
            .iter()
            .map(|(weight, slope, velocity)| crate::cuda::Moved { weight, slope, velocity })
            .collect();
        Ok(crate::cuda::descend(parameters.device(), &moved, rate, self.momentum, self.weight_decay)?)
    }

    /// Velocities v by parameter; empty before the first step.
    pub fn velocity(&self) -> &BTreeMap<String, Tensor> {
        &self.velocity
    }

    /// Replaces all velocities.
    ///
    /// # Errors
    /// Where one belongs to no parameter or has another shape.
    pub fn set_velocity(
        &mut self,
        parameters: &Parameters,
        velocity: BTreeMap<String, Tensor>,
    ) -> Result<(), TrainError> {
        let mut placed = BTreeMap::new();
        for (name, tensor) in velocity {
            let expected = parameters.get(&name)?.dims().to_vec();
            if tensor.dims() != expected {
                return Err(TrainError::Shape { name, expected, found: tensor.dims().to_vec() });
            }
            placed.insert(name, tensor.to_device(parameters.device())?);
        }
        self.velocity = placed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use lrpet_network::network::Network;
    use lrpet_runtime::model::Shape;

    #[test]
    fn three_steps_by_hand() {
        let network = Network::by_name("resnet8", Shape::new(1, 8, 8), 2).unwrap();
        let parameters = Parameters::new(&network, 1, &Device::Cpu).unwrap();
        parameters.set("fc.bias", vec![1.0, -2.0]).unwrap();
        let mut sgd = Sgd::new(0.5, 0.1);
        let (mut weights, mut velocity) = ([1.0f64, -2.0], [0.0f64; 2]);
        for step in 0..3 {
            let gradient = [0.25 + step as f64, -1.0];
            let tensor = Tensor::new(&gradient.map(|value| value as f32), &Device::Cpu).unwrap();
            let gradients = Gradients::from([("fc.bias".to_owned(), tensor)]);
            sgd.step(&parameters, &gradients, 0.2).unwrap();
            for i in 0..2 {
                velocity[i] = 0.5 * velocity[i] + gradient[i] + 0.1 * weights[i];
                weights[i] -= 0.2 * velocity[i];
            }
            for (found, expected) in parameters.values("fc.bias").unwrap().iter().zip(weights) {
                assert!((f64::from(*found) - expected).abs() < 1e-6);
            }
        }
    }
}
