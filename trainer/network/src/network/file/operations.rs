//! Reads the operation of a layer.

use lrpet_runtime::model::{
    Concat, Conv, FEW_INPUTS, GeneralConv, GeneralPool, Linear, Op, PadShortcut, Pool, Reduction, Shape,
    Weights,
};

use super::FileError;
use super::fields::{Fields, nearest, shown};
use super::layers::Layers;
use super::values::{activation, counted, norm, pair, window};
use crate::network::{Layer, convolution, pooling};

/// The operations' names.
pub(super) const OPERATIONS: &[&str] = &[
    "conv",
    "depthwise_conv",
    "conv_transpose",
    "linear",
    "max_pool",
    "average_pool",
    "global_average_pool",
    "pad_shortcut",
    "add",
    "sub",
    "mul",
    "div",
    "concat",
    "reduce",
    "affine",
    "activation",
    "prelu",
    "softmax",
    "log_softmax",
    "normalise",
    "slice",
    "channel_shuffle",
    "pad",
    "resize",
    "depth_to_space",
    "space_to_depth",
    "reshape",
    "transpose",
];

/// Those with tensors, which are called after the layer.
const WITH_TENSORS: &[&str] =
    &["conv", "depthwise_conv", "conv_transpose", "linear", "affine", "prelu", "normalise"];

/// Most outputs of a layer.
const MOST: u32 = i32::MAX as u32;

impl<'t> Layers<'t> {
    /// The layer of a table.
    pub fn layer(
        &self,
        operation: &str,
        name: Option<&'t str>,
        fields: &mut Fields<'t>,
    ) -> Result<Layer, FileError> {
        let has_tensors = WITH_TENSORS.contains(&operation);
        if has_tensors && name.is_none() {
            return Err(fields.missing("name", "by which its tensors are called"));
        }
        let own = name.unwrap_or_default().to_owned();
        let mut layer = match operation {
            "conv" | "depthwise_conv" => self.conv(operation, own, fields)?,
            "conv_transpose" => self.conv_transpose(own, fields)?,
            "linear" => {
                let input = self.input(fields)?;
                let out_features = out(fields)?;
                let bias = fields.flag("bias")?.unwrap_or(true);
                if fields.has("norm") {
                    return Err(fields.fails_at(
                        "norm",
                        "a normalisation stands behind a conv: write this layer as a conv with kernel = 1",
                    ));
                }
                let (weights, activation) = (Weights::Dense, activation(fields)?);
                let linear = Linear { name: own, input, out_features, weights, activation };
                Layer { bias, ..Layer::new(Op::Linear(linear)) }
            }
            "max_pool" | "average_pool" => Layer::new(self.pool(operation, fields)?),
            "global_average_pool" => Layer::new(Op::GlobalAveragePool { input: self.input(fields)? }),
            "pad_shortcut" => {
                let (input, out_channels) = (self.input(fields)?, out(fields)?);
                let stride = fields.integer("stride", 1, u16::MAX.into())?.unwrap_or(1) as u16;
                Layer::new(Op::PadShortcut(PadShortcut { input, out_channels, stride }))
            }
            "concat" if !fields.has("axis") && self.few(fields)? => {
                let inputs = self.inputs(fields)?;
                let channels = inputs.values().iter().map(|&value| self.shape(value).channels);
                let out_channels = channels.fold(0u32, u32::saturating_add);
                // Known to the file whatever the axis.
                fields.get("axis");
                Layer::new(Op::Concat(Concat { inputs, out_channels }))
            }
            other => match self.general(other, own, fields)? {
                Some(op) => Layer::new(op),
                None => {
                    let like = nearest(other, OPERATIONS.iter().copied());
                    let like = like.map_or(String::new(), |like| format!(" (did you mean `{like}`?)"));
                    let (other, known) = (shown(other), OPERATIONS.join(", "));
                    let reason = format!("`{other}` is no operation{like}; known are {known}");
                    return Err(fields.fails_at("op", reason));
                }
            },
        };
        layer.label = name.filter(|_| !has_tensors).map(str::to_owned);
        Ok(layer)
    }

    /// Whether the field `inputs` names no more values than the first version of the format joins.
    fn few(&self, fields: &mut Fields<'t>) -> Result<bool, FileError> {
        Ok(fields.texts("inputs")?.is_none_or(|names| names.len() <= FEW_INPUTS))
    }

    fn conv(&self, operation: &str, name: String, fields: &mut Fields<'t>) -> Result<Layer, FileError> {
        let input = self.input(fields)?;
        let shape = self.shape(input);
        let depthwise = operation == "depthwise_conv";
        let out_channels = if depthwise { shape.channels } else { out(fields)? };
        let window = window(fields, shape)?;
        let (groups, dilation) = match depthwise {
            true => (shape.channels, [1, 1]),
            false => {
                (fields.integer("groups", 1, MOST)?.unwrap_or(1), pair(fields, "dilation")?.unwrap_or([1, 1]))
            }
        };
        let norm = norm(fields)?;
        let bias = fields.flag("bias")?.unwrap_or(norm.is_none());
        let residual = fields.text("residual")?.map(|of| self.value(fields, "residual", of)).transpose()?;
        let activation = activation(fields)?;
        let conv = GeneralConv {
            name,
            input,
            out_channels,
            window,
            dilation,
            groups,
            transposed: None,
            weights: Weights::Dense,
            residual,
            activation,
        };
        let op = convolution(conv, shape.channels);
        Ok(Layer { norm, bias, ..Layer::new(op) })
    }

    fn conv_transpose(&self, name: String, fields: &mut Fields<'t>) -> Result<Layer, FileError> {
        let input = self.input(fields)?;
        let (out_channels, window) = (out(fields)?, window(fields, self.shape(input))?);
        let groups = fields.integer("groups", 1, MOST)?.unwrap_or(1);
        let dilation = pair(fields, "dilation")?.unwrap_or([1, 1]);
        let more = match fields.integers("output_padding", 0, "an integer, or a list of two")?.as_deref() {
            None => [0, 0],
            Some(&[both]) => [both, both],
            Some(&[below, right]) => [below, right],
            Some(_) => {
                return Err(fields.fails_at("output_padding", "it must be an integer, or a list of two"));
            }
        };
        let norm = norm(fields)?;
        let bias = fields.flag("bias")?.unwrap_or(norm.is_none());
        let residual = fields.text("residual")?.map(|of| self.value(fields, "residual", of)).transpose()?;
        let op = Op::GeneralConv(GeneralConv {
            name,
            input,
            out_channels,
            window,
            dilation,
            groups,
            transposed: Some(more),
            weights: Weights::Dense,
            residual,
            activation: activation(fields)?,
        });
        Ok(Layer { norm, bias, ..Layer::new(op) })
    }

    fn pool(&self, operation: &str, fields: &mut Fields<'t>) -> Result<Op<String>, FileError> {
        let input = self.input(fields)?;
        let window = window(fields, self.shape(input))?;
        let dilation = pair(fields, "dilation")?.unwrap_or([1, 1]);
        let largest = operation == "max_pool";
        let counted = if largest { [0; 4] } else { counted(fields, &window)? };
        let reach = |at: usize| (u32::from(window.kernel[at]) - 1) * u32::from(dilation[at]);
        let [top, left, bottom, right] = window.padding.map(u32::from);
        if top.max(bottom) > reach(0) || left.max(right) > reach(1) {
            return Err(fields.fails_at("padding", "it must be smaller than the kernel"));
        }
        let kind = if largest { Reduction::Max } else { Reduction::Mean };
        Ok(pooling(GeneralPool { input, kind, window, dilation, counted }))
    }
}

/// The field `out`.
fn out(fields: &mut Fields<'_>) -> Result<u32, FileError> {
    fields.integer("out", 1, MOST)?.ok_or_else(|| fields.missing("out", "the number of outputs"))
}

/// Why an operation does not go with an input, in words.
pub(super) fn why_not(op: &Op<String>, input: Shape) -> String {
    let [height, width] = match op {
        Op::Conv(Conv { window, .. }) | Op::Pool(Pool { window, .. })
            if window.output(input.height, input.width).is_none() =>
        {
            window.kernel
        }
        _ => [0, 0],
    };
    let divides = |what: &str| format!("`{what}` must divide the channels of its input of {input}");
    match op {
        Op::Conv(_) | Op::Pool(_) if height > 0 => {
            format!("a kernel of {height}×{width} does not fit into its input of {input} with this padding")
        }
        Op::PadShortcut(of) if of.out_channels < input.channels => {
            format!(
                "`out` is {} and must be at least the {} channels of its input",
                of.out_channels, input.channels
            )
        }
        Op::GeneralConv(conv)
            if !input.channels.is_multiple_of(conv.groups)
                || !conv.out_channels.is_multiple_of(conv.groups) =>
        {
            format!("`groups` must divide `out` and the channels of its input of {input}")
        }
        Op::GeneralConv(GeneralConv { transposed: Some(more), window, .. })
            if more[0] >= window.stride[0] || more[1] >= window.stride[1] =>
        {
            "`output_padding` must be smaller than `stride`".to_owned()
        }
        Op::GeneralConv(_) | Op::GeneralPool(_) => {
            format!("its kernel, padding and dilation do not go with its input of {input}")
        }
        Op::Slice(_) => format!("it reaches beyond its input of {input}"),
        Op::Shuffle(_) | Op::Normalise(_) => divides("groups"),
        Op::DepthToSpace(_) => {
            format!("the square of `block` must divide the channels of its input of {input}")
        }
        Op::SpaceToDepth(_) => format!("`block` must divide height and width of its input of {input}"),
        Op::Pad(_) => format!("it mirrors more than its input of {input} has, or its result is too large"),
        Op::Reshape(_) => format!("its result must have as many values as its input of {input}"),
        Op::Transpose(_) => "`axes` must name each axis once".to_owned(),
        _ => format!("its result over an input of {input} would be empty or have 2³¹ values or more"),
    }
}
