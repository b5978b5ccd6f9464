//! The convolution as a candle operation, differentiable by candle's own backward pass.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use lrpet_runtime::model::{self, Window};
use rayon::prelude::*;

use super::conv::Conv;
use super::convolution::Convolution;
use super::frame::with_scratch;
use super::gradients::{InputGradient, gradients};
use super::isa::Isa;
use super::layout::{to_channels_first, to_channels_last, with_values};

/// Convolution of `x` `[batch, c, h, w]` with `weight` `[n, c, kh, kw]`, f32; the result is `[batch, n, oh, ow]`.
/// Stride and padding may differ by axis and side.
///
/// On the CPU this runs the kernels of this module, on other devices candle's convolution.
///
/// # Errors
/// Where the shapes do not go together with `window`, or another dtype is given.
pub fn conv2d(x: &Tensor, weight: &Tensor, window: &Window) -> Result<Tensor> {
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, Conv2d { window: *window });
    }
    let [top, left, bottom, right] = window.padding.map(usize::from);
    let [down, across] = window.stride.map(usize::from);
    let even = top == left && top == bottom && top == right;
    let (x, padding) = if even {
        (x.clone(), top)
    } else {
        (x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)?, 0)
    };
    if down == across {
        return x.conv2d(weight, padding, down, 1, 1);
    }
    // candle has one stride for both axes: convolve densely, then keep every stride-th row and column.
    let full = x.conv2d(weight, padding, 1, 1, 1)?;
    let every = |size: usize, stride: usize| {
        Tensor::arange_step(0u32, u32::try_from(size).unwrap_or(u32::MAX), stride as u32, full.device())
    };
    full.index_select(&every(full.dim(2)?, down)?, 2)?.index_select(&every(full.dim(3)?, across)?, 3)
}

struct Conv2d {
    window: Window,
}

impl Conv2d {
    fn plan(&self, x: &[usize], weight: &[usize]) -> Result<Conv> {
        let (&[_, c, h, w], &[n, inner, kh, kw]) = (x, weight) else {
            bail!("conv2d: expected an input and weights of 4 axes, got {x:?} and {weight:?}");
        };
        if c != inner || self.window.kernel.map(usize::from) != [kh, kw] {
            bail!("conv2d: input {x:?} and weights {weight:?} do not go together with {:?}", self.window);
        }
        let conv = u32::try_from(n).ok().and_then(|n| {
            let [c, h, w] = [c, h, w].map(u32::try_from);
            Conv::new(model::Shape::new(c.ok()?, h.ok()?, w.ok()?), n, &self.window)
        });
        match conv {
            Some(conv) => Ok(conv),
            None => bail!("conv2d: {:?} does not fit an input of shape {x:?}", self.window),
        }
    }
}

/// The contiguous values behind a storage.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("conv2d: arguments must be contiguous"),
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let conv = self.plan(l1.dims(), l2.dims())?;
        let (x, weight) = (values(s1, l1)?, values(s2, l2)?);
        let frame_map = conv.geometry().input_frame;
        let [oh, ow, n] = conv.output();
        let (batch, input, output) = (l1.dims()[0], conv.input_len(), conv.output_len());
        let channels = l1.dims()[1];
        let mut packed = vec![0.0; conv.packed_len()];
        conv.pack(Isa::best(), weight, &mut packed);
        let mut result = vec![0.0; batch * output];
        (result.par_chunks_exact_mut(output), x.par_chunks_exact(input)).into_par_iter().for_each(
            |(result, x)| {
                with_scratch([input, frame_map.len(), output], |[last, frame, y]| {
                    to_channels_last(x, channels, last);
                    frame_map.fill(last, frame);
                    conv.forward(Isa::best(), frame, &packed, y);
                    to_channels_first(y, n, result);
                });
            },
        );
        Ok((CpuStorage::F32(result), Shape::from((batch, n, oh, ow))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if grad.dtype() != DType::F32 {
            bail!("conv2d: gradients must be f32");
        }
        let conv = self.plan(x.dims(), weight.dims())?;
        let (channels, n) = (x.dim(1)?, weight.dim(0)?);
        let transposed = |tensor: &Tensor, channels, length: usize| {
            with_values(tensor, |values| {
                let mut last = vec![0.0; values.len()];
                (last.par_chunks_exact_mut(length), values.par_chunks_exact(length))
                    .into_par_iter()
                    .for_each(|(to, from)| to_channels_last(from, channels, to));
                last
            })
        };
        let (input, output) = (conv.input_len(), conv.output_len());
        let (last, slope) = (transposed(x, channels, input)?, transposed(grad, n, output)?);
        let mut dx = vec![0.0; last.len()];
        let image = |image: usize, to: &mut [f32]| to.copy_from_slice(&slope[image * output..][..output]);
        let dw = with_values(weight, |weight| {
            let dx = InputGradient::Write(&mut dx);
            gradients(&conv, Isa::best(), &last, weight, image, dx, &mut Vec::new())
        })?;
        let mut first = last;
        (first.par_chunks_exact_mut(input), dx.par_chunks_exact(input))
            .into_par_iter()
            .for_each(|(to, from)| to_channels_first(from, channels, to));
        Ok((
            Some(Tensor::from_vec(first, x.shape(), x.device())?),
            Some(Tensor::from_vec(dw, weight.shape(), x.device())?),
        ))
    }
}
