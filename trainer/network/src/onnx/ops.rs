//! The operations of a layer program as nodes of ONNX.

use lrpet_runtime::model::{
    Activate, Activation, Conv, GeneralConv, LayerInfo, Linear, Op, PadShortcut, Pool, PoolKind, Shape,
    Value, Weights, Window,
};

use super::OnnxError;
use super::activation::{activate, stage};
use super::general;
use super::graph::{Graph, int, ints};
use super::proto::AttributeProto;

/// The names of a value in the graph.
struct Names {
    /// As `[n, c, h, w]`.
    map: Option<String>,
    /// As `[n, c·h·w]`, which linear layers read and make.
    vector: Option<String>,
}

/// The values that were made so far: the input, then one of each operation.
pub(super) struct Values<'g, 'a> {
    graph: &'g mut Graph<'a>,
    names: Vec<Names>,
}

impl<'g, 'a> Values<'g, 'a> {
    /// Begins with the input `[n, c, h, w]`, normalised.
    pub(super) fn new(graph: &'g mut Graph<'a>, input: String) -> Self {
        Values { graph, names: vec![Names { map: Some(input), vector: None }] }
    }

    /// Adds the nodes of a layer, which makes a value: a list of outputs makes none.
    pub(super) fn push(&mut self, layer: &LayerInfo<'_>) -> Result<(), OnnxError> {
        let output = format!("{}:{}", layer.op.name().replace(' ', "_"), layer.index);
        let flat = match layer.op {
            Op::Linear(_) => true,
            // Alike for both forms.
            Op::Softmax(_) | Op::Activate(Activate { slope: None, .. }) => {
                let input = self.names.get(usize::from(layer.op.inputs().first()));
                input.is_some_and(|names| names.vector.is_some())
            }
            _ => false,
        };
        let result = Some(self.result(layer, flat, output)?);
        self.names.push(match flat {
            true => Names { map: None, vector: result },
            false => Names { map: result, vector: None },
        });
        Ok(())
    }

    /// Adds the nodes of an operation, which makes a vector of a vector where it is `flat`, else a map of maps.
    fn result(&mut self, layer: &LayerInfo<'_>, flat: bool, output: String) -> Result<String, OnnxError> {
        let inputs = layer.op.inputs();
        let inputs = inputs.values().iter().map(|value| match flat {
            true => self.vector(*value),
            false => self.map(*value),
        });
        let inputs = inputs.collect::<Result<Vec<String>, OnnxError>>()?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        // A checked program has operations that read something, and arithmetic of two.
        let input = inputs.first().copied().unwrap_or_default();
        let (graph, shape) = (&mut *self.graph, layer.input);
        Ok(match &layer.op {
            Op::Conv(op) => conv(graph, &Convolution::from(op), &inputs, output)?,
            Op::GeneralConv(op) => conv(graph, &Convolution::from(op), &inputs, output)?,
            Op::Linear(op) => linear(graph, op, input, output)?,
            Op::Pool(op) => pool(graph, op, input, output),
            Op::GlobalAveragePool { .. } => graph.node("GlobalAveragePool", &[input], output, Vec::new()),
            Op::PadShortcut(op) => pad_shortcut(graph, op, input, shape, output),
            Op::Add { activation, .. } => arithmetic(graph, "Add", &inputs, *activation, output),
            Op::Binary(op) => arithmetic(graph, general::operator(op.kind), &inputs, op.activation, output),
            Op::Concat(_) => graph.node("Concat", &inputs, output, vec![int("axis", 1)]),
            Op::Join(op) => {
                graph.node("Concat", &inputs, output, vec![int("axis", 1 + op.axis.index() as i64)])
            }
            Op::GeneralPool(op) => general::pool(graph, op, input, [shape, layer.output], output),
            Op::Reduce(op) => general::reduce(graph, op, input, output),
            Op::Affine(op) => {
                let scale = graph.planes(op.name, ".scale")?;
                let scaled = graph.node("Mul", &[input, &scale], format!("{output}.scaled"), Vec::new());
                let bias = graph.planes(op.name, ".bias")?;
                arithmetic(graph, "Add", &[&scaled, &bias], op.activation, output)
            }
            Op::Activate(Activate { slope: Some(name), .. }) => {
                let slope = graph.planes(name, ".slope")?;
                graph.node("PRelu", &[input, &slope], output, Vec::new())
            }
            Op::Activate(Activate { activation: Activation::None, .. }) => {
                graph.node("Identity", &[input], output, Vec::new())
            }
            Op::Activate(op) => activate(graph, input.to_owned(), op.activation, output),
            Op::Softmax(op) => {
                let operator = if op.log { "LogSoftmax" } else { "Softmax" };
                graph.node(operator, &[input], output, vec![int("axis", 1)])
            }
            Op::Slice(op) => general::slice(graph, op, input, output),
            Op::Shuffle(op) => general::shuffle(graph, op.groups, input, shape, output),
            Op::Pad(op) => general::pad(graph, op, input, output),
            Op::Resize(op) => general::resize(graph, op, input, shape, output)?,
            Op::DepthToSpace(op) => general::depth_to_space(graph, op, input, output),
            Op::SpaceToDepth(op) => general::space_to_depth(graph, op, input, shape, output),
            Op::Normalise(op) => general::normalise(graph, op, input, shape, output)?,
            Op::Reshape(op) => general::reshape(graph, input, &op.output.axes().map(i64::from), output),
            Op::Outputs(_) => return Err(OnnxError::Value { number: self.names.len() as Value }),
            Op::Transpose(op) => {
                let [a, b, c] = op.axes.map(|axis| 1 + axis.index() as u16);
                general::transpose(graph, input, &[0, a, b, c], output)
            }
        })
    }

    /// The last value, as a map or as a vector, under the name `output`.
    pub(super) fn finish(mut self, output: &str, map: bool) -> Result<(), OnnxError> {
        // A program has at most 4096 operations.
        let number = (self.names.len() - 1) as Value;
        let last = if map { self.map(number)? } else { self.vector(number)? };
        // Nothing reads the last value, so only its maker knows its name.
        for node in self.graph.nodes.iter_mut().rev() {
            node.output.iter_mut().filter(|name| **name == last).for_each(|name| output.clone_into(name));
        }
        Ok(())
    }

    /// One of several outputs, the value `number` as a map under the name `output`; under a longer one where that is taken, as it is by
    /// `input`.
    pub(super) fn output(
        &mut self,
        number: Value,
        output: &mut String,
        input: &str,
    ) -> Result<(), OnnxError> {
        let map = self.map(number)?;
        let taken = |name: &str| {
            let made = self.graph.nodes.iter().flat_map(|node| &node.output);
            let constants = self.graph.constants.iter().flat_map(|constant| &constant.name);
            name == input || made.chain(constants).any(|other| other == name)
        };
        while taken(output) {
            output.push_str("_output");
        }
        self.graph.node("Identity", &[&map], output.clone(), Vec::new());
        Ok(())
    }

    /// A value as `[n, c, h, w]`.
    fn map(&mut self, number: Value) -> Result<String, OnnxError> {
        let names = self.names.get_mut(usize::from(number)).ok_or(OnnxError::Value { number })?;
        if let (None, Some(vector)) = (&names.map, &names.vector) {
            let axes = self.graph.integers("plane.axes.value", &[2, 3]);
            let name = format!("{vector}.map");
            names.map = Some(self.graph.node("Unsqueeze", &[vector, &axes], name, Vec::new()));
        }
        names.map.clone().ok_or(OnnxError::Value { number })
    }

    /// A value as `[n, c]`, of a map all its values one after another.
    fn vector(&mut self, number: Value) -> Result<String, OnnxError> {
        let names = self.names.get_mut(usize::from(number)).ok_or(OnnxError::Value { number })?;
        if let (None, Some(map)) = (&names.vector, &names.map) {
            let name = format!("{map}.vector");
            names.vector = Some(self.graph.node("Flatten", &[map], name, vec![int("axis", 1)]));
        }
        names.vector.clone().ok_or(OnnxError::Value { number })
    }
}

/// Two values together, then the activation.
fn arithmetic(
    graph: &mut Graph<'_>,
    operator: &str,
    inputs: &[&str],
    activation: Activation,
    output: String,
) -> String {
    let sum = stage(&output, "sum", activation != Activation::None);
    let sum = graph.node(operator, inputs, sum, Vec::new());
    activate(graph, sum, activation, output)
}

/// The attributes that convolution and pooling share. Output sizes are rounded down, as without `ceil_mode`.
pub(super) fn sliding(window: &Window) -> Vec<AttributeProto> {
    // Both sides order padding alike: top, left, bottom, right.
    vec![ints("kernel_shape", &window.kernel), ints("strides", &window.stride), ints("pads", &window.padding)]
}

/// A convolution of either kind.
struct Convolution<'n> {
    name: &'n str,
    window: Window,
    /// What a convolution says beside its window.
    more: Vec<AttributeProto>,
    groups: u32,
    transposed: bool,
    weights: Weights,
    activation: Activation,
}

impl<'n> From<&Conv<&'n str>> for Convolution<'n> {
    fn from(conv: &Conv<&'n str>) -> Self {
        // A depthwise one is one of c groups.
        let groups = if conv.weights == Weights::Depthwise { conv.out_channels } else { 1 };
        let (name, window, more) = (conv.name, conv.window, Vec::new());
        let (weights, activation) = (conv.weights, conv.activation);
        Convolution { name, window, more, groups, transposed: false, weights, activation }
    }
}

impl<'n> From<&GeneralConv<&'n str>> for Convolution<'n> {
    fn from(conv: &GeneralConv<&'n str>) -> Self {
        let output_padding = conv.transposed.map(|more| ints("output_padding", &more));
        let more = std::iter::once(ints("dilations", &conv.dilation)).chain(output_padding).collect();
        Convolution {
            name: conv.name,
            window: conv.window,
            more,
            groups: conv.groups,
            transposed: conv.transposed.is_some(),
            weights: conv.weights,
            activation: conv.activation,
        }
    }
}

/// A convolution, a pair as two, and then residual and activation.
fn conv(
    graph: &mut Graph<'_>,
    conv: &Convolution<'_>,
    inputs: &[&str],
    output: String,
) -> Result<String, OnnxError> {
    let (input, residual) = (inputs.first().copied().unwrap_or_default(), inputs.get(1));
    let sum = stage(&output, "conv", residual.is_some() || conv.activation != Activation::None);
    let attributes = sliding(&conv.window).into_iter().chain(conv.more.iter().cloned());
    let sum = if let Weights::Pair { .. } = conv.weights {
        let thin = graph.weight(conv.name, ".thin.weight", ".expand.bias")?;
        let thin = graph.node("Conv", &[input, &thin], format!("{output}.thin"), attributes.collect());
        let expand = graph.weight(conv.name, ".expand.weight", ".expand.bias")?;
        let bias = graph.bias(conv.name, ".expand.bias")?;
        graph.node("Conv", &[&thin, &expand, &bias], sum, sliding(&Window::square(1, 1, 0)))
    } else {
        let (operator, weight) = if conv.transposed {
            ("ConvTranspose", graph.turned_weight(conv.name, conv.groups)?)
        } else {
            ("Conv", graph.weight(conv.name, ".weight", ".bias")?)
        };
        let bias = graph.bias(conv.name, ".bias")?;
        let groups = (conv.groups != 1).then(|| int("group", i64::from(conv.groups)));
        graph.node(operator, &[input, &weight, &bias], sum, attributes.chain(groups).collect())
    };
    let sum = match residual {
        Some(residual) => {
            let name = stage(&output, "sum", conv.activation != Activation::None);
            graph.node("Add", &[&sum, residual], name, Vec::new())
        }
        None => sum,
    };
    Ok(activate(graph, sum, conv.activation, output))
}

/// A linear layer, or a pair as two.
fn linear(
    graph: &mut Graph<'_>,
    linear: &Linear<&str>,
    input: &str,
    output: String,
) -> Result<String, OnnxError> {
    let transposed = || vec![int("transB", 1)];
    let sum = stage(&output, "sum", linear.activation != Activation::None);
    let sum = if let Weights::Pair { .. } = linear.weights {
        let thin = graph.weight(linear.name, ".thin.weight", ".expand.bias")?;
        let thin = graph.node("Gemm", &[input, &thin], format!("{output}.thin"), transposed());
        let expand = graph.weight(linear.name, ".expand.weight", ".expand.bias")?;
        let bias = graph.bias(linear.name, ".expand.bias")?;
        graph.node("Gemm", &[&thin, &expand, &bias], sum, transposed())
    } else {
        let weight = graph.weight(linear.name, ".weight", ".bias")?;
        let bias = graph.bias(linear.name, ".bias")?;
        graph.node("Gemm", &[input, &weight, &bias], sum, transposed())
    };
    Ok(activate(graph, sum, linear.activation, output))
}

/// Of the window's positions inside the image only, as the runtime does it.
fn pool(graph: &mut Graph<'_>, pool: &Pool, input: &str, output: String) -> String {
    let mut attributes = sliding(&pool.window);
    match pool.kind {
        PoolKind::Max => graph.node("MaxPool", &[input], output, attributes),
        PoolKind::Average => {
            attributes.push(int("count_include_pad", 0));
            graph.node("AveragePool", &[input], output, attributes)
        }
    }
}

/// Every `stride`-th pixel of both axes, between channels of zeros.
fn pad_shortcut(
    graph: &mut Graph<'_>,
    shortcut: &PadShortcut,
    input: &str,
    shape: Shape,
    output: String,
) -> String {
    let mut integers = |name: &str, values: &[i64]| graph.integers(&format!("{output}.{name}.value"), values);
    let starts = integers("starts", &[0, 0]);
    let ends = integers("ends", &[i64::from(shape.height), i64::from(shape.width)]);
    let axes = integers("axes", &[2, 3]);
    let steps = integers("steps", &[i64::from(shortcut.stride); 2]);
    let extra = i64::from(shortcut.out_channels) - i64::from(shape.channels);
    let before = extra / 2;
    let pads = integers("pads", &[0, before, 0, 0, 0, extra - before, 0, 0]);
    let pixels = format!("{output}.pixels");
    let pixels = graph.node("Slice", &[input, &starts, &ends, &axes, &steps], pixels, Vec::new());
    graph.node("Pad", &[&pixels, &pads], output, Vec::new())
}
