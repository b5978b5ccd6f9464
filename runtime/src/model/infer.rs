//! Shapes of the results of general operations, and why an operation and its input do not go together.

use super::general::{Axis, GeneralConv, GeneralPool, NormaliseOver, PadMode, Reduction};
use super::needs::GENERAL;
use super::program::{Op, Weights};
use super::shape::{Shape, Window};

/// What an operation lacks, in words that go on "operation 3 (slice): …".
pub(super) type Refusal = &'static str;

const SIZE: Refusal = "its result is empty or too large";

/// Shape of the result of a general operation over a first input of shape `input`.
pub(super) fn general<N: AsRef<str>>(op: &Op<N>, input: Shape) -> Result<Shape, Refusal> {
    if !GENERAL {
        return Err(SIZE);
    }
    let axes = input.axes();
    let shape = match op {
        Op::GeneralConv(conv) => general_conv(conv, input)?,
        Op::GeneralPool(pool) => general_pool(pool, input)?,
        Op::Reduce(reduce) => {
            let mut output = axes;
            output.iter_mut().zip(reduce.axes).filter(|(_, over)| *over).for_each(|(size, _)| *size = 1);
            if reduce.axes == [false; 3] {
                return Err("it reduces no axis");
            }
            Shape::of(output)
        }
        Op::Binary(binary) => binary.output,
        Op::Affine(_) | Op::Softmax(_) => input,
        Op::Activate(activate) => {
            if activate.slope.is_some() && activate.activation != super::Activation::None {
                return Err("it has a slope and an activation");
            }
            input
        }
        Op::Slice(slice) => {
            let of = slice.output.axes();
            for (((start, step), size), all) in slice.start.into_iter().zip(slice.step).zip(of).zip(axes) {
                let last = size.checked_sub(1).and_then(|last| last.checked_mul(step)?.checked_add(start));
                if step == 0 || last.is_none_or(|last| last >= all) {
                    return Err("it reaches beyond its input");
                }
            }
            slice.output
        }
        Op::Shuffle(shuffle) => {
            if shuffle.groups == 0 || !input.channels.is_multiple_of(shuffle.groups) {
                return Err("its groups do not divide the channels");
            }
            input
        }
        Op::Pad(pad) => {
            let mut output = [0; 3];
            for (at, size) in output.iter_mut().enumerate() {
                let [before, after, all] =
                    [pad.before, pad.after, axes].map(|of| of.get(at).copied().unwrap_or(0));
                if pad.mode == PadMode::Reflect && before.max(after) >= all {
                    return Err("it mirrors more than its input has");
                }
                *size = all.checked_add(before).and_then(|size| size.checked_add(after)).ok_or(SIZE)?;
            }
            if matches!(pad.mode, PadMode::Constant(value) if !value.is_finite()) {
                return Err("its constant is no finite number");
            }
            Shape::of(output)
        }
        Op::Resize(resize) => {
            if resize.scales.iter().any(|scale| !scale.is_finite() || *scale <= 0.0) {
                return Err("its scales must be positive numbers");
            }
            let [height, width] = resize.size;
            Shape { height, width, ..input }
        }
        Op::DepthToSpace(blocks) => {
            let block = u32::from(blocks.block);
            if block == 0 || !input.channels.is_multiple_of(block * block) {
                return Err("its blocks do not divide the channels");
            }
            let size = |size: u32| size.checked_mul(block).ok_or(SIZE);
            Shape::new(input.channels / (block * block), size(input.height)?, size(input.width)?)
        }
        Op::SpaceToDepth(blocks) => {
            let block = u32::from(blocks.block);
            if block == 0 || !input.height.is_multiple_of(block) || !input.width.is_multiple_of(block) {
                return Err("its blocks do not divide height and width");
            }
            let channels = input.channels.checked_mul(block * block).ok_or(SIZE)?;
            Shape::new(channels, input.height / block, input.width / block)
        }
        Op::Normalise(normalise) => {
            if !normalise.epsilon.is_finite() || normalise.epsilon <= 0.0 {
                return Err("its epsilon must be a positive number");
            }
            if let NormaliseOver::Groups(groups) = normalise.over
                && (groups == 0 || !input.channels.is_multiple_of(groups))
            {
                return Err("its groups do not divide the channels");
            }
            input
        }
        Op::Reshape(reshape) => {
            if reshape.output.len_checked() != Some(input.len()) {
                return Err("its result has another number of values");
            }
            reshape.output
        }
        Op::Join(join) => {
            let mut output = axes;
            output.get_mut(join.axis.index()).into_iter().for_each(|size| *size = join.size);
            Shape::of(output)
        }
        Op::Transpose(transpose) => {
            let [a, b, c] = transpose.axes;
            if a == b || a == c || b == c {
                return Err("it has an axis twice");
            }
            Shape::of(transpose.axes.map(|axis| input.size(axis)))
        }
        Op::Outputs(outputs) => {
            let values = outputs.inputs.values();
            if values.len() < 2 {
                return Err("several outputs are at least two");
            }
            let again = |at: usize, value: &u16| values.iter().take(at).any(|before| before == value);
            if values.iter().enumerate().any(|(at, value)| again(at, value)) {
                return Err("it has an output twice");
            }
            Shape::vector(outputs.count)
        }
        _ => return Err(SIZE),
    };
    shape.len_checked().map(|_| shape).ok_or(SIZE)
}

/// True where the values read, of the shapes `inputs`, go with a result of shape `output`.
pub(super) fn joins<N: AsRef<str>>(op: &Op<N>, output: Shape, inputs: &[Shape]) -> bool {
    if !GENERAL {
        return false;
    }
    match op {
        Op::Binary(_) => match inputs {
            [a, b] => {
                let sizes = a.axes().into_iter().zip(b.axes()).zip(output.axes());
                sizes.fold(true, |fits, ((a, b), size)| {
                    fits && (a == b || a == 1 || b == 1) && a.max(b) == size
                })
            }
            _ => false,
        },
        Op::Join(join) => {
            let other = |shape: &Shape| {
                [Axis::Channel, Axis::Height, Axis::Width]
                    .into_iter()
                    .all(|axis| axis == join.axis || shape.size(axis) == output.size(axis))
            };
            let sum = inputs.iter().try_fold(0u32, |sum, x| sum.checked_add(x.size(join.axis)));
            inputs.iter().all(other) && sum == Some(join.size)
        }
        Op::Outputs(outputs) => {
            let sum = inputs.iter().try_fold(0u32, |sum, x| sum.checked_add(x.len_checked()? as u32));
            sum == Some(outputs.count)
        }
        _ => inputs.iter().skip(1).all(|x| *x == output),
    }
}

fn general_conv<N>(conv: &GeneralConv<N>, input: Shape) -> Result<Shape, Refusal> {
    if conv.groups == 0
        || !input.channels.is_multiple_of(conv.groups)
        || !conv.out_channels.is_multiple_of(conv.groups)
    {
        return Err("its groups do not divide the channels");
    }
    match conv.weights {
        Weights::Dense => {}
        Weights::Pair { .. } if conv.groups == 1 && conv.transposed.is_none() => {}
        _ => return Err("its weights must be dense"),
    }
    let [down, across] = conv.dilation;
    let (height, width) = match conv.transposed {
        None => conv.window.output_dilated(input.height, input.width, conv.dilation).ok_or(WINDOW)?,
        Some([below, right]) => {
            let [top, left, bottom, behind] = conv.window.padding;
            let ([kh, kw], [sy, sx]) = (conv.window.kernel, conv.window.stride);
            if below >= sy || right >= sx {
                return Err("its output padding must be smaller than its stride");
            }
            let height = spread(input.height, [kh, sy, down], [top, bottom, below]).ok_or(WINDOW)?;
            (height, spread(input.width, [kw, sx, across], [left, behind, right]).ok_or(WINDOW)?)
        }
    };
    Ok(Shape::new(conv.out_channels, height, width))
}

/// Size of a transposed convolution's result: (size − 1)·stride + (kernel − 1)·dilation + 1 − before − after + more.
fn spread(size: u32, [kernel, stride, dilation]: [u16; 3], [before, after, more]: [u16; 3]) -> Option<u32> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return None;
    }
    let all = size.checked_sub(1)?.checked_mul(stride.into())?;
    let taps = (u32::from(kernel) - 1).checked_mul(dilation.into())?.checked_add(1 + u32::from(more))?;
    all.checked_add(taps)?.checked_sub(u32::from(before) + u32::from(after))
}

const WINDOW: Refusal = "its window does not go with its input";

fn general_pool(pool: &GeneralPool, input: Shape) -> Result<Shape, Refusal> {
    if pool.kind == Reduction::Sum {
        return Err("a pooling takes the largest or the mean");
    }
    if pool.counted.iter().zip(pool.window.padding).any(|(counted, padding)| *counted > padding) {
        return Err("it counts more padding than there is");
    }
    let (height, width) =
        pool.window.output_dilated(input.height, input.width, pool.dilation).ok_or(WINDOW)?;
    Ok(Shape { height, width, ..input })
}

impl Window {
    /// As [`Window::output`] with taps `dilation` apart; `None` also where a dilation is zero.
    pub fn output_dilated(&self, height: u32, width: u32, dilation: [u16; 2]) -> Option<(u32, u32)> {
        let axis = |size: u32, [before, after]: [u16; 2], at: usize| {
            let [kernel, stride, dilation] =
                [self.kernel, self.stride, dilation].map(|of| of.get(at).copied().unwrap_or(0));
            let reach = u32::from(kernel).checked_sub(1)?.checked_mul(dilation.into())?.checked_add(1)?;
            let padded = size.checked_add(u32::from(before))?.checked_add(u32::from(after))?;
            if dilation == 0 {
                return None;
            }
            Some(padded.checked_sub(reach)?.checked_div(stride.into())? + 1)
        };
        let [top, left, bottom, right] = self.padding;
        Some((axis(height, [top, bottom], 0)?, axis(width, [left, right], 1)?))
    }
}
