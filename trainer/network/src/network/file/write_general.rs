//! Writes the operations that networks from elsewhere need.

use lrpet_runtime::model::{
    Activate, Axis, Binary, BlockOrder, Coordinates, GeneralConv, Nearest, NormaliseOver, Op, PadMode,
    Reduction, ResizeMode, Shape, Softmax, Value,
};

use super::general::{AXES, BINARIES, COORDINATES, ORDERS, REDUCTIONS, ROUNDINGS, usual_scales};
use super::write::{Writer, quoted};
use crate::network::{EPSILON, Layer};

/// What a file calls a general operation.
pub(super) fn operation(op: &Op<String>) -> &'static str {
    match op {
        Op::GeneralConv(GeneralConv { transposed: Some(_), .. }) => "conv_transpose",
        Op::GeneralConv(_) => "conv",
        Op::GeneralPool(pool) if pool.kind == Reduction::Max => "max_pool",
        Op::GeneralPool(_) => "average_pool",
        Op::Reduce(_) => "reduce",
        Op::Binary(Binary { kind, .. }) => word(BINARIES, *kind),
        Op::Affine(_) => "affine",
        Op::Activate(Activate { slope: Some(_), .. }) => "prelu",
        Op::Activate(_) => "activation",
        Op::Softmax(Softmax { log: true, .. }) => "log_softmax",
        Op::Softmax(_) => "softmax",
        Op::Slice(_) => "slice",
        Op::Shuffle(_) => "channel_shuffle",
        Op::Pad(_) => "pad",
        Op::Resize(_) => "resize",
        Op::DepthToSpace(_) => "depth_to_space",
        Op::SpaceToDepth(_) => "space_to_depth",
        Op::Normalise(_) => "normalise",
        Op::Reshape(_) => "reshape",
        Op::Join(_) => "concat",
        Op::Transpose(_) => "transpose",
        other => other.kind(),
    }
}

/// The word of a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    format!("[{}]", words.join(", "))
}

fn axes(shape: Shape) -> String {
    list([shape.channels, shape.height, shape.width])
}

impl Writer {
    /// The fields of a general operation over an input of shape `input`, but for its inputs.
    pub(super) fn general(
        &mut self,
        op: &Op<String>,
        layer: &Layer,
        input: Option<Shape>,
        name_of: impl Fn(Value) -> String,
    ) {
        let axis_name = |axis: Axis| quoted(word(AXES, axis));
        match op {
            Op::GeneralConv(conv) => {
                self.field("out", conv.out_channels);
                self.window(&conv.window);
                self.spread(conv.dilation);
                if conv.groups != 1 {
                    self.field("groups", conv.groups);
                }
                if let Some(more) = conv.transposed.filter(|more| *more != [0, 0]) {
                    self.field("output_padding", list(more));
                }
                self.bias(layer);
                self.norm(layer.norm.as_ref());
                if let Some(residual) = conv.residual {
                    self.field("residual", name_of(residual));
                }
            }
            Op::GeneralPool(pool) => {
                self.window(&pool.window);
                self.spread(pool.dilation);
                match pool.counted {
                    [0, 0, 0, 0] => {}
                    all if all == pool.window.padding => self.field("counted", true),
                    sides => self.field("counted", list(sides)),
                }
            }
            Op::Reduce(reduce) => {
                self.field("kind", quoted(word(REDUCTIONS, reduce.kind)));
                let reduced = AXES.iter().filter(|(_, axis)| reduce.axes[axis.index()]);
                self.field("axes", list(reduced.map(|(name, _)| quoted(name))));
            }
            Op::Slice(slice) => {
                if slice.start != [0; 3] {
                    self.field("start", list(slice.start));
                }
                if slice.step != [1; 3] {
                    self.field("step", list(slice.step));
                }
                self.field("size", axes(slice.output));
            }
            Op::Shuffle(shuffle) => self.field("groups", shuffle.groups),
            Op::Pad(pad) => {
                for (field, sides) in [("before", pad.before), ("after", pad.after)] {
                    if sides != [0; 3] {
                        self.field(field, list(sides));
                    }
                }
                match pad.mode {
                    PadMode::Constant(0.0) => {}
                    PadMode::Constant(value) => self.field("value", format!("{value:?}")),
                    PadMode::Reflect => self.field("mode", quoted("reflect")),
                    PadMode::Edge => self.field("mode", quoted("edge")),
                }
            }
            Op::Resize(resize) => {
                self.field("size", list(resize.size));
                match resize.mode {
                    ResizeMode::Linear => self.field("mode", quoted("linear")),
                    ResizeMode::Nearest(Nearest::RoundDown) => {}
                    ResizeMode::Nearest(rounding) => {
                        self.field("rounding", quoted(word(ROUNDINGS, rounding)))
                    }
                }
                if resize.coordinates != Coordinates::HalfPixel {
                    self.field("coordinates", quoted(word(COORDINATES, resize.coordinates)));
                }
                let usual = input.map(|input| usual_scales(input, resize.size));
                for (at, field) in ["scale_height", "scale_width"].into_iter().enumerate() {
                    if usual.is_none_or(|usual| usual[at] != resize.scales[at]) {
                        self.field(field, format!("{:?}", resize.scales[at]));
                    }
                }
            }
            Op::DepthToSpace(blocks) | Op::SpaceToDepth(blocks) => {
                self.field("block", blocks.block);
                if blocks.order != BlockOrder::ChannelFirst {
                    self.field("order", quoted(word(ORDERS, blocks.order)));
                }
            }
            Op::Normalise(normalise) => {
                match normalise.over {
                    NormaliseOver::Channels => self.field("over", quoted("channels")),
                    NormaliseOver::Plane => self.field("over", quoted("plane")),
                    NormaliseOver::All => self.field("over", quoted("all")),
                    NormaliseOver::Groups(groups) => self.field("groups", groups),
                }
                if normalise.epsilon != EPSILON as f32 {
                    self.field("epsilon", format!("{:?}", normalise.epsilon));
                }
            }
            Op::Reshape(reshape) => self.field("size", axes(reshape.output)),
            Op::Join(join) => self.field("axis", axis_name(join.axis)),
            Op::Transpose(transpose) => self.field("axes", list(transpose.axes.map(axis_name))),
            _ => {}
        }
        self.activation(op.activation());
    }

    fn spread(&mut self, dilation: [u16; 2]) {
        match dilation {
            [1, 1] => {}
            [both, across] if both == across => self.field("dilation", both),
            both => self.field("dilation", list(both)),
        }
    }
}
