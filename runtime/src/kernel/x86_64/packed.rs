//! Convolutions on weights that were put in the order of the kernels when the model was loaded.

use super::channels::Channels;
use super::geometry::{Choice, choose};
use super::pixels::Pixels;
use super::winograd::Winograd;
use crate::kernel::tiling::Form;
use crate::kernel::{Arithmetic, Isa, Layer, LayerWeights, Method, WinogradTile};

/// A convolution ready to run: everything that depends on the model alone.
#[derive(Debug)]
pub struct PackedConv(pub(super) Lanes);

/// What lies in the lanes.
#[derive(Debug)]
pub(super) enum Lanes {
    Pixels(Pixels),
    Channels(Channels),
    Winograd(Winograd),
}

impl PackedConv {
    /// Packs a convolution for `isa`; `None` where the portable code runs it, and for other layers.
    pub fn new(isa: Isa, arithmetic: Arithmetic, method: Method, layer: &Layer<'_>) -> Option<PackedConv> {
        if arithmetic != Arithmetic::F32 {
            return None;
        }
        let Layer::Conv { input, output, window, weights, bias, activation } = *layer else { return None };
        let (form, taps) = (weights.form(), window.taps() as usize);
        let channels = if form == Form::Depthwise { 1 } else { input.channels as usize };
        let (first, rows) = weights.first(output.channels as usize);
        let fits = window.output(input.height, input.width) == Some((output.height, output.width))
            && rows > 0
            && first.len() == rows.checked_mul(channels.checked_mul(taps)?)?
            && bias.len() == output.channels as usize
            && (form != Form::Depthwise || input.channels == output.channels)
            && match weights {
                LayerWeights::Pair { expand, rank, .. } => expand.len() == bias.len().checked_mul(rank)?,
                _ => true,
            };
        if !fits {
            return None;
        }
        Some(PackedConv(match choose(isa, method, (input, output), &window, form)? {
            Choice::Pixels(patch) => {
                Lanes::Pixels(Pixels::new(patch, (input, output), &weights, bias, activation))
            }
            Choice::Channels(tile) => {
                Lanes::Channels(Channels::new(tile, (input, output), &window, &weights, bias, activation))
            }
            Choice::Winograd(cut) => Lanes::Winograd(Winograd::new(cut, &weights, bias, activation)),
        }))
    }

    /// f32 of the registers that it was packed for.
    pub(super) fn lanes(&self) -> usize {
        match &self.0 {
            Lanes::Pixels(conv) => conv.patch.lanes,
            Lanes::Channels(conv) => conv.lanes(),
            Lanes::Winograd(conv) => conv.cut.lanes,
        }
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Lanes::Pixels(conv) => conv.bytes(),
            Lanes::Channels(conv) => conv.bytes(),
            Lanes::Winograd(conv) => conv.bytes(),
        }
    }

    /// The tiles by which it is computed; `None` where every product is made.
    pub fn tile(&self) -> Option<WinogradTile> {
        match &self.0 {
            Lanes::Winograd(conv) => Some(conv.tile()),
            _ => None,
        }
    }

    /// How it is computed, in a word or two for reports.
    pub fn form(&self) -> &'static str {
        match &self.0 {
            Lanes::Pixels(_) => "pixels in lanes",
            Lanes::Channels(_) => "channels in lanes",
            Lanes::Winograd(conv) => conv.tile().name(),
        }
    }

    /// f32 of scratch that it uses.
    pub fn scratch(&self) -> usize {
        match &self.0 {
            Lanes::Pixels(conv) => conv.scratch(),
            Lanes::Channels(conv) => conv.scratch(),
            Lanes::Winograd(conv) => conv.scratch(),
        }
    }
}
