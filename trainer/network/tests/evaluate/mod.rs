//! Computes a network from its description and its weights in f64, each operation by its definition, batch normalisations not
//! merged: what imported networks are held against the standard's own results with.

use std::collections::HashMap;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

use lrpet_network::{Checkpoint, Layer, Network};
use lrpet_runtime::model::{
    Activation, BinaryKind, BlockOrder, Coordinates, Nearest, NormaliseOver, Op, PadMode, PoolKind,
    Reduction, Resize, ResizeMode, Shape, Weights, Window,
};

/// A map's numbers, C×H×W.
struct Map<'a> {
    values: &'a [f64],
    size: [usize; 3],
}

impl Map<'_> {
    /// The number at a place, none outside.
    fn at(&self, channel: usize, row: i64, column: i64) -> Option<f64> {
        let [_, height, width] = self.size;
        let row = usize::try_from(row).ok().filter(|&row| row < height)?;
        let column = usize::try_from(column).ok().filter(|&column| column < width)?;
        Some(self.values[(channel * height + row) * width + column])
    }

    /// The number at a place inside.
    fn get(&self, [channel, row, column]: [usize; 3]) -> f64 {
        self.values[(channel * self.size[1] + row) * self.size[2] + column]
    }
}

fn size(shape: Shape) -> [usize; 3] {
    [shape.channels, shape.height, shape.width].map(|axis| axis as usize)
}

/// All places of a map, in order.
fn places([c, h, w]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..c * h * w).map(move |at| [at / (h * w), at / w % h, at % w])
}

/// The result of `network` with the weights of `checkpoint` for the values `input`, C×H×W.
pub fn evaluate(network: &Network, checkpoint: &Checkpoint, input: &[f32]) -> Vec<f64> {
    let shapes = network.value_shapes().unwrap();
    let mut values: Vec<Vec<f64>> = vec![input.iter().map(|&value| f64::from(value)).collect()];
    for (index, layer) in network.layers.iter().enumerate() {
        let maps: Vec<Map<'_>> = (layer.op.inputs().values().iter())
            .map(|&value| Map { values: &values[usize::from(value)], size: size(shapes[usize::from(value)]) })
            .collect();
        let output = size(shapes[index + 1]);
        let mut result = compute(layer, checkpoint, &maps, output);
        assert_eq!(result.len(), output.iter().product::<usize>(), "{}", layer.name());
        result.iter_mut().for_each(|value| *value = activate(*value, layer.op.activation()));
        values.push(result);
    }
    values.pop().unwrap()
}

/// A layer's result before its activation.
fn compute(layer: &Layer, checkpoint: &Checkpoint, maps: &[Map<'_>], output: [usize; 3]) -> Vec<f64> {
    let tensor = |part: &str| -> Vec<f64> {
        let name = format!("{}.{part}", layer.op.name());
        let values = checkpoint.values(&name).unwrap_or_else(|| panic!("no tensor {name}"));
        values.iter().map(|&value| f64::from(value)).collect()
    };
    let x = &maps[0];
    let [c, _, w] = x.size;
    let fill = |value: &dyn Fn([usize; 3]) -> f64| places(output).map(value).collect::<Vec<f64>>();
    match &layer.op {
        Op::Conv(conv) => {
            let groups = if conv.weights == Weights::Depthwise { c } else { 1 };
            convolution(layer, checkpoint, maps, output, &conv.window, [1, 1], groups, false)
        }
        Op::GeneralConv(conv) => {
            let (groups, turned) = (conv.groups as usize, conv.transposed.is_some());
            convolution(layer, checkpoint, maps, output, &conv.window, conv.dilation, groups, turned)
        }
        Op::Linear(_) => {
            let rows = tensor("weight");
            let products = rows
                .chunks_exact(x.values.len())
                .map(|row| row.iter().zip(x.values).map(|(w, x)| w * x).sum());
            products.zip(tensor("bias")).map(|(sum, bias): (f64, f64)| sum + bias).collect()
        }
        Op::Pool(of) => pool(x, output, &of.window, [1, 1], of.kind == PoolKind::Max, [0; 4]),
        Op::GeneralPool(of) => {
            pool(x, output, &of.window, of.dilation, of.kind == Reduction::Max, of.counted)
        }
        Op::GlobalAveragePool { .. } => reduce(x, output, [false, true, true], Reduction::Mean),
        Op::Reduce(of) => reduce(x, output, of.axes, of.kind),
        Op::Add { .. } => x.values.iter().zip(maps[1].values).map(|(a, b)| a + b).collect(),
        Op::Binary(of) => fill(&|at| {
            let [a, b] = [x, &maps[1]].map(|map| {
                map.get(std::array::from_fn(|axis| if map.size[axis] == 1 { 0 } else { at[axis] }))
            });
            match of.kind {
                BinaryKind::Add => a + b,
                BinaryKind::Sub => a - b,
                BinaryKind::Mul => a * b,
                BinaryKind::Div => a / b,
            }
        }),
        Op::Affine(_) => {
            let (scale, bias) = (tensor("scale"), tensor("bias"));
            fill(&|at| x.get(at) * scale[at[0]] + bias[at[0]])
        }
        Op::Activate(of) if of.slope.is_some() => {
            let slope = tensor("slope");
            fill(&|at| x.get(at).max(0.0) + slope[at[0]] * x.get(at).min(0.0))
        }
        Op::Activate(_) | Op::Reshape(_) => x.values.to_vec(),
        Op::Softmax(of) => softmax(x, of.log),
        Op::Slice(of) => fill(&|at| {
            x.get(std::array::from_fn(|axis| of.start[axis] as usize + at[axis] * of.step[axis] as usize))
        }),
        Op::Shuffle(of) => {
            let groups = of.groups as usize;
            fill(&|[channel, row, column]| {
                x.get([channel % groups * (c / groups) + channel / groups, row, column])
            })
        }
        Op::Pad(of) => fill(&|at| {
            let mut from = [0; 3];
            for axis in 0..3 {
                let (size, place) = (x.size[axis] as i64, at[axis] as i64 - i64::from(of.before[axis]));
                let inside = (0..size).contains(&place);
                from[axis] = match of.mode {
                    PadMode::Constant(value) if !inside => return f64::from(value),
                    PadMode::Reflect if place < 0 => -place,
                    PadMode::Reflect if place >= size => 2 * (size - 1) - place,
                    _ => place.clamp(0, size - 1),
                } as usize;
            }
            x.get(from)
        }),
        Op::Resize(of) => resize(x, output, of),
        Op::DepthToSpace(of) => {
            let block = usize::from(of.block);
            fill(&|[channel, row, column]| {
                let (dy, dx) = (row % block, column % block);
                let from = match of.order {
                    BlockOrder::BlockFirst => (dy * block + dx) * output[0] + channel,
                    BlockOrder::ChannelFirst => (channel * block + dy) * block + dx,
                };
                x.get([from, row / block, column / block])
            })
        }
        Op::SpaceToDepth(of) => {
            let block = usize::from(of.block);
            fill(&|[channel, row, column]| {
                let (from, place) = match of.order {
                    BlockOrder::BlockFirst => (channel % c, channel / c),
                    BlockOrder::ChannelFirst => (channel / (block * block), channel % (block * block)),
                };
                x.get([from, row * block + place / block, column * block + place % block])
            })
        }
        Op::Normalise(of) => {
            let (scale, bias) = (tensor("scale"), tensor("bias"));
            let part = |[channel, row, column]: [usize; 3]| match of.over {
                NormaliseOver::Channels => row * w + column,
                NormaliseOver::Plane => channel,
                NormaliseOver::All => 0,
                NormaliseOver::Groups(groups) => channel / (c / groups as usize),
            };
            let mut parts: HashMap<usize, Vec<f64>> = HashMap::new();
            places(x.size).for_each(|at| parts.entry(part(at)).or_default().push(x.get(at)));
            let moments: HashMap<usize, (f64, f64)> = (parts.into_iter())
                .map(|(part, values)| {
                    let mean = values.iter().sum::<f64>() / values.len() as f64;
                    let variance =
                        values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
                    (part, (mean, variance))
                })
                .collect();
            fill(&|at| {
                let (mean, variance) = moments[&part(at)];
                (x.get(at) - mean) / (variance + f64::from(of.epsilon)).sqrt() * scale[at[0]] + bias[at[0]]
            })
        }
        Op::Concat(_) => maps.iter().flat_map(|map| map.values.iter().copied()).collect(),
        Op::Join(of) => {
            let axis = of.axis.index();
            fill(&|mut at| {
                for map in maps {
                    if at[axis] < map.size[axis] {
                        return map.get(at);
                    }
                    at[axis] -= map.size[axis];
                }
                unreachable!("the result is as long as its parts")
            })
        }
        Op::Transpose(of) => fill(&|at| {
            let mut from = [0; 3];
            of.axes.iter().zip(at).for_each(|(axis, at)| from[axis.index()] = at);
            x.get(from)
        }),
        Op::PadShortcut(_) => unreachable!("no file has it"),
    }
}

/// Convolution, plain or transposed, with bias, batch normalisation and residual.
#[allow(clippy::too_many_arguments)]
fn convolution(
    layer: &Layer,
    checkpoint: &Checkpoint,
    maps: &[Map<'_>],
    output: [usize; 3],
    window: &Window,
    dilation: [u16; 2],
    groups: usize,
    transposed: bool,
) -> Vec<f64> {
    let name = layer.op.name();
    let x = &maps[0];
    let [kh, kw] = window.kernel.map(usize::from);
    let (inner, outer) = (x.size[0] / groups, output[0] / groups);
    let weight = checkpoint.values(&format!("{name}.weight")).unwrap();
    assert_eq!(weight.len(), output[0] * inner * kh * kw, "{name}");
    let mut sums = vec![0.0; output.iter().product()];
    // The two sides of a tap: the place of the strided side, and the other's.
    let strided = if transposed { x.size } else { output };
    let other = if transposed { output } else { x.size };
    for (at, &weight) in weight.iter().enumerate() {
        let (n, channel) = (at / (inner * kh * kw), at / (kh * kw) % inner);
        let channel = n / outer * inner + channel;
        let tap = [at / kw % kh, at % kw];
        let place = |axis: usize, at: usize| {
            let place = at * usize::from(window.stride[axis]) + tap[axis] * usize::from(dilation[axis]);
            place.checked_sub(usize::from(window.padding[axis])).filter(|&place| place < other[axis + 1])
        };
        for row in 0..strided[1] {
            let Some(row_there) = place(0, row) else { continue };
            for column in 0..strided[2] {
                let Some(column_there) = place(1, column) else { continue };
                let (from, to) = if transposed {
                    ([channel, row, column], [n, row_there, column_there])
                } else {
                    ([channel, row_there, column_there], [n, row, column])
                };
                sums[(to[0] * output[1] + to[1]) * output[2] + to[2]] += f64::from(weight) * x.get(from);
            }
        }
    }
    let bias = checkpoint.values(&format!("{name}.bias"));
    assert!(bias.is_some() || layer.norm.is_some(), "{name}");
    let pixels = output[1] * output[2];
    for (at, sum) in sums.iter_mut().enumerate() {
        let n = at / pixels;
        *sum += bias.map_or(0.0, |bias| f64::from(bias[n]));
        if let Some(norm) = &layer.norm {
            let part = |name: String| f64::from(checkpoint.values(&name).unwrap()[n]);
            let centred = *sum - part(norm.mean());
            let scaled = centred / (part(norm.variance()) + norm.epsilon).sqrt();
            *sum = scaled * norm.gamma().map_or(1.0, part) + norm.beta().map_or(0.0, part);
        }
        *sum += maps.get(1).map_or(0.0, |residual| residual.values[at]);
    }
    sums
}

fn pool(
    x: &Map<'_>,
    output: [usize; 3],
    window: &Window,
    dilation: [u16; 2],
    max: bool,
    counted: [u16; 4],
) -> Vec<f64> {
    let [top, left, bottom, right] = counted.map(i64::from);
    let pixel = |[channel, row, column]: [usize; 3]| {
        let (mut most, mut sum, mut count) = (f64::NEG_INFINITY, 0.0, 0);
        for (ky, kx) in (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))) {
            let place = |axis: usize, at: usize, k: u16| {
                at as i64 * i64::from(window.stride[axis]) + i64::from(k) * i64::from(dilation[axis])
                    - i64::from(window.padding[axis])
            };
            let (row, column) = (place(0, row, ky), place(1, column, kx));
            let counts = (-top..x.size[1] as i64 + bottom).contains(&row)
                && (-left..x.size[2] as i64 + right).contains(&column);
            count += i32::from(counts);
            if let Some(value) = x.at(channel, row, column) {
                most = most.max(value);
                sum += value;
            }
        }
        if max { most } else { sum / f64::from(count) }
    };
    places(output).map(pixel).collect()
}

fn reduce(x: &Map<'_>, output: [usize; 3], axes: [bool; 3], kind: Reduction) -> Vec<f64> {
    let start = if kind == Reduction::Max { f64::NEG_INFINITY } else { 0.0 };
    let mut result = vec![start; output.iter().product()];
    for at in places(x.size) {
        let to: [usize; 3] = std::array::from_fn(|axis| if axes[axis] { 0 } else { at[axis] });
        let to = &mut result[(to[0] * output[1] + to[1]) * output[2] + to[2]];
        *to = if kind == Reduction::Max { to.max(x.get(at)) } else { *to + x.get(at) };
    }
    let count = (x.values.len() / result.len()) as f64;
    if kind == Reduction::Mean {
        result.iter_mut().for_each(|value| *value /= count);
    }
    result
}

fn softmax(x: &Map<'_>, log: bool) -> Vec<f64> {
    let channels = |at: [usize; 3]| (0..x.size[0]).map(move |channel| x.get([channel, at[1], at[2]]));
    let value = |at| {
        let most = channels(at).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = channels(at).map(|value| (value - most).exp()).sum();
        let own = x.get(at) - most;
        if log { own - sum.ln() } else { own.exp() / sum }
    };
    places(x.size).map(value).collect()
}

fn resize(x: &Map<'_>, output: [usize; 3], of: &Resize) -> Vec<f64> {
    let source = |axis: usize, at: usize| {
        let (at, scale) = (at as f64, f64::from(of.scales[axis - 1]));
        let (length, resized) = (x.size[axis] as f64, output[axis] as f64);
        match of.coordinates {
            Coordinates::PytorchHalfPixel if resized == 1.0 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (at + 0.5) / scale - 0.5,
            Coordinates::AlignCorners if resized == 1.0 => 0.0,
            Coordinates::AlignCorners => at * (length - 1.0) / (resized - 1.0),
            Coordinates::Asymmetric => at / scale,
        }
    };
    let pixel = |[channel, row, column]: [usize; 3]| {
        let places = [source(1, row), source(2, column)];
        let last = |axis: usize| (x.size[axis + 1] - 1) as f64;
        match of.mode {
            ResizeMode::Nearest(rule) => {
                let [row, column] = [0, 1].map(|axis| {
                    let place = places[axis];
                    let rounded = match rule {
                        Nearest::Floor => place.floor(),
                        Nearest::Ceil => place.ceil(),
                        Nearest::RoundDown => (place - 0.5).ceil(),
                        Nearest::RoundUp => (place + 0.5).floor(),
                    };
                    rounded.clamp(0.0, last(axis)) as usize
                });
                x.get([channel, row, column])
            }
            ResizeMode::Linear => {
                let [y, x_place] = [0, 1].map(|axis| places[axis].clamp(0.0, last(axis)));
                let mut sum = 0.0;
                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let share = |place: f64, d: i32| if d == 0 { 1.0 - place.fract() } else { place.fract() };
                    let at = |place: f64, d: i32, axis: usize| {
                        (place.floor() + f64::from(d)).min(last(axis)) as usize
                    };
                    let value = x.get([channel, at(y, dy, 0), at(x_place, dx, 1)]);
                    sum += share(y, dy) * share(x_place, dx) * value;
                }
                sum
            }
        }
    };
    places(output).map(pixel).collect()
}

/// The error function, by Simpson's rule.
fn erf(x: f64) -> f64 {
    const STEPS: u32 = 2000;
    let step = x.clamp(-8.0, 8.0) / f64::from(STEPS);
    let weight = |at: u32| match at {
        0 | STEPS => 1.0,
        at if at % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let sum: f64 = (0..=STEPS).map(|at| weight(at) * (-(f64::from(at) * step).powi(2)).exp()).sum();
    sum * step / 3.0 * 2.0 / PI.sqrt()
}

fn activate(x: f64, activation: Activation) -> f64 {
    let hard = |alpha: f64, beta: f64| (alpha * x + beta).clamp(0.0, 1.0);
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu { slope } => x.max(0.0) + f64::from(slope) * x.min(0.0),
        Activation::Sigmoid => sigmoid,
        Activation::HardSigmoid { alpha, beta } => hard(alpha.into(), beta.into()),
        Activation::HardSwish => x * hard(1.0 / 6.0, 0.5),
        Activation::Silu => x * sigmoid,
        Activation::Tanh => x.tanh(),
        Activation::Elu { alpha } => x.max(0.0) + f64::from(alpha) * x.min(0.0).exp_m1(),
        Activation::Gelu => x / 2.0 * (1.0 + erf(x * FRAC_1_SQRT_2)),
        Activation::GeluTanh => x / 2.0 * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        Activation::Clip { min, max } => x.min(max.into()).max(min.into()),
        Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Activation::Exp => x.exp(),
        Activation::Sqrt => x.sqrt(),
    }
}
