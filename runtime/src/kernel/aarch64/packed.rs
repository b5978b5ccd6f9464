//! A convolution packed for an arithmetic: what the rest of the runtime sees of this folder.

use super::conv;
use super::element::{Full, Half};
use super::geometry;
use super::pack::Packed;
use crate::kernel::team::Team;
use crate::kernel::{Arithmetic, Buffers, Isa, Layer, Method, WinogradTile};

/// A convolution whose weights were packed for an arithmetic.
#[derive(Debug)]
pub struct PackedConv(Kind);

#[derive(Debug)]
enum Kind {
    Full(Packed<f32>),
    Half(Packed<u16>),
}

impl PackedConv {
    /// Packs a convolution for `isa`; `None` where the portable code runs it, and for other layers.
    pub fn new(isa: Isa, arithmetic: Arithmetic, method: Method, layer: &Layer<'_>) -> Option<PackedConv> {
        let kind = match (isa, arithmetic) {
            (Isa::Neon | Isa::NeonF16, Arithmetic::F32) => Kind::Full(Packed::new::<Full>(layer, method)?),
            (Isa::NeonF16, Arithmetic::F16) => Kind::Half(Packed::new::<Half>(layer, method)?),
            _ => return None,
        };
        Some(PackedConv(kind))
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Full(conv) => conv.bytes(),
            Kind::Half(conv) => conv.bytes(),
        }
    }

    /// The tiles by which it is computed; `None` where every product is made.
    pub fn tile(&self) -> Option<WinogradTile> {
        match &self.0 {
            Kind::Full(conv) => conv.squares.as_ref().map(|_| geometry::tile(Arithmetic::F32)),
            Kind::Half(conv) => conv.squares.as_ref().map(|_| geometry::tile(Arithmetic::F16)),
        }
    }

    /// How it is computed, in a word or two for reports.
    pub fn form(&self) -> &'static str {
        let by_rows = match &self.0 {
            Kind::Full(conv) => conv.by_rows(),
            Kind::Half(conv) => conv.by_rows(),
        };
        match self.tile() {
            Some(tile) => tile.name(),
            None if by_rows => "depthwise",
            None => "pixels in lanes",
        }
    }

    /// f32 of scratch that it uses.
    pub fn scratch(&self) -> usize {
        match &self.0 {
            Kind::Full(conv) => conv.scratch(),
            Kind::Half(conv) => conv.scratch(),
        }
    }

    /// Runs it, shared by `team` where there is one; false, and nothing done, where a buffer does not fit it or the result goes to logits. The machine must
    /// have FEAT_FP16 if `isa` has.
    pub(in crate::kernel) fn run(
        &self,
        isa: Isa,
        buffers: &mut Buffers<'_>,
        team: Option<&mut Team>,
    ) -> bool {
        match &self.0 {
            Kind::Full(conv) => conv::run::<Full>(conv, buffers, team),
            Kind::Half(conv) => isa == Isa::NeonF16 && conv::run::<Half>(conv, buffers, team),
        }
    }
}
