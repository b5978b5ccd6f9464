//! A model laid out when the program is built: nothing of it is parsed, checked or planned on the device.
//!
//! The crate `lrpet-model` has the macro that makes one of a model file:
//!
//! ```ignore
//! lrpet_model::model!(struct Digits = "low.safetensors");
//!
//! let mut arena = Digits::arena();
//! let mut session = Digits::session(&mut arena)?;
//! session.run_image(&image, &mut logits, &mut ())?;
//! ```
//!
//! Weights, table of steps and plan lie in flash, as the operations' kernels that the model uses; those of others are left out.
//! Header, program, names, card and self-check of the file are not in the program. Results have the bits of those of the
//! file at run time on the same instruction set ([`crate::session::Session::new`]; on a machine with an operating system, of the
//! plain code on weights in place).

#[cfg(feature = "std")]
mod layout;
mod macros;

#[cfg(feature = "std")]
pub use layout::{Layout, Room};

#[doc(hidden)]
pub use crate::kernel::Cut;
use crate::kernel::{Isa, Operations, Set};
use crate::model::{Header, LayerFacts, Needs, STREAMS, SelfCheck};
use crate::plan::{ALIGNMENT, Part, Plan};
#[doc(hidden)]
pub use crate::plan::{Node, Step};
use crate::session::{Session, SessionError};

/// A model, and the operations that it uses.
pub trait BuiltIn: Operations + Sized {
    /// Where everything lies.
    const MODEL: Built;

    /// A session in `arena`, of [`Built::arena_bytes`] bytes at a multiple of 16.
    ///
    /// # Errors
    /// The arena is too small or misaligned, or the processor is not one for which the program was built.
    fn session(arena: &mut [u8]) -> Result<Session<'_, Self>, SessionError<'static>> {
        Session::built(&Self::MODEL, arena)
    }
}

/// A model whose file is in the program as it is: its tensors are used where they lie there.
pub trait Whole: BuiltIn {
    /// The file.
    const FILE: &'static [u8];
    /// The operations in order.
    const LAYERS: &'static [LayerFacts<'static>];
    /// Where inputs, logits and tolerances of the self-check lie in the file, if it has one; see [`Whole::self_check`].
    #[doc(hidden)]
    const SELF_CHECK: Option<[[usize; 2]; 3]>;

    /// Inputs with the logits that they must give, where the file has some.
    fn self_check() -> Option<SelfCheck<'static>> {
        let ranges = Self::SELF_CHECK?.map(|[begin, end]| begin..end);
        Some(SelfCheck::at(Self::FILE, ranges, &Self::MODEL.header))
    }
}

/// Where everything of a model lies.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    pub(crate) header: Header,
    pub(crate) isa: Isa,
    pub(crate) plan: Plan,
    /// Offset in the space of the input image, or of its window.
    pub(crate) image: usize,
    /// True where the image is not stored whole.
    pub(crate) streamed: bool,
    /// Rows of an image that are taken together.
    pub(crate) rows: usize,
    pub(crate) steps: &'static [Step],
    pub(crate) parts: &'static [Part],
    /// How each convolution is cut up, where that is known.
    pub(crate) cuts: &'static [Cut],
    /// As they are at the beginning.
    pub(crate) nodes: &'static [Node],
    /// Tensors, at the offsets that the steps have, and behind them the records.
    pub(crate) weights: &'static [u8],
}

impl Built {
    /// Bytes of the arena: activations and scratch, and the windows of streams.
    pub const fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    /// Bytes of flash that weights and tables take.
    pub const fn flash_bytes(&self) -> usize {
        let tables = size_of_val(self.steps) + size_of_val(self.parts) + size_of_val(self.cuts);
        self.weights.len() + tables + size_of_val(self.nodes)
    }

    /// Rows that [`Session::push_rows`] takes at a time: any multiple.
    pub const fn rows_together(&self) -> usize {
        self.rows
    }

    /// What the model takes and gives.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The instruction set that it is laid out for.
    pub const fn isa(&self) -> Isa {
        self.isa
    }
}

/// What a layout of the macro says; as the fields of [`Built`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub isa: Isa,
    pub plan: Plan,
    pub image: usize,
    pub streamed: bool,
    pub rows: usize,
    pub used: Set,
    pub steps: &'static [Step],
    pub parts: &'static [Part],
    pub cuts: &'static [Cut],
    pub nodes: &'static [Node],
}

/// Puts a model together, for the macro. What the runtime lacks is an error of the compiler.
#[doc(hidden)]
pub const fn put_together(header: Header, weights: &'static [u8], parts: Parts, streams: bool) -> Built {
    let lacks = header.needs.0 & !Needs::HERE.0;
    assert!(
        lacks & Needs::GENERAL.0 == 0,
        "the model has operations that need the feature `general` of lrpet-runtime"
    );
    assert!(
        lacks & Needs::ACTIVATIONS.0 == 0,
        "the model has activations that need the feature `activations` of lrpet-runtime"
    );
    assert!(
        lacks & Needs::MANY.0 == 0,
        "the model has long lists that need the feature `many` of lrpet-runtime"
    );
    assert!(
        STREAMS || !streams,
        "the model has a schedule that needs the feature `streams` of lrpet-runtime"
    );
    assert!(size_of_val(parts.nodes) <= parts.plan.table_bytes);
    assert!(parts.plan.table_bytes.is_multiple_of(ALIGNMENT));
    let Parts { isa, plan, image, streamed, rows, used: _, steps, parts, cuts, nodes } = parts;
    Built { header, isa, plan, image, streamed, rows, steps, parts, cuts, nodes, weights }
}

/// A table of their words, for the macro.
#[doc(hidden)]
pub const fn steps<const N: usize>(words: [[u32; Step::WORDS]; N]) -> [Step; N] {
    let mut table = [Step::of_words([0; Step::WORDS]); N];
    let mut at = 0;
    while at < N {
        table[at] = Step::of_words(words[at]);
        at += 1;
    }
    table
}

/// As [`steps`].
#[doc(hidden)]
pub const fn cuts<const N: usize>(words: [[u16; Cut::WORDS]; N]) -> [Cut; N] {
    let mut table = [Cut::of_words([0; Cut::WORDS]); N];
    let mut at = 0;
    while at < N {
        table[at] = Cut::of_words(words[at]);
        at += 1;
    }
    table
}

/// As [`steps`].
#[doc(hidden)]
pub const fn nodes<const N: usize>(words: [[u16; Node::WORDS]; N]) -> [Node; N] {
    let mut table = [Node::of_words([0; Node::WORDS]); N];
    let mut at = 0;
    while at < N {
        table[at] = Node::of_words(words[at]);
        at += 1;
    }
    table
}
