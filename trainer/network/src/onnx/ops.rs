//! The operations of a layer program as nodes of ONNX.

use lrpet_runtime::model::{
    Activation, Conv, LayerInfo, Linear, Op, PadShortcut, Pool, PoolKind, Shape, Value, Weights, Window,
};

use super::OnnxError;
use super::graph::{Graph, int, ints};
use super::proto::AttributeProto;

/// The names of a value in the graph.
struct Names {
    /// As `[n, c, h, w]`.
    map: Option<String>,
    /// As `[n, c]`, which linear layers read and make.
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

    /// Adds the nodes of a layer.
    pub(super) fn push(&mut self, layer: &LayerInfo<'_>) -> Result<(), OnnxError> {
        let output = format!("{}:{}", layer.op.name().replace(' ', "_"), layer.index);
        let result = Some(self.result(&layer.op, layer.input, output)?);
        self.names.push(match layer.op {
            Op::Linear(_) => Names { map: None, vector: result },
            _ => Names { map: result, vector: None },
        });
        Ok(())
    }

    /// Adds the nodes of an operation whose first input has the shape `shape`. The result is a vector where the operation is a
    /// linear layer, else a map.
    fn result(&mut self, op: &Op<&str>, shape: Shape, output: String) -> Result<String, OnnxError> {
        if !op.activation().is_plain() {
            let (layer, kind) = (op.name().to_owned(), op.activation().name());
            return Err(OnnxError::Operation { layer, kind });
        }
        Ok(match op {
            Op::Conv(op) => {
                let input = self.map(op.input)?;
                let residual = op.residual.map(|value| self.map(value)).transpose()?;
                conv(self.graph, op, &input, residual.as_deref(), output)?
            }
            Op::Linear(op) => {
                let input = self.vector(op.input)?;
                linear(self.graph, op, &input, output)?
            }
            Op::Pool(op) => {
                let input = self.map(op.input)?;
                pool(self.graph, op, &input, output)
            }
            Op::GlobalAveragePool { input } => {
                let input = self.map(*input)?;
                self.graph.node("GlobalAveragePool", &[&input], output, Vec::new())
            }
            Op::PadShortcut(op) => {
                let input = self.map(op.input)?;
                pad_shortcut(self.graph, op, &input, shape, output)
            }
            Op::Add { inputs: [a, b], activation } => {
                let (a, b) = (self.map(*a)?, self.map(*b)?);
                let sum = stage(&output, "sum", *activation != Activation::None);
                let sum = self.graph.node("Add", &[&a, &b], sum, Vec::new());
                activate(self.graph, sum, *activation, output)
            }
            Op::Concat(op) => {
                let inputs = op.inputs.values().iter().map(|value| self.map(*value));
                let inputs = inputs.collect::<Result<Vec<String>, OnnxError>>()?;
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                self.graph.node("Concat", &inputs, output, vec![int("axis", 1)])
            }
            general => {
                let (layer, kind) = (general.name().to_owned(), general.kind());
                return Err(OnnxError::Operation { layer, kind });
            }
        })
    }

    /// The last value as a vector, under the name `output`.
    pub(super) fn finish(mut self, output: &str) -> Result<(), OnnxError> {
        // A program has at most 4096 operations.
        let last = self.vector((self.names.len() - 1) as Value)?;
        // Nothing reads the last value, so only its maker knows its name.
        for node in self.graph.nodes.iter_mut().rev() {
            node.output.iter_mut().filter(|name| **name == last).for_each(|name| output.clone_into(name));
        }
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

    /// A value of one pixel as `[n, c]`.
    fn vector(&mut self, number: Value) -> Result<String, OnnxError> {
        let names = self.names.get_mut(usize::from(number)).ok_or(OnnxError::Value { number })?;
        if let (None, Some(map)) = (&names.vector, &names.map) {
            let name = format!("{map}.vector");
            names.vector = Some(self.graph.node("Flatten", &[map], name, vec![int("axis", 1)]));
        }
        names.vector.clone().ok_or(OnnxError::Value { number })
    }
}

/// `output` itself, or its name before a further operation makes it.
fn stage(output: &str, word: &str, further: bool) -> String {
    if further { format!("{output}.{word}") } else { output.to_owned() }
}

/// Applies an activation to `sum`; without one, `sum` has the name `output` already.
fn activate(graph: &mut Graph<'_>, sum: String, activation: Activation, output: String) -> String {
    match activation {
        Activation::None => sum,
        Activation::Relu => graph.node("Relu", &[&sum], output, Vec::new()),
        Activation::Relu6 => {
            let least = graph.floats("relu6.least.value", &[], &[0.0]);
            let most = graph.floats("relu6.most.value", &[], &[6.0]);
            graph.node("Clip", &[&sum, &least, &most], output, Vec::new())
        }
        other => unreachable!("{} was refused", other.name()),
    }
}

/// The attributes that convolution and pooling share. Output sizes are rounded down, as without `ceil_mode`.
fn sliding(window: &Window) -> Vec<AttributeProto> {
    // Both sides order padding alike: top, left, bottom, right.
    vec![ints("kernel_shape", &window.kernel), ints("strides", &window.stride), ints("pads", &window.padding)]
}

/// A convolution, a depthwise one as one of c groups, or a pair as two, and then residual and activation.
fn conv(
    graph: &mut Graph<'_>,
    conv: &Conv<&str>,
    input: &str,
    residual: Option<&str>,
    output: String,
) -> Result<String, OnnxError> {
    let sum = stage(&output, "conv", residual.is_some() || conv.activation != Activation::None);
    let window = sliding(&conv.window);
    let sum = if let Weights::Pair { .. } = conv.weights {
        let thin = graph.weight(conv.name, ".thin.weight")?;
        let thin = graph.node("Conv", &[input, &thin], format!("{output}.thin"), window);
        let expand = graph.weight(conv.name, ".expand.weight")?;
        let bias = graph.bias(conv.name, ".expand.bias")?;
        graph.node("Conv", &[&thin, &expand, &bias], sum, sliding(&Window::square(1, 1, 0)))
    } else {
        let weight = graph.weight(conv.name, ".weight")?;
        let bias = graph.bias(conv.name, ".bias")?;
        let depthwise = conv.weights == Weights::Depthwise;
        let groups = depthwise.then(|| int("group", i64::from(conv.out_channels)));
        let attributes = window.into_iter().chain(groups).collect();
        graph.node("Conv", &[input, &weight, &bias], sum, attributes)
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
        let thin = graph.weight(linear.name, ".thin.weight")?;
        let thin = graph.node("Gemm", &[input, &thin], format!("{output}.thin"), transposed());
        let expand = graph.weight(linear.name, ".expand.weight")?;
        let bias = graph.bias(linear.name, ".expand.bias")?;
        graph.node("Gemm", &[&thin, &expand, &bias], sum, transposed())
    } else {
        let weight = graph.weight(linear.name, ".weight")?;
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
