//! Steps as a network of the runtime's operations, and its weights.

use std::collections::BTreeMap;

use crate::checkpoint::Array;
use crate::network::{self, InputKind, Layer, Network, Norm, OutputKind};
use lrpet_runtime::model::Axis;
use lrpet_runtime::model::{
    Activate, Activation, Affine, Binary, BinaryKind, Blocks, Concat, FEW_INPUTS, GeneralConv, GeneralPool,
    Inputs, Join, Linear, MAX_INPUTS, MAX_OPS, Normalise, Op, Outputs, Pad, PadShortcut, Reduce, Reduction,
    Reshape, Resize, Shape, Shuffle, Slice, Softmax, Transpose, Value, Weights, Window,
};

use crate::import::passes::Plan;
use crate::import::step::{Convolution, Frame, Part, Step, What};

/// Weights by name.
pub(crate) type Tensors = BTreeMap<String, Array>;

/// A step that no operation of the runtime computes: its index and why.
pub(crate) type Refusal = (usize, String);

/// The network and its weights; what of it the runtime does not compute.
///
/// # Errors
/// All steps that cannot be.
pub(crate) fn finish(plan: Plan, name: &str) -> Result<(Network, Tensors), Vec<Refusal>> {
    let mut tensors = Tensors::new();
    let mut layers = Vec::with_capacity(plan.steps.len());
    let mut refused = Vec::new();
    let shapes: Vec<[usize; 3]> =
        std::iter::once(plan.input).chain(plan.steps.iter().map(|step| step.shape)).collect();
    let output = shapes[plan.output];
    if plan.steps.len() > MAX_OPS {
        return Err(vec![(
            0,
            format!("the network has {} operations; {MAX_OPS} are possible", plan.steps.len()),
        )]);
    }
    for (index, step) in plan.steps.into_iter().enumerate() {
        match layer(step, &shapes, &mut tensors) {
            Ok(layer) => layers.push(layer),
            Err(reason) => refused.push((index, reason)),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let [c, h, w] = output;
    let input = shape(plan.input);
    let mut network = Network::new(name, input, (c * h * w) as u32, layers);
    network.input_kind = InputKind::Values;
    let one = network.output_values().is_none();
    network.output_kind = if one && h * w == 1 && c > 1 { OutputKind::Classes } else { OutputKind::Values };
    Ok((network, tensors))
}

fn shape([c, h, w]: [usize; 3]) -> Shape {
    Shape::new(c as u32, h as u32, w as u32)
}

/// A number of the runtime's; it has 16 bits there.
fn short(value: usize, what: &str) -> Result<u16, String> {
    u16::try_from(value).map_err(|_| format!("its {what} is {value}, more than the runtime takes"))
}

fn shorts<const N: usize>(values: [usize; N], what: &str) -> Result<[u16; N], String> {
    let mut result = [0; N];
    for (to, value) in result.iter_mut().zip(values) {
        *to = short(value, what)?;
    }
    Ok(result)
}

fn window(frame: &Frame) -> Result<Window, String> {
    Ok(Window {
        kernel: shorts(frame.kernel, "kernel")?,
        stride: shorts(frame.stride, "stride")?,
        padding: shorts(frame.padding, "padding")?,
    })
}

/// One layer, its weights put to the others.
fn layer(step: Step, shapes: &[[usize; 3]], tensors: &mut Tensors) -> Result<Layer, String> {
    let values: Vec<Value> = step.inputs.iter().map(|&value| value as Value).collect();
    let from = shapes[step.inputs[0]];
    let (input, activation, name) = (values[0], step.activation, step.name);
    let output = shape(step.shape);
    let mut put = |part: &str, shape: Vec<usize>, values: Vec<f32>| {
        tensors.insert(format!("{name}.{part}"), Array { shape, values });
    };
    let three = |values: [usize; 3]| values.map(|value| value as u32);
    let op = match step.what {
        What::Convolution(convolution) => {
            return self::convolution(convolution, name, from, &values, activation, tensors);
        }
        What::Linear { weight, bias } => {
            let (n, k) = (bias.len(), weight.len() / bias.len());
            put("weight", vec![n, k], weight);
            put("bias", vec![n], bias);
            Op::Linear(Linear { name, input, out_features: n as u32, weights: Weights::Dense, activation })
        }
        What::Pool { kind, frame, counted } => {
            let window = window(&frame)?;
            let (dilation, counted) = (shorts(frame.dilation, "dilation")?, shorts(counted, "padding")?);
            network::pooling(GeneralPool { input, kind, window, dilation, counted })
        }
        What::Reduce { kind: Reduction::Mean, axes: [false, h, w] }
            if (h || from[1] == 1) && (w || from[2] == 1) =>
        {
            Op::GlobalAveragePool { input }
        }
        What::Reduce { kind, axes } => Op::Reduce(Reduce { input, kind, axes }),
        What::Binary(kind) => {
            let inputs = [values[0], values[1]];
            if kind == BinaryKind::Add && shapes[step.inputs[0]] == shapes[step.inputs[1]] {
                Op::Add { inputs, activation }
            } else {
                Op::Binary(Binary { kind, inputs, output, activation })
            }
        }
        What::Affine { scale, shift } => {
            put("scale", vec![scale.len()], scale);
            put("bias", vec![shift.len()], shift);
            Op::Affine(Affine { name, input, activation })
        }
        What::Activate => Op::Activate(Activate { input, activation, slope: None }),
        What::PRelu { slope } => {
            put("slope", vec![slope.len()], slope);
            Op::Activate(Activate { input, activation: Activation::None, slope: Some(name) })
        }
        What::Softmax { log } => Op::Softmax(Softmax { input, log }),
        What::Slice { start, step } => {
            Op::Slice(Slice { input, start: three(start), step: three(step), output })
        }
        What::Shuffle { groups } => Op::Shuffle(Shuffle { input, groups: groups as u32 }),
        What::Pad { before, after, mode } => {
            Op::Pad(Pad { input, before: three(before), after: three(after), mode })
        }
        What::PadShortcut { stride } => {
            let stride = short(stride, "stride")?;
            Op::PadShortcut(PadShortcut { input, out_channels: output.channels, stride })
        }
        What::Resize { mode, coordinates, scales } => {
            Op::Resize(Resize { input, size: [output.height, output.width], mode, coordinates, scales })
        }
        What::DepthToSpace { block, order } => {
            Op::DepthToSpace(Blocks { input, block: short(block, "block")?, order })
        }
        What::SpaceToDepth { block, order } => {
            Op::SpaceToDepth(Blocks { input, block: short(block, "block")?, order })
        }
        What::Normalise { over, epsilon, scale, shift } => {
            put("scale", vec![scale.len()], scale);
            put("bias", vec![shift.len()], shift);
            Op::Normalise(Normalise { name, input, epsilon, over })
        }
        What::Reshape => Op::Reshape(Reshape { input, output }),
        What::Join { axis } => {
            let inputs = Inputs::new(&values)
                .ok_or_else(|| format!("joins {} values; {MAX_INPUTS} are possible", values.len()))?;
            if axis == Axis::Channel && values.len() <= FEW_INPUTS {
                Op::Concat(Concat { inputs, out_channels: output.channels })
            } else {
                Op::Join(Join { inputs, axis, size: step.shape[axis.index()] as u32 })
            }
        }
        What::Outputs => {
            let inputs = Inputs::new(&values).ok_or_else(|| format!("has {} outputs", values.len()))?;
            let count =
                u32::try_from(step.shape[0]).map_err(|_| "has outputs of too many values".to_owned())?;
            Op::Outputs(Outputs { inputs, count })
        }
        What::Transpose { axes } => Op::Transpose(Transpose { input, axes }),
        What::BatchNorm(_) => {
            return Err("is a batch normalisation in a place that is not imported".to_owned());
        }
        What::Part(Part::Erf) => {
            return Err("is imported as a part of GELU alone, x/2 · (1 + erf(x/√2))".to_owned());
        }
        What::Part(Part::Log) => return Err("is a logarithm, which has no operation here".to_owned()),
    };
    Ok(Layer::new(op))
}

fn convolution(
    of: Convolution,
    name: String,
    [c, ..]: [usize; 3],
    values: &[Value],
    activation: Activation,
    tensors: &mut Tensors,
) -> Result<Layer, String> {
    let (n, frame) = (of.out_channels, of.frame);
    let [kh, kw] = frame.kernel;
    let window = window(&frame)?;
    let (input, residual) = (values[0], values.get(1).copied());
    let conv = GeneralConv {
        name: name.clone(),
        input,
        out_channels: n as u32,
        window,
        dilation: shorts(frame.dilation, "dilation")?,
        groups: of.groups as u32,
        transposed: of.transposed.map(|extra| shorts(extra, "output_padding")).transpose()?,
        weights: Weights::Dense,
        residual,
        activation,
    };
    let op = network::convolution(conv, c as u32);
    let mut put = |name: String, shape: Vec<usize>, values: Vec<f32>| {
        tensors.insert(name, Array { shape, values });
    };
    put(format!("{name}.weight"), vec![n, c / of.groups, kh, kw], of.weight);
    let has_bias = of.bias.is_some();
    let layer = match of.norm {
        Some(norm) => {
            // ONNX says how much a batch leaves, PyTorch how much it takes.
            let momentum = (1.0 - norm.keeps).clamp(0.0, 1.0);
            let momentum = (momentum * 1e6).round() / 1e6;
            let epsilon = (norm.epsilon * 1e12).round() / 1e12;
            let mut described = Norm::new(norm.name);
            if momentum > 0.0 {
                described.momentum = momentum;
            }
            described.epsilon = epsilon;
            let parts = [
                (described.gamma(), norm.gamma),
                (described.beta(), norm.beta),
                (Some(described.mean()), norm.mean),
                (Some(described.variance()), norm.variance),
            ];
            for (name, values) in parts {
                if let Some(name) = name {
                    put(name, vec![n], values);
                }
            }
            let mut layer = Layer::normalised(op, described);
            layer.bias = has_bias;
            layer
        }
        None => Layer::new(op),
    };
    // Without a normalisation there is always a bias.
    if has_bias || layer.norm.is_none() {
        put(format!("{name}.bias"), vec![n], of.bias.unwrap_or_else(|| vec![0.0; n]));
    }
    Ok(layer)
}
