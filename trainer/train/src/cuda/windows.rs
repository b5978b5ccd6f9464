//! Operations with a window: convolution, pooling, the option-A shortcut. Feature maps are `[c, batch, h, w]`.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::{PoolKind, Window};

use super::launch::{address, fresh, launch, over};
use super::parameters::{self, Geometry};

/// A convolution of every input channel with every filter.
#[derive(Clone, Copy)]
pub(crate) struct Dense(pub Geometry);

impl Dense {
    /// True where each pixel is its own window, so that the input is its own unfolding.
    fn pointwise(&self) -> bool {
        let g = &self.0;
        let same = (g.rows, g.columns, g.top, g.left) == (g.out_rows, g.out_columns, 0, 0);
        same && (g.taps(), g.stride_rows, g.stride_columns) == (1, 1, 1)
    }

    /// What lies under each tap, `[c·kh·kw, batch·oh·ow]`.
    fn unfolded(&self, x: &Tensor) -> Result<Tensor> {
        let g = self.0;
        let columns = g.output_length();
        let rows = g.channels * g.taps();
        if self.pointwise() {
            return x.reshape((rows as usize, columns as usize));
        }
        let to = fresh((rows as usize, columns as usize), x.device())?;
        let parameters = parameters::Unfold { from: address(x)?, to: address(&to)?, g, add: 0 };
        launch(x.device(), "unfold", over(columns, rows), parameters)?;
        Ok(to)
    }

    /// The convolution of `x` with `weight` `[n, c, kh, kw]`.
    pub(crate) fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let g = self.0;
        let n = weight.dim(0)?;
        let y = weight.reshape((n, ()))?.matmul(&self.unfolded(x)?)?;
        y.reshape((n, g.batch as usize, g.out_rows as usize, g.out_columns as usize))
    }

    /// Gradients of the weight and, where it is `wanted`, of the input, added to `old` where there is one.
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        slope: &Tensor,
        wanted: bool,
        old: Option<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let g = self.0;
        let n = weight.dim(0)?;
        let slope = slope.reshape((n, ()))?;
        let weight_slope = slope.matmul(&self.unfolded(x)?.t()?)?.reshape(weight.shape())?;
        if !wanted {
            return Ok((weight_slope, None));
        }
        let unfolded = weight.reshape((n, ()))?.t()?.matmul(&slope)?;
        if self.pointwise() {
            let found = unfolded.reshape(x.shape())?;
            return Ok((weight_slope, Some(super::steps::sum(old, found)?)));
        }
        let (to, add) = target(old, x)?;
        let parameters =
            parameters::Unfold { from: address(&unfolded)?, to: address(&to)?, g, add: u32::from(add) };
        launch(x.device(), "fold", over(g.input_length(), g.channels), parameters)?;
        Ok((weight_slope, Some(to)))
    }
}

/// What a gradient of `x` is written to, and whether it is added to what is there.
fn target(old: Option<Tensor>, x: &Tensor) -> Result<(Tensor, bool)> {
    match old {
        Some(old) => Ok((old, true)),
        None => Ok((fresh(x.shape(), x.device())?, false)),
    }
}

/// A convolution of each channel with its own filter `[c, 1, kh, kw]`.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise(pub Geometry);

impl Depthwise {
    /// The convolution of `x`.
    pub(crate) fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let g = self.0;
        let shape = [g.channels, g.batch, g.out_rows, g.out_columns].map(|size| size as usize);
        let to = fresh(&shape, x.device())?;
        let parameters = parameters::Depthwise {
            x: address(x)?,
            weight: address(weight)?,
            slope: 0,
            to: address(&to)?,
            g,
            add: 0,
        };
        launch(x.device(), "depthwise", over(g.output_length(), g.channels), parameters)?;
        Ok(to)
    }

    /// As [`Dense::backward`].
    pub(crate) fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        slope: &Tensor,
        wanted: bool,
        old: Option<Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let g = self.0;
        let weight_slope = fresh(weight.shape(), x.device())?;
        let mut parameters = parameters::Depthwise {
            x: address(x)?,
            weight: address(weight)?,
            slope: address(slope)?,
            to: address(&weight_slope)?,
            g,
            add: 0,
        };
        launch(x.device(), "depthwise_weight", [g.taps(), g.channels.min(65_535)], parameters)?;
        if !wanted {
            return Ok((weight_slope, None));
        }
        let (to, add) = target(old, x)?;
        (parameters.to, parameters.add) = (address(&to)?, u32::from(add));
        launch(x.device(), "depthwise_input", over(g.input_length(), g.channels), parameters)?;
        Ok((weight_slope, Some(to)))
    }
}

/// A pooling.
#[derive(Clone, Copy)]
pub(crate) struct Pooling(pub Geometry, pub PoolKind);

impl Pooling {
    fn parameters(&self, x: &Tensor) -> Result<parameters::Pooling> {
        let average = u32::from(self.1 == PoolKind::Average);
        Ok(parameters::Pooling { x: address(x)?, slope: 0, to: 0, g: self.0, average, add: 0 })
    }

    /// The pooled map.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let g = self.0;
        let shape = [g.channels, g.batch, g.out_rows, g.out_columns].map(|size| size as usize);
        let to = fresh(&shape, x.device())?;
        let parameters = parameters::Pooling { to: address(&to)?, ..self.parameters(x)? };
        launch(x.device(), "pool", over(g.output_length(), g.channels), parameters)?;
        Ok(to)
    }

    /// Gradient of the input, added to `old` where there is one.
    pub(crate) fn backward(&self, x: &Tensor, slope: &Tensor, old: Option<Tensor>) -> Result<Tensor> {
        let g = self.0;
        let (to, add) = target(old, x)?;
        let (slope, address_to) = (address(slope)?, address(&to)?);
        let parameters =
            parameters::Pooling { slope, to: address_to, add: u32::from(add), ..self.parameters(x)? };
        launch(x.device(), "pool_input", over(g.input_length(), g.channels), parameters)?;
        Ok(to)
    }
}

/// The option-A shortcut: every stride-th pixel, between zero channels.
#[derive(Clone, Copy)]
pub(crate) struct Shortcut {
    g: Geometry,
    out_channels: u32,
}

impl Shortcut {
    /// The window of a shortcut of `stride`.
    pub(crate) fn window(stride: u16) -> Window {
        Window { kernel: [1, 1], stride: [stride; 2], padding: [0; 4] }
    }

    /// A shortcut to `out_channels`; `g` is of [`Shortcut::window`].
    pub(crate) fn new(g: Geometry, out_channels: u32) -> Shortcut {
        Shortcut { g, out_channels }
    }

    fn parameters(&self, from: &Tensor, to: &Tensor, add: bool) -> Result<parameters::Shortcut> {
        let Shortcut { g, out_channels } = *self;
        let before = (out_channels - g.channels) / 2;
        let (from, to) = (address(from)?, address(to)?);
        Ok(parameters::Shortcut { from, to, g, out_channels, before, add: u32::from(add) })
    }

    /// The shortcut's map.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let g = self.g;
        let shape = [self.out_channels, g.batch, g.out_rows, g.out_columns].map(|size| size as usize);
        let to = fresh(&shape, x.device())?;
        let parameters = self.parameters(x, &to, false)?;
        launch(x.device(), "shortcut", over(g.output_length(), self.out_channels), parameters)?;
        Ok(to)
    }

    /// Gradient of the input, added to `old` where there is one.
    pub(crate) fn backward(&self, x: &Tensor, slope: &Tensor, old: Option<Tensor>) -> Result<Tensor> {
        let (to, add) = target(old, x)?;
        let parameters = self.parameters(slope, &to, add)?;
        launch(x.device(), "shortcut_input", over(self.g.input_length(), self.g.channels), parameters)?;
        Ok(to)
    }
}
