//! The convolution as a candle operation, differentiable by candle's own backward pass.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use lrpet_kernels::channels_first::{convolve, convolve_back};
use lrpet_kernels::{Conv, Convolution};
use lrpet_runtime::model::{self, Window};

use crate::values::with_values;

/// Convolution of `x` `[batch, c, h, w]` with `weight` `[n, c, kh, kw]`, f32; the result is `[batch, n, oh, ow]`.
/// Stride and padding may differ by axis and side.
///
/// On the CPU this runs the kernels of [`lrpet_kernels`], on other devices candle's convolution.
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
        let result = convolve(&conv, values(s1, l1)?, values(s2, l2)?);
        let [oh, ow, n] = conv.output();
        Ok((CpuStorage::F32(result), Shape::from((l1.dims()[0], n, oh, ow))))
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
        let back = |x: &[f32], weight: &[f32], slope: &[f32]| convolve_back(&conv, x, weight, slope);
        let [dx, dw] =
            with_values(x, |x| with_values(weight, |w| with_values(grad, |slope| back(x, w, slope))))???;
        Ok((
            Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            Some(Tensor::from_vec(dw, weight.shape(), x.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Random geometry: odd sizes, strides and paddings by axis and side.
    fn geometry() -> impl Strategy<Value = (model::Shape, u32, Window, usize)> {
        let window = ([1u16..=5, 1u16..=5], [1u16..=3, 1u16..=3], [0u16..=3, 0u16..=3, 0u16..=3, 0u16..=3]);
        let sizes = (1u32..=37, 1u32..=13, 1u32..=15, 1u32..=50);
        (sizes, window, 1usize..=3).prop_filter_map(
            "window larger than image",
            |((c, h, w, n), (kernel, stride, padding), batch)| {
                let window = Window { kernel, stride, padding };
                window.output(h, w).map(|_| (model::Shape::new(c, h, w), n, window, batch))
            },
        )
    }

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn candle_operation_matches_candle((input, n, window, batch) in geometry(), seed: u64) {
            let device = Device::Cpu;
            let shape = (batch, input.channels as usize, input.height as usize, input.width as usize);
            let x = random(batch * input.len(), seed);
            let x = Var::from_tensor(&Tensor::from_vec(x, shape, &device).unwrap()).unwrap();
            let [kh, kw] = window.kernel.map(usize::from);
            let w = random(n as usize * shape.1 * kh * kw, seed ^ 1);
            let w = Var::from_tensor(&Tensor::from_vec(w, (n as usize, shape.1, kh, kw), &device).unwrap()).unwrap();
            let ours = conv2d(&x, &w, &window).unwrap();
            // candle: stride 1 on explicitly padded f64 values, then every stride-th row and column.
            let [top, left, bottom, right] = window.padding.map(usize::from);
            let wide = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap();
            let padded = wide(&x).pad_with_zeros(2, top, bottom).unwrap().pad_with_zeros(3, left, right).unwrap();
            let full = padded.conv2d(&wide(&w), 0, 1, 1, 1).unwrap();
            let every = |axis: usize| {
                let size = full.dim(axis).unwrap() as u32;
                Tensor::arange_step(0u32, size, u32::from(window.stride[axis - 2]), &device).unwrap()
            };
            let theirs = full.index_select(&every(2), 2).unwrap().index_select(&every(3), 3).unwrap();
            prop_assert_eq!(ours.dims(), theirs.dims());
            let slope = Tensor::from_vec(random(ours.elem_count(), seed ^ 2), ours.shape(), &device).unwrap();
            let ours_back = (&ours * &slope).unwrap().sum_all().unwrap().backward().unwrap();
            let theirs_back = (&theirs * &wide(&slope)).unwrap().sum_all().unwrap().backward().unwrap();
            for (ours, theirs) in [
                (&ours, &theirs),
                (ours_back.get(&x).unwrap(), theirs_back.get(&x).unwrap()),
                (ours_back.get(&w).unwrap(), theirs_back.get(&w).unwrap()),
            ] {
                let largest = wide(theirs).abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
                let error = (wide(ours) - wide(theirs)).unwrap().abs().unwrap().max_all().unwrap();
                prop_assert!(error.to_scalar::<f64>().unwrap() <= 1e-5 * (1.0 + largest));
            }
        }
    }
}
