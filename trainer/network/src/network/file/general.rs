//! Reads the operations that networks from elsewhere need.

use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Coordinates, Join, Nearest,
    Normalise, NormaliseOver, Op, Pad, PadMode, Reduce, Reduction, Reshape, Resize, ResizeMode, Shape,
    Shuffle, Slice, Softmax, Transpose,
};

use super::fields::Fields;
use super::layers::Layers;
use super::values::activation;
use super::{FileError, one_of};
use crate::network::EPSILON;

pub(super) const AXES: &[(&str, Axis)] =
    &[("channel", Axis::Channel), ("height", Axis::Height), ("width", Axis::Width)];
pub(super) const REDUCTIONS: &[(&str, Reduction)] =
    &[("mean", Reduction::Mean), ("max", Reduction::Max), ("sum", Reduction::Sum)];
pub(super) const BINARIES: &[(&str, BinaryKind)] =
    &[("add", BinaryKind::Add), ("sub", BinaryKind::Sub), ("mul", BinaryKind::Mul), ("div", BinaryKind::Div)];
pub(super) const ROUNDINGS: &[(&str, Nearest)] = &[
    ("round_down", Nearest::RoundDown),
    ("round_up", Nearest::RoundUp),
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
];
pub(super) const COORDINATES: &[(&str, Coordinates)] = &[
    ("half_pixel", Coordinates::HalfPixel),
    ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
    ("align_corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
];
pub(super) const ORDERS: &[(&str, BlockOrder)] =
    &[("block_first", BlockOrder::BlockFirst), ("channel_first", BlockOrder::ChannelFirst)];

/// Largest size along an axis.
const MOST: u32 = i32::MAX as u32;

impl<'t> Layers<'t> {
    /// The operation called `operation`, if it is one of these; `name` is that of its tensors.
    pub fn general(
        &self,
        operation: &str,
        name: String,
        fields: &mut Fields<'t>,
    ) -> Result<Option<Op<String>>, FileError> {
        if let Some((_, kind)) = BINARIES.iter().find(|(known, _)| *known == operation) {
            return self.binary(*kind, fields).map(Some);
        }
        if operation == "concat" {
            return self.join(fields).map(Some);
        }
        let one = |fields: &mut Fields<'t>| self.input(fields);
        Ok(Some(match operation {
            "reduce" => {
                let kind = needed(fields, "kind", REDUCTIONS)?;
                let mut axes = [false; 3];
                for axis in self.axes(fields)? {
                    axes[axis.index()] = true;
                }
                Op::Reduce(Reduce { input: one(fields)?, kind, axes })
            }
            "affine" => Op::Affine(Affine { name, input: one(fields)?, activation: activation(fields)? }),
            "activation" => {
                let input = one(fields)?;
                let activation = activation(fields)?;
                if activation == Activation::None {
                    return Err(fields.missing("activation", "which one"));
                }
                Op::Activate(Activate { input, activation, slope: None })
            }
            "prelu" => Op::Activate(Activate {
                input: one(fields)?,
                activation: Activation::None,
                slope: Some(name),
            }),
            "softmax" | "log_softmax" => {
                Op::Softmax(Softmax { input: one(fields)?, log: operation == "log_softmax" })
            }
            "slice" => {
                let input = one(fields)?;
                let start = triple(fields, "start", 0)?.unwrap_or([0; 3]);
                let step = triple(fields, "step", 1)?.unwrap_or([1; 3]);
                Op::Slice(Slice { input, start, step, output: size(fields)? })
            }
            "channel_shuffle" => {
                let groups = fields.integer("groups", 1, MOST)?;
                let groups = groups.ok_or_else(|| fields.missing("groups", "an integer"))?;
                Op::Shuffle(Shuffle { input: one(fields)?, groups })
            }
            "pad" => {
                let input = one(fields)?;
                let before = triple(fields, "before", 0)?.unwrap_or([0; 3]);
                let after = triple(fields, "after", 0)?.unwrap_or([0; 3]);
                let modes =
                    &[("constant", None), ("reflect", Some(PadMode::Reflect)), ("edge", Some(PadMode::Edge))];
                let mode = match one_of(fields, "mode", modes)?.unwrap_or(None) {
                    Some(mode) => mode,
                    None => PadMode::Constant(fields.single("value")?.unwrap_or(0.0)),
                };
                Op::Pad(Pad { input, before, after, mode })
            }
            "resize" => self.resize(fields)?,
            "depth_to_space" | "space_to_depth" => {
                let input = one(fields)?;
                let block = fields.integer("block", 1, u16::MAX.into())?;
                let block = block.ok_or_else(|| fields.missing("block", "an integer"))? as u16;
                let order = one_of(fields, "order", ORDERS)?.unwrap_or(BlockOrder::ChannelFirst);
                let blocks = Blocks { input, block, order };
                if operation == "depth_to_space" {
                    Op::DepthToSpace(blocks)
                } else {
                    Op::SpaceToDepth(blocks)
                }
            }
            "normalise" => {
                let input = one(fields)?;
                let groups = fields.integer("groups", 1, MOST)?;
                let kinds = &[
                    ("channels", NormaliseOver::Channels),
                    ("plane", NormaliseOver::Plane),
                    ("all", NormaliseOver::All),
                ];
                let over = match (groups, fields.has("over")) {
                    (Some(groups), false) => NormaliseOver::Groups(groups),
                    (None, _) => needed(fields, "over", kinds)?,
                    (Some(_), true) => {
                        return Err(fields.fails_at("groups", "give `groups` or `over`, not both"));
                    }
                };
                fields.get("over");
                let epsilon = fields.single("epsilon")?.unwrap_or(EPSILON as f32);
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(fields.fails_at("epsilon", "it must be above 0, such as 1e-5"));
                }
                Op::Normalise(Normalise { name, input, epsilon, over })
            }
            "reshape" => Op::Reshape(Reshape { input: one(fields)?, output: size(fields)? }),
            "transpose" => {
                let input = one(fields)?;
                let axes = self.axes(fields)?;
                let axes = <[Axis; 3]>::try_from(axes).map_err(|_| {
                    fields
                        .fails_at("axes", "it must name three, such as [\"height\", \"width\", \"channel\"]")
                })?;
                Op::Transpose(Transpose { input, axes })
            }
            _ => return Ok(None),
        }))
    }

    fn binary(&self, kind: BinaryKind, fields: &mut Fields<'t>) -> Result<Op<String>, FileError> {
        let inputs = self.inputs(fields)?;
        let &[first, second] = inputs.values() else {
            return Err(fields.fails_at("inputs", "there must be two"));
        };
        let (a, b) = (self.shape(first), self.shape(second));
        let (inputs, activation) = ([first, second], activation(fields)?);
        if kind == BinaryKind::Add && a == b {
            return Ok(Op::Add { inputs, activation });
        }
        let output = Shape::new(a.channels.max(b.channels), a.height.max(b.height), a.width.max(b.width));
        Ok(Op::Binary(Binary { kind, inputs, output, activation }))
    }

    fn join(&self, fields: &mut Fields<'t>) -> Result<Op<String>, FileError> {
        let inputs = self.inputs(fields)?;
        let axis = one_of(fields, "axis", AXES)?.unwrap_or(Axis::Channel);
        let sizes = inputs.values().iter().map(|&value| {
            let shape = self.shape(value);
            [shape.channels, shape.height, shape.width][axis.index()]
        });
        let size = sizes.fold(0u32, u32::saturating_add);
        Ok(Op::Join(Join { inputs, axis, size }))
    }

    fn resize(&self, fields: &mut Fields<'t>) -> Result<Op<String>, FileError> {
        let input = self.input(fields)?;
        let shape = self.shape(input);
        let size = fields.longs("size", 1, "a list of height and width")?;
        let Some(&[height, width]) = size.as_deref() else {
            return Err(fields.missing("size", "a list of height and width"));
        };
        let linear = one_of(fields, "mode", &[("nearest", false), ("linear", true)])?.unwrap_or(false);
        let rounding = one_of(fields, "rounding", ROUNDINGS)?;
        let mode = if linear {
            ResizeMode::Linear
        } else {
            ResizeMode::Nearest(rounding.unwrap_or(Nearest::RoundDown))
        };
        let coordinates = one_of(fields, "coordinates", COORDINATES)?.unwrap_or(Coordinates::HalfPixel);
        let usual = usual_scales(shape, [height, width]);
        let scales = [
            fields.single("scale_height")?.unwrap_or(usual[0]),
            fields.single("scale_width")?.unwrap_or(usual[1]),
        ];
        if scales.iter().any(|scale| !scale.is_finite() || *scale <= 0.0) {
            return Err(fields.fails("`scale_height` and `scale_width` must be above 0"));
        }
        Ok(Op::Resize(Resize { input, size: [height, width], mode, coordinates, scales }))
    }

    /// The field `axes`, a list of names.
    fn axes(&self, fields: &mut Fields<'t>) -> Result<Vec<Axis>, FileError> {
        const EXPECTED: &str = "a list of \"channel\", \"height\" and \"width\"";
        let names = fields.texts("axes")?.ok_or_else(|| fields.missing("axes", EXPECTED))?;
        let axis = |name: &&str| AXES.iter().find(|(known, _)| known == name).map(|(_, axis)| *axis);
        let axes: Option<Vec<Axis>> = names.iter().map(axis).collect();
        axes.filter(|axes| (1..=3).contains(&axes.len()))
            .ok_or_else(|| fields.fails_at("axes", format!("it must be {EXPECTED}")))
    }
}

/// Scales of a resize, where its file names none: result over input.
pub(super) fn usual_scales(input: Shape, [height, width]: [u32; 2]) -> [f32; 2] {
    [height as f32 / input.height as f32, width as f32 / input.width as f32]
}

/// One of several words, which has to be there.
fn needed<T: Copy>(
    fields: &mut Fields<'_>,
    field: &'static str,
    values: &[(&str, T)],
) -> Result<T, FileError> {
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    one_of(fields, field, values)?.ok_or_else(|| fields.missing(field, &names.join(", ")))
}

/// A list of three: channel, height, width.
fn triple(fields: &mut Fields<'_>, field: &'static str, least: u32) -> Result<Option<[u32; 3]>, FileError> {
    const EXPECTED: &str = "a list of three integers: channel, height, width";
    match fields.longs(field, least, EXPECTED)?.as_deref() {
        None => Ok(None),
        Some(&[channel, height, width]) => Ok(Some([channel, height, width])),
        Some(_) => Err(fields.fails_at(field, format!("it must be {EXPECTED}"))),
    }
}

/// The field `size`: the shape of the result.
fn size(fields: &mut Fields<'_>) -> Result<Shape, FileError> {
    let [channels, height, width] = triple(fields, "size", 1)?
        .ok_or_else(|| fields.missing("size", "a list of channels, height and width"))?;
    Ok(Shape::new(channels, height, width))
}
