//! Convolutions with groups and dilation, and transposed ones: a sum over the taps of what lies under each, times its weights.

use candle_core::{Result, Tensor, bail};
use lrpet_runtime::model::{GeneralConv, Window};

/// The sums of `conv` over `x` `[batch, c, h, w]` with `weight` `[n, c/groups, kh, kw]`.
pub(crate) fn convolve(conv: &GeneralConv<String>, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let groups = conv.groups as usize;
    match conv.transposed {
        None => over_taps(x, weight, &conv.window, conv.dilation, groups),
        Some(more) => {
            let (spread, weight, window) = turned(conv, more, x, weight)?;
            over_taps(&spread, &weight, &window, conv.dilation, groups)
        }
    }
}

/// A transposed convolution as a plain one: zeros between the pixels of `x`, the kernel turned by half, a stride of 1, and of the
/// padding what the kernel reaches beyond it.
fn turned(
    conv: &GeneralConv<String>,
    more: [u16; 2],
    x: &Tensor,
    weight: &Tensor,
) -> Result<(Tensor, Tensor, Window)> {
    let mut spread = x.clone();
    let mut weight = weight.clone();
    let mut padding = [0; 4];
    for (axis, more) in more.into_iter().enumerate() {
        let [stride, dilation, kernel] =
            [conv.window.stride[axis], conv.dilation[axis], conv.window.kernel[axis]].map(usize::from);
        spread = with_zeros(&spread, 2 + axis, stride)?;
        let turned: Vec<u32> = (0..kernel as u32).rev().collect();
        weight = weight.contiguous()?.index_select(&Tensor::new(turned, x.device())?, 2 + axis)?;
        let reach = (dilation * (kernel - 1)) as i64;
        let cut = [axis, 2 + axis].map(|side| i64::from(conv.window.padding[side]));
        let sides = [reach - cut[0], reach - cut[1] + i64::from(more)];
        // More is cut off than the kernel reaches beyond: rows of the input go.
        let [before, after] = sides.map(|side| side.min(0).unsigned_abs() as usize);
        let length = spread.dim(2 + axis)?.checked_sub(before + after);
        let Some(length) = length.filter(|length| *length > 0) else {
            bail!("layer {}: its padding cuts off all of the result", conv.name)
        };
        spread = spread.narrow(2 + axis, before, length)?;
        for (place, side) in [axis, 2 + axis].into_iter().zip(sides) {
            padding[place] = u16::try_from(side.max(0)).map_err(candle_core::Error::wrap)?;
        }
    }
    Ok((spread, weight, Window { kernel: conv.window.kernel, stride: [1, 1], padding }))
}

/// `stride` − 1 zeros between the entries of an axis.
fn with_zeros(x: &Tensor, axis: usize, stride: usize) -> Result<Tensor> {
    let size = x.dim(axis)?;
    if stride == 1 || size == 1 {
        return Ok(x.clone());
    }
    let mut dims = x.dims().to_vec();
    dims[axis] = size * stride;
    x.unsqueeze(axis + 1)?.pad_with_zeros(axis + 1, 0, stride - 1)?.reshape(dims)?.narrow(
        axis,
        0,
        (size - 1) * stride + 1,
    )
}

fn over_taps(
    x: &Tensor,
    weight: &Tensor,
    window: &Window,
    dilation: [u16; 2],
    groups: usize,
) -> Result<Tensor> {
    let (batch, c, ..) = x.dims4()?;
    let (n, inner, kh, kw) = weight.dims4()?;
    if groups == 0 || inner * groups != c || n % groups != 0 {
        bail!("a convolution of {c} channels in {groups} groups with weights {:?}", weight.dims());
    }
    let places = Taps::new(x, window, dilation, None)?;
    let [height, width] = places.output;
    let mut sum: Option<Tensor> = None;
    for (row, column) in (0..kh).flat_map(|row| (0..kw).map(move |column| (row, column))) {
        let tap = places.tap(row, column)?;
        let values = weight.narrow(2, row, 1)?.narrow(3, column, 1)?;
        let product = if inner == 1 && n == c {
            tap.broadcast_mul(&values.reshape((1, c, 1, 1))?)?
        } else {
            let tap = tap.reshape((batch, groups, inner, height * width))?;
            let values = values.reshape((1, groups, n / groups, inner))?;
            values.broadcast_matmul(&tap)?.reshape((batch, n, height, width))?
        };
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("a kernel without taps"),
    }
}

/// What lies under each tap of a sliding window.
pub(super) struct Taps {
    padded: Tensor,
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Height and width of the result.
    pub output: [usize; 2],
}

impl Taps {
    /// Over `x`, with `outside` (zero where it is not given) around it.
    pub(super) fn new(x: &Tensor, window: &Window, dilation: [u16; 2], outside: Option<f64>) -> Result<Taps> {
        let [top, left, bottom, right] = window.padding.map(usize::from);
        let pad = |x: &Tensor| x.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right);
        let mut padded = pad(x)?;
        if let Some(outside) = outside.filter(|_| window.padding != [0; 4]) {
            padded = (padded + pad(&x.ones_like()?)?.affine(-outside, outside)?)?;
        }
        let (_, _, height, width) = padded.dims4()?;
        let mut output = [0; 2];
        for (axis, size) in [height, width].into_iter().enumerate() {
            let (kernel, stride) = (usize::from(window.kernel[axis]), usize::from(window.stride[axis]));
            let reach = usize::from(dilation[axis]) * kernel.saturating_sub(1);
            let Some(room) = size.checked_sub(reach + 1).filter(|_| kernel > 0 && stride > 0) else {
                bail!("{window:?} with dilation {dilation:?} does not fit {:?}", x.dims())
            };
            output[axis] = room / stride + 1;
        }
        Ok(Taps {
            padded,
            stride: window.stride.map(usize::from),
            dilation: dilation.map(usize::from),
            output,
        })
    }

    /// The value under tap (`row`, `column`) of each window: `[batch, c, oh, ow]`.
    pub(super) fn tap(&self, row: usize, column: usize) -> Result<Tensor> {
        let mut tap = self.padded.clone();
        for (axis, place) in [row, column].into_iter().enumerate() {
            let (from, stride, count) = (place * self.dilation[axis], self.stride[axis], self.output[axis]);
            tap = if stride == 1 {
                tap.narrow(2 + axis, from, count)?
            } else {
                let indices: Vec<u32> = (0..count).map(|at| (from + at * stride) as u32).collect();
                tap.contiguous()?.index_select(&Tensor::new(indices, tap.device())?, 2 + axis)?
            };
        }
        tap.contiguous()
    }
}
