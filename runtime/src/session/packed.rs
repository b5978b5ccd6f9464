//! Packed weights and threads, with memory for them.

use super::{Session, SessionError};
use crate::kernel::{self, Arithmetic, Isa};
use crate::plan::{Step, Tensors};

impl<'a> Session<'a> {
    /// This session with the products of its convolutions summed in `arithmetic`, for which it packs their weights anew.
    /// f32 unless this is called; see [`Arithmetic::F16`] for what else costs. Refused where [`Session::isa`] lacks it.
    pub fn with_arithmetic(mut self, arithmetic: Arithmetic) -> Result<Self, SessionError<'a>> {
        if !self.isa.has(arithmetic) {
            return Err(SessionError::Arithmetic(self.isa, arithmetic));
        }
        if arithmetic != self.arithmetic || self.packed.is_empty() {
            self.packed = pack(self.isa, arithmetic, self.method, self.steps, self.tensors());
            self.arithmetic = arithmetic;
        }
        Ok(self)
    }

    /// This session with its convolutions computed by `method`, for which it packs their weights anew; the fastest unless
    /// this is called. With [`kernel::Method::Direct`] logits have the bits that every f32 session on weights in place has.
    pub fn with_method(mut self, method: kernel::Method) -> Self {
        if method != self.method || self.packed.is_empty() {
            self.packed = pack(self.isa, self.arithmetic, method, self.steps, self.tensors());
            self.method = method;
        }
        self
    }

    fn tensors(&self) -> Tensors<'_> {
        Tensors { model: self.model, widened: &self.widened }
    }

    /// Bytes on the heap for weights of 8 bits as f16; 0 on instruction sets that read them in place.
    pub fn widened_bytes(&self) -> usize {
        size_of_val(&self.widened[..])
    }

    /// The packed weights of a layer, where they are in use: logits are computed on weights in place.
    fn packed(&self, layer: usize) -> Option<&kernel::PackedConv> {
        self.steps.get(layer)?.output()?;
        self.packed.get(layer)?.as_ref()
    }

    /// The tiles by which the layer with this index is computed, in Winograd's way; `None` where every product is made.
    pub fn tile(&self, layer: usize) -> Option<kernel::WinogradTile> {
        self.packed(layer)?.tile()
    }

    /// How the convolution with this index is computed on packed weights, in a word or two for reports; `None` of other layers,
    /// and of weights in place.
    pub fn form(&self, layer: usize) -> Option<&'static str> {
        Some(self.packed(layer)?.form())
    }

    /// Bytes on the heap for weights that were widened or transformed, and put in the order of the kernels, when the session began; 0 on
    /// instruction sets that read them in place.
    pub fn packed_bytes(&self) -> usize {
        self.packed.iter().flatten().map(kernel::PackedConv::bytes).sum()
    }

    /// Gives those bytes back: all weights are read in place from now on, more slowly, and with f32 arithmetic. Logits
    /// stay the same to the bit if that was in use, and [`kernel::Method::Direct`].
    pub fn in_place(mut self) -> Self {
        self.packed = std::vec::Vec::new();
        self.arithmetic = Arithmetic::F32;
        self
    }

    /// Shares every layer that takes long enough among this many threads, the one that calls included (1024 at most); linear
    /// layers stored as a pair, shortcuts and convolutions on weights that are not packed stay on one. Logits are the same to
    /// the bit. Fails where the system gives no thread.
    pub fn with_threads(mut self, threads: core::num::NonZeroUsize) -> std::io::Result<Self> {
        let packed = self.packed.iter().flatten().map(kernel::PackedConv::scratch);
        let in_place = self.steps.iter().map(|step| step.scratch().len() / size_of::<f32>());
        let scratch = packed.chain(in_place).max().unwrap_or(0);
        self.team = kernel::Team::new(threads, scratch)?;
        Ok(self)
    }

    /// Threads of an inference.
    pub fn threads(&self) -> usize {
        self.team.as_ref().map_or(1, kernel::Team::threads)
    }

    /// Bytes on the heap for the scratch of further threads.
    pub fn team_bytes(&self) -> usize {
        self.team.as_ref().map_or(0, kernel::Team::bytes)
    }
}

/// The packed weights of each step that has some. Those of a stream are read in place: packed ones are for maps that are computed whole.
pub(super) fn pack(
    isa: Isa,
    arithmetic: Arithmetic,
    method: kernel::Method,
    steps: &[Step],
    tensors: Tensors<'_>,
) -> std::vec::Vec<Option<kernel::PackedConv>> {
    let mut left = 0;
    let pack = |step: &Step| {
        left = step.stream().map_or(left, |(ops, _)| ops);
        let streamed = left > 0;
        left = left.saturating_sub(1);
        if streamed { None } else { kernel::PackedConv::new(isa, arithmetic, method, &step.layer(tensors)?) }
    };
    steps.iter().map(pack).collect()
}
