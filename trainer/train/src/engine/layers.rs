//! Layers with parameters in the fused engine: convolutions and fully connected ones.

use candle_core::{Device, Tensor};
use lrpet_kernels::{ConvNorm, InputGradient, Moments, Past, SlopeSums};
use lrpet_runtime::model::Activation;

use super::Mode;
use crate::exchange::{Exchange, total, whole_moments};
use crate::parameters::{LayerNames, NormNames};
use crate::values::with_values;
use crate::{Gradients, Parameters, TrainError};

/// What a convolution's forward pass leaves for its backward pass: its result before the normalisation, with the
/// statistics.
pub(super) type Convolved = (Vec<f32>, Moments);

/// A convolution with the parameters that it uses.
pub(super) struct ConvLayer<'a> {
    pub op: &'a ConvNorm,
    pub names: &'a LayerNames,
    pub parameters: &'a Parameters,
    /// Who has the rest of the batch.
    pub exchange: &'a dyn Exchange,
}

/// What the backward pass of a convolution reads.
pub(super) struct ConvPast<'a> {
    pub x: &'a [f32],
    /// Result of the layer; read where it has a residual or a bias.
    pub z: &'a [f32],
    /// Present where a normalisation follows.
    pub convolved: Option<&'a Convolved>,
    pub residual: bool,
}

impl ConvLayer<'_> {
    fn weight<R>(&self, f: impl FnOnce(&[f32]) -> R) -> Result<R, TrainError> {
        Ok(with_values(self.parameters.get(&self.names.weight)?, f)?)
    }

    fn norm_values(&self, norm: &NormNames) -> Result<[Vec<f32>; 4], TrainError> {
        let value = |name: &String| self.parameters.values(name);
        let beta = norm.beta(self.parameters)?.flatten_all()?.to_vec1()?;
        Ok([norm.gamma_values(self.parameters)?, beta, value(&norm.mean)?, value(&norm.variance)?])
    }

    /// Writes the layer's result `z`. Where a normalisation takes the batch's statistics, `y` gives the buffer for
    /// what comes before it, and the running statistics move.
    pub(super) fn forward(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        mode: Mode,
        y: impl FnOnce() -> Vec<f32>,
        z: &mut [f32],
    ) -> Result<Option<Convolved>, TrainError> {
        match (&self.names.norm, mode) {
            (Some(norm), Mode::Train { momentum }) => {
                let momentum = momentum.unwrap_or(norm.momentum);
                let mut y = y();
                let moments = self.weight(|weight| self.op.convolve(x, weight, &mut y))?;
                let moments = whole_moments(self.exchange, moments);
                let [gamma, beta, mean, variance] = self.norm_values(norm)?;
                self.op.normalise(&y, &moments, &gamma, &beta, residual, z);
                let moved = |old: Vec<f32>, new: &[f64], factor: f64| -> Vec<f32> {
                    let step = |(old, new): (f32, &f64)| {
                        (f64::from(old) * (1.0 - momentum) + new * factor * momentum) as f32
                    };
                    old.into_iter().zip(new).map(step).collect()
                };
                // Running variances are unbiased, as PyTorch's.
                let unbiased = moments.count as f64 / (moments.count as f64 - 1.0).max(1.0);
                self.parameters.set(&norm.mean, moved(mean, &moments.mean, 1.0))?;
                self.parameters.set(&norm.variance, moved(variance, &moments.variance, unbiased))?;
                Ok(Some((y, moments)))
            }
            (norm, _) => {
                let (scale, shift) = self.affine(norm.as_ref(), self.op.channels())?;
                self.weight(|weight| self.op.infer(x, weight, &scale, &shift, residual, z))?;
                Ok(None)
            }
        }
    }

    /// Scale and shift of each channel behind the convolution: fixed normalisation, or bias.
    fn affine(&self, norm: Option<&NormNames>, channels: usize) -> Result<(Vec<f32>, Vec<f32>), TrainError> {
        let Some(norm) = norm else {
            let bias = self.names.bias.as_ref().map(|bias| self.parameters.values(bias)).transpose()?;
            return Ok((vec![1.0; channels], bias.unwrap_or_else(|| vec![0.0; channels])));
        };
        let [gamma, beta, mean, variance] = self.norm_values(norm)?;
        let of = |channel: usize| {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + norm.epsilon).sqrt();
            (scale as f32, (f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32)
        };
        Ok((0..channels).map(of).unzip())
    }

    /// Adds the gradients of the parameters, and writes that of the input to `dx`. `slope` is the gradient of the
    /// result; where there is a residual it leaves as the residual's.
    pub(super) fn backward(
        &self,
        past: &ConvPast,
        slope: &mut [f32],
        dx: InputGradient,
        partial: &mut Vec<f32>,
        gradients: &mut Gradients,
    ) -> Result<(), TrainError> {
        let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu);
        let channels = self.op.channels();
        let weight = match (&self.names.norm, past.convolved) {
            (Some(norm), Some((y, moments))) => {
                let ConvPast { x, z, residual, .. } = *past;
                let [gamma, beta, ..] = self.norm_values(norm)?;
                let past = Past { x, y, z, moments, residual };
                let own = self.op.slope_sums(&past, &gamma, &beta, slope);
                let whole = total(self.exchange, &own);
                let sums = SlopeSums { own: &own, whole: &whole };
                let found = self.weight(|weight| {
                    self.op.backward_from(&past, weight, &gamma, &beta, &sums, slope, dx, partial)
                })?;
                for (name, values) in [(&norm.gamma, found.gamma), (&norm.beta, found.beta)] {
                    if let Some(name) = name {
                        gradients.insert(name.clone(), tensor(values, &[channels])?);
                    }
                }
                found.weight
            }
            _ => {
                let (weight, bias) = self
                    .weight(|weight| self.op.backward_biased(past.x, past.z, weight, slope, dx, partial))?;
                if let Some(name) = &self.names.bias {
                    gradients.insert(name.clone(), tensor(bias, &[channels])?);
                }
                weight
            }
        };
        let shape = self.parameters.get(&self.names.weight)?;
        gradients.insert(self.names.weight.clone(), tensor(weight, shape.dims())?);
        Ok(())
    }
}

/// A fully connected layer with the parameters that it uses: act(x·Wᵀ + b) of a batch of vectors.
pub(super) struct LinearLayer<'a> {
    pub names: &'a LayerNames,
    pub activation: Activation,
    pub parameters: &'a Parameters,
}

impl LinearLayer<'_> {
    /// Writes the result `z`.
    pub(super) fn forward(&self, x: &[f32], batch: usize, z: &mut [f32]) -> Result<(), TrainError> {
        let weight = self.parameters.get(&self.names.weight)?;
        let x = Tensor::from_slice(x, (batch, weight.dim(1)?), &Device::Cpu)?;
        let result = x.matmul(&weight.t()?)?;
        let result = match &self.names.bias {
            Some(bias) => result.broadcast_add(self.parameters.get(bias)?)?,
            None => result,
        };
        let result = match self.activation {
            Activation::None => result,
            Activation::Relu => result.relu()?,
            Activation::Relu6 => result.clamp(0f32, 6f32)?,
            other => unreachable!("{} is a layer of its own", other.name()),
        };
        with_values(&result, |values| z.copy_from_slice(values))?;
        Ok(())
    }

    /// Adds the gradients of the parameters; returns the input's. `slope` is the gradient of the result `z`.
    pub(super) fn backward(
        &self,
        x: &[f32],
        z: &[f32],
        batch: usize,
        slope: &mut [f32],
        gradients: &mut Gradients,
    ) -> Result<Vec<f32>, TrainError> {
        lrpet_kernels::mask(z, self.activation, slope);
        let weight = self.parameters.get(&self.names.weight)?;
        let (rows, columns) = weight.dims2()?;
        let x = Tensor::from_slice(x, (batch, columns), &Device::Cpu)?;
        let slope = Tensor::from_slice(slope, (batch, rows), &Device::Cpu)?;
        gradients.insert(self.names.weight.clone(), slope.t()?.matmul(&x)?);
        if let Some(bias) = &self.names.bias {
            gradients.insert(bias.clone(), slope.sum(0)?);
        }
        Ok(slope.matmul(weight)?.flatten_all()?.to_vec1()?)
    }
}
