//! The table of steps: what a session needs of each operation, resolved once.

#[cfg(feature = "std")]
mod built;
#[cfg(any(feature = "std", feature = "general"))]
mod general;

use core::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::{Place, Placement};
#[cfg(feature = "std")]
use crate::kernel::Any;
use crate::kernel::{Eights, Layer, LayerWeights, Operations, Set, WeightMatrix};
use crate::model::{
    Activation, EIGHTS, FEW_INPUTS, GENERAL, LayerInfo, Op, PoolKind, Shape, TensorOffsets, Weights, Window,
    take,
};

/// Offset of a value that the step does not have.
const NONE: u32 = u32::MAX;

// Kinds of steps.
const DENSE: u8 = 0;
const PAIR: u8 = 1;
const DEPTHWISE: u8 = 2;
const LINEAR: u8 = 3;
const LINEAR_PAIR: u8 = 4;
const MAX_POOL: u8 = 5;
const AVERAGE_POOL: u8 = 6;
const GLOBAL_AVERAGE: u8 = 7;
const PAD_SHORTCUT: u8 = 8;
const ADD: u8 = 9;
const CONCAT: u8 = 10;
/// An operation whose record is decoded when it runs.
const RECORD: u8 = 11;

/// Added to the kind of a step whose weights have 8 bits.
const EIGHT: u8 = 0x40;
/// Added to the kind of one whose weights are f16 in memory, at offsets there.
#[cfg(feature = "std")]
const WIDENED: u8 = 0x80;

/// An activation that the record has.
const OTHER: u8 = 3;

/// A value that a join reads: its offset in the space, and its size along the axis. Of outputs: the number of its values.
pub(crate) type Part = [u32; 2];

/// How many such an operation has in the table.
pub(crate) fn parts(layer: &LayerInfo<'_>) -> usize {
    match &layer.op {
        Op::Join(_) | Op::Outputs(_) if GENERAL => layer.op.inputs().values().len(),
        _ => 0,
    }
}

/// Where steps have their tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensors<'a> {
    /// The model file.
    pub(crate) model: &'a [u8],
    /// Weights that have 8 bits there, as bits of f16.
    #[cfg(feature = "std")]
    pub(crate) widened: &'a [u16],
}

/// One resolved operation. Plain data, so that the table can lie in the arena.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
#[doc(hidden)]
pub struct Step {
    input_shape: [u32; 3],
    output_shape: [u32; 3],
    /// Offsets in the space behind the table, bytes.
    input: u32,
    second: u32,
    output: u32,
    scratch: u32,
    scratch_bytes: u32,
    /// Of a layer with weights: offsets of weight, expanding weight and bias in the model file (bytes), and the rank.
    /// Of a concatenation: offsets of its third and fourth input in the space, channels of its second and third.
    /// Of a layer whose record is decoded: as of one with weights, but for the record's offset in the model file in place of the rank;
    /// of a join and of outputs the first part in the table, and their number.
    details: [u32; 4],
    kernel: [u16; 2],
    stride: [u16; 2],
    padding: [u16; 4],
    kind: u8,
    activation: u8,
    /// Of the first operation of a stream: how many it has, and the rows that arrive with each pass; 0 elsewhere.
    stream: [u8; 2],
}

impl Step {
    /// Its size.
    pub const WORDS: usize = size_of::<Step>() / size_of::<u32>();

    /// Of the words that it is made of, in a constant.
    pub const fn of_words(words: [u32; Step::WORDS]) -> Step {
        let [a, b, c, d, e, f, input, second, output, scratch, scratch_bytes, details @ .., k, s, p, q, last] =
            words;
        let ([p, q], [r, t]) = (halves_of(p), halves_of(q));
        let [kind, activation, ops, strip] = last.to_ne_bytes();
        Step {
            input_shape: [a, b, c],
            output_shape: [d, e, f],
            input,
            second,
            output,
            scratch,
            scratch_bytes,
            details,
            kernel: halves_of(k),
            stride: halves_of(s),
            padding: [p, q, r, t],
            kind,
            activation,
            stream: [ops, strip],
        }
    }

    /// Resolves `layer`: its tensors at `tensors`, its values as placed in a space of `space` bytes.
    pub(crate) fn new(
        layer: &LayerInfo<'_>,
        tensors: TensorOffsets,
        placement: &Placement,
        space: usize,
        (record, first_part): (usize, usize),
    ) -> Step {
        let offset = |place: Place| place.offset(space) as u32;
        let optional = |place: Option<Place>| place.map_or(NONE, offset);
        let axes = |shape: Shape| [shape.channels, shape.height, shape.width];
        let [first, second, third, fourth] = few(&placement.inputs);
        let [scratch, scratch_bytes] = placement.scratch_in(space);
        let mut step = Step {
            input_shape: axes(layer.input),
            output_shape: axes(layer.output),
            input: optional(first),
            second: optional(second),
            output: optional(placement.output),
            scratch: scratch as u32,
            scratch_bytes: scratch_bytes as u32,
            details: [tensors.weight as u32, tensors.expand as u32, tensors.bias as u32, 0],
            ..Step::zeroed()
        };
        let (window, activation) = match layer.op {
            Op::Conv(conv) => {
                step.set_weights(conv.weights, [DENSE, PAIR, DEPTHWISE]);
                (conv.window, conv.activation)
            }
            Op::Linear(linear) => {
                step.set_weights(linear.weights, [LINEAR, LINEAR_PAIR, LINEAR]);
                (Window::square(1, 1, 0), linear.activation)
            }
            Op::Pool(pool) => {
                step.kind = if pool.kind == PoolKind::Max { MAX_POOL } else { AVERAGE_POOL };
                (pool.window, Activation::None)
            }
            Op::GlobalAveragePool { .. } => {
                step.kind = GLOBAL_AVERAGE;
                (Window::square(1, 1, 0), Activation::None)
            }
            Op::PadShortcut(shortcut) => {
                step.kind = PAD_SHORTCUT;
                (Window::square(1, shortcut.stride, 0), Activation::None)
            }
            Op::Add { activation, .. } => {
                step.kind = ADD;
                (Window::square(1, 1, 0), activation)
            }
            Op::Concat(_) => {
                let [_, second, third_channels, _] = few(&layer.input_shapes).map(|shape| shape.channels);
                step.kind = CONCAT;
                step.details = [optional(third), optional(fourth), second, third_channels];
                (Window::square(1, 1, 0), Activation::None)
            }
            _ => {
                step.kind = RECORD;
                if GENERAL && matches!(layer.op, Op::Join(_) | Op::Outputs(_)) {
                    step.details = [first_part as u32, layer.op.inputs().values().len() as u32, 0, 0];
                }
                // The shape of a second value, in place of a window.
                let [_, second, ..] = few(&layer.input_shapes);
                let halves = |size: u32| [size as u16, (size >> 16) as u16];
                let ([a, b], [c, d]) = (halves(second.height), halves(second.width));
                (
                    Window { kernel: halves(second.channels), stride: [a, b], padding: [c, d, 0, 0] },
                    Activation::None,
                )
            }
        };
        if EIGHTS && tensors.eights {
            step.kind |= EIGHT;
        }
        (step.kernel, step.stride, step.padding) = (window.kernel, window.stride, window.padding);
        step.activation = match activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Relu6 => 2,
            _ => OTHER,
        };
        if step.kind == RECORD || step.activation == OTHER {
            let [.., stored] = &mut step.details;
            *stored = record as u32;
        }
        step
    }

    fn set_weights(&mut self, weights: Weights, [dense, pair, depthwise]: [u8; 3]) {
        let [.., stored_rank] = &mut self.details;
        (self.kind, *stored_rank) = match weights {
            Weights::Dense => (dense, 0),
            Weights::Pair { rank } => (pair, rank),
            Weights::Depthwise => (depthwise, 0),
        };
    }

    /// The layer, with its weights in `model`; `None` where a tensor is not in there, which resolving rules out.
    #[cfg(feature = "std")]
    pub(crate) fn layer<'a>(&self, model: Tensors<'a>) -> Option<Layer<'a>> {
        self.layer_of::<Any>(model)
    }

    /// As [`Step::layer`], of a program that has only `U`.
    pub(crate) fn layer_of<'a, U: Operations>(&self, tensors: Tensors<'a>) -> Option<Layer<'a>> {
        let model = tensors.model;
        let shape = |[c, h, w]: [u32; 3]| Shape::new(c, h, w);
        let (input, output) = (shape(self.input_shape), shape(self.output_shape));
        let window = Window { kernel: self.kernel, stride: self.stride, padding: self.padding };
        let records = U::USED.has(Set::RECORDS);
        let other = if records && self.activation == OTHER { Some(self.record(model)?) } else { None };
        let activation = match self.activation {
            0 => Activation::None,
            1 => Activation::Relu,
            2 => Activation::Relu6,
            _ => other.as_ref().map_or(Activation::None, Op::activation),
        };
        let (n, taps) = (output.channels as usize, window.taps() as usize);
        // A linear layer takes all values.
        let linear = matches!(self.kind(), LINEAR | LINEAR_PAIR);
        let c = if linear { input.len() } else { input.channels as usize };
        let [weight, expand, bias, rank] = self.details;
        let rank = match other.as_ref().and_then(Op::weights) {
            Some(Weights::Pair { rank }) => rank as usize,
            _ => rank as usize,
        };
        let kind = self.kind();
        Some(match kind {
            RECORD => return None,
            DENSE | PAIR | DEPTHWISE | LINEAR | LINEAR_PAIR => {
                // Behind the bias, where there are scales.
                let scales = bias.wrapping_add((n as u32).wrapping_mul(4));
                let bias = floats(model, bias, n)?;
                let weights = match kind {
                    PAIR | LINEAR_PAIR => {
                        let thin = rank.checked_mul(c)?.checked_mul(taps)?;
                        LayerWeights::Pair {
                            thin: self.matrix(tensors, (weight, thin), None)?,
                            expand: self.matrix(
                                tensors,
                                (expand, n.checked_mul(rank)?),
                                Some((scales, n)),
                            )?,
                            rank,
                        }
                    }
                    DEPTHWISE => LayerWeights::Depthwise(halves(model, weight, n.checked_mul(taps)?)?),
                    _ => {
                        let count = n.checked_mul(c)?.checked_mul(taps)?;
                        LayerWeights::Dense(self.matrix(tensors, (weight, count), Some((scales, n)))?)
                    }
                };
                match kind {
                    LINEAR | LINEAR_PAIR => Layer::Linear { weights, bias, activation },
                    _ => Layer::Conv { input, output, window, weights, bias, activation },
                }
            }
            MAX_POOL => Layer::Pool { input, output, window, kind: PoolKind::Max },
            AVERAGE_POOL => Layer::Pool { input, output, window, kind: PoolKind::Average },
            GLOBAL_AVERAGE => Layer::GlobalAverage { input },
            PAD_SHORTCUT => Layer::PadShortcut { input, output, stride: self.stride[0] },
            ADD => Layer::Add { activation },
            _ => Layer::Copy,
        })
    }

    /// What it computes.
    fn kind(&self) -> u8 {
        if EIGHTS { self.kind & (EIGHT - 1) } else { self.kind }
    }

    /// Weights at an offset, so many; where they have 8 bits, with so many scales at an offset in the model, or those of a thin half.
    fn matrix<'a>(
        &self,
        tensors: Tensors<'a>,
        (offset, count): (u32, usize),
        scales: Option<(u32, usize)>,
    ) -> Option<WeightMatrix<'a>> {
        #[cfg(feature = "std")]
        if self.kind & WIDENED != 0 {
            return Some(WeightMatrix::Half(tensors.widened.get(offset as usize..)?.get(..count)?));
        }
        if EIGHTS && self.kind & EIGHT != 0 {
            let values = bytemuck::try_cast_slice(tensor(tensors.model, offset, count)?).ok()?;
            let scales = match scales {
                Some((offset, count)) => floats(tensors.model, offset, count)?,
                None => &[],
            };
            return Some(WeightMatrix::Eight(Eights::new(values, scales)?));
        }
        Some(WeightMatrix::Half(halves(tensors.model, offset, count)?))
    }

    /// Makes f16 of the weights of 8 bits that its layer has, behind those that are there.
    #[cfg(feature = "std")]
    pub(crate) fn widen(&mut self, model: &[u8], widened: &mut std::vec::Vec<u16>) {
        let layer = self.layer(Tensors { model, widened: &[] });
        let (Some(Layer::Conv { weights, bias, .. } | Layer::Linear { weights, bias, .. }), true) =
            (layer, self.kind & EIGHT != 0)
        else {
            return;
        };
        let n = bias.len();
        let mut put = |matrix: WeightMatrix<'_>, rows: usize| {
            let at = widened.len() as u32;
            if let WeightMatrix::Eight(eights) = matrix {
                widened.extend(eights.widen(matrix.len() / rows.max(1)));
            }
            at
        };
        let [first, second] = match weights {
            LayerWeights::Dense(matrix) => [put(matrix, n), 0],
            LayerWeights::Pair { thin, expand, rank } => [put(thin, rank), put(expand, n)],
            LayerWeights::Depthwise(_) => return,
        };
        let [weight, expand, ..] = &mut self.details;
        (*weight, *expand) = (first, second);
        self.kind = self.kind & !EIGHT | WIDENED;
    }

    /// The operation's record in `model`.
    #[inline(never)]
    fn record<'a>(&self, model: &'a [u8]) -> Option<Op<&'a str>> {
        let [.., at] = self.details;
        take(model.get(at as usize..)?).map(|(op, _)| op)
    }

    /// Marks this as the first operation of a stream.
    pub(crate) fn begin(&mut self, ops: u8, strip: u8) {
        self.stream = [ops, strip];
    }

    /// Operations of the stream that this one begins, and the rows that arrive with each pass; `None` where it begins none.
    pub(crate) fn stream(&self) -> Option<(usize, u16)> {
        let [ops, strip] = self.stream;
        (ops > 0).then(|| (ops.into(), strip.into()))
    }

    /// Offset in the space and shape of the value read in `slot`; `None` where there is none.
    pub(crate) fn source(&self, slot: usize) -> Option<(usize, Shape)> {
        let [third, fourth, second_channels, third_channels] = self.details;
        let [channels, height, width] = self.input_shape;
        let joined = self.kind == CONCAT;
        let [all, ..] = self.output_shape;
        let (offset, channels) = match slot {
            0 => (self.input, channels),
            1 if joined => (self.second, second_channels),
            1 => {
                let [n, h, w] = self.output_shape;
                return (self.second != NONE).then(|| (self.second as usize, Shape::new(n, h, w)));
            }
            2 if joined => (third, third_channels),
            3 if joined => (fourth, all.saturating_sub(channels + second_channels + third_channels)),
            _ => (NONE, 0),
        };
        (offset != NONE).then(|| (offset as usize, Shape::new(channels, height, width)))
    }

    /// Offset of the result; `None` for the logits.
    pub(crate) fn output_offset(&self) -> Option<usize> {
        (self.output != NONE).then_some(self.output as usize)
    }

    /// Shape of the result.
    pub(crate) fn output_shape(&self) -> Shape {
        let [channels, height, width] = self.output_shape;
        Shape::new(channels, height, width)
    }

    /// Range of the first input in the space, bytes.
    pub(crate) fn input(&self) -> Range<usize> {
        range(self.input, self.input_shape)
    }

    /// Ranges of the values that a concatenation joins, empty behind the last; `None` for other operations.
    pub(crate) fn parts(&self) -> Option<[Range<usize>; FEW_INPUTS]> {
        let [third, fourth, second_channels, third_channels] = self.details;
        let [first_channels, height, width] = self.input_shape;
        let [channels, ..] = self.output_shape;
        if self.kind != CONCAT {
            return None;
        }
        let known = first_channels.checked_add(second_channels)?.checked_add(third_channels)?;
        let part = |offset: u32, channels: u32| {
            if offset == NONE { 0..0 } else { range(offset, [channels, height, width]) }
        };
        Some([
            part(self.input, first_channels),
            part(self.second, second_channels),
            part(third, third_channels),
            part(fourth, channels.saturating_sub(known)),
        ])
    }

    /// Range of the residual or second summand.
    pub(crate) fn second(&self) -> Option<Range<usize>> {
        (self.second != NONE).then(|| range(self.second, self.output_shape))
    }

    /// Range of the result; `None` for the logits.
    pub(crate) fn output(&self) -> Option<Range<usize>> {
        (self.output != NONE).then(|| range(self.output, self.output_shape))
    }

    /// Range of the scratch.
    pub(crate) fn scratch(&self) -> Range<usize> {
        let start = self.scratch as usize;
        start..start + self.scratch_bytes as usize
    }
}

/// A word as the two that lie in it.
const fn halves_of(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// The first of a list.
fn few<T: Copy, const N: usize>(list: &[T; N]) -> [T; FEW_INPUTS] {
    const { assert!(N >= FEW_INPUTS) };
    core::array::from_fn(|i| list[i])
}

/// Range of a value of f16.
fn range(offset: u32, [c, h, w]: [u32; 3]) -> Range<usize> {
    let start = offset as usize;
    start..start + Shape::new(c, h, w).len() * 2
}

fn tensor(model: &[u8], offset: u32, bytes: usize) -> Option<&[u8]> {
    model.get(offset as usize..)?.get(..bytes)
}

fn floats(model: &[u8], offset: u32, count: usize) -> Option<&[f32]> {
    bytemuck::try_cast_slice(tensor(model, offset, count.checked_mul(4)?)?).ok()
}

fn halves(model: &[u8], offset: u32, count: usize) -> Option<&[u16]> {
    bytemuck::try_cast_slice(tensor(model, offset, count.checked_mul(2)?)?).ok()
}
