//! Operations that move values.

use candle_core::{Result, Tensor};
use lrpet_runtime::model::{BlockOrder, Blocks, Pad, PadMode, Reshape, Shape, Shuffle, Slice, Transpose};

fn dims(batch: usize, shape: Shape) -> [usize; 4] {
    [batch, shape.channels as usize, shape.height as usize, shape.width as usize]
}

/// The entries `indices` of an axis.
pub(super) fn pick(x: &Tensor, axis: usize, indices: Vec<u32>) -> Result<Tensor> {
    x.contiguous()?.index_select(&Tensor::new(indices, x.device())?, axis)
}

pub(super) fn slice(slice: &Slice, x: &Tensor) -> Result<Tensor> {
    let sizes = dims(1, slice.output);
    let mut part = x.clone();
    for axis in 0..3 {
        let (start, step, size) = (slice.start[axis], slice.step[axis], sizes[axis + 1]);
        part = if step == 1 {
            part.narrow(axis + 1, start as usize, size)?
        } else {
            pick(&part, axis + 1, (0..size as u32).map(|at| start + at * step).collect())?
        };
    }
    part.contiguous()
}

pub(super) fn shuffle(shuffle: &Shuffle, x: &Tensor) -> Result<Tensor> {
    let (batch, c, h, w) = x.dims4()?;
    let groups = shuffle.groups as usize;
    x.reshape((batch, groups, c / groups, h * w))?.transpose(1, 2)?.contiguous()?.reshape((batch, c, h, w))
}

pub(super) fn pad(pad: &Pad, x: &Tensor) -> Result<Tensor> {
    let mut wide = x.clone();
    for axis in 0..3 {
        let (before, after) = (pad.before[axis], pad.after[axis]);
        let size = x.dim(axis + 1)? as i64;
        if before == 0 && after == 0 {
            continue;
        }
        let places = -i64::from(before)..size + i64::from(after);
        wide = match pad.mode {
            PadMode::Constant(_) => wide.pad_with_zeros(axis + 1, before as usize, after as usize)?,
            PadMode::Edge => pick(&wide, axis + 1, places.map(|at| at.clamp(0, size - 1) as u32).collect())?,
            PadMode::Reflect => {
                let mirrored = |at: i64| if at >= size { 2 * (size - 1) - at } else { at.abs() };
                pick(&wide, axis + 1, places.map(|at| mirrored(at) as u32).collect())?
            }
        };
    }
    match pad.mode {
        PadMode::Constant(value) if value != 0.0 => {
            let mut inside = Tensor::ones((1, x.dim(1)?, x.dim(2)?, x.dim(3)?), x.dtype(), x.device())?;
            for axis in 0..3 {
                let (before, after) = (pad.before[axis] as usize, pad.after[axis] as usize);
                inside = inside.pad_with_zeros(axis + 1, before, after)?;
            }
            wide.broadcast_add(&inside.affine(-f64::from(value), f64::from(value))?)
        }
        _ => Ok(wide),
    }
}

pub(super) fn depth_to_space(blocks: &Blocks, x: &Tensor) -> Result<Tensor> {
    let (batch, c, h, w) = x.dims4()?;
    let block = usize::from(blocks.block);
    let depth = c / (block * block);
    let y = match blocks.order {
        BlockOrder::BlockFirst => {
            x.reshape(&[batch, block, block, depth, h, w][..])?.permute([0, 3, 4, 1, 5, 2])?
        }
        BlockOrder::ChannelFirst => {
            x.reshape(&[batch, depth, block, block, h, w][..])?.permute([0, 1, 4, 2, 5, 3])?
        }
    };
    y.contiguous()?.reshape((batch, depth, h * block, w * block))
}

pub(super) fn space_to_depth(blocks: &Blocks, x: &Tensor) -> Result<Tensor> {
    let (batch, c, h, w) = x.dims4()?;
    let block = usize::from(blocks.block);
    let x = x.reshape(&[batch, c, h / block, block, w / block, block][..])?;
    let y = match blocks.order {
        BlockOrder::BlockFirst => x.permute([0, 3, 5, 1, 2, 4])?,
        BlockOrder::ChannelFirst => x.permute([0, 1, 3, 5, 2, 4])?,
    };
    y.contiguous()?.reshape((batch, c * block * block, h / block, w / block))
}

pub(super) fn reshape(reshape: &Reshape, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.reshape(&dims(x.dim(0)?, reshape.output)[..])
}

pub(super) fn transpose(transpose: &Transpose, x: &Tensor) -> Result<Tensor> {
    let [a, b, c] = transpose.axes.map(|axis| axis.index() + 1);
    x.permute([0, a, b, c])?.contiguous()
}

/// The values of each of `inputs`, one after another, as a vector.
pub(super) fn outputs(inputs: &[&Tensor]) -> Result<Tensor> {
    let flat: Vec<Tensor> =
        inputs.iter().map(|x| x.flatten_from(1)?.unsqueeze(2)?.unsqueeze(3)).collect::<Result<_>>()?;
    Tensor::cat(&flat, 1)
}
