//! Where a board's model comes from, and why it may be of no use: one that is read at run time, or one that was laid out when the
//! program was built.

use core::fmt;
use core::marker::PhantomData;

use lrpet_runtime::built::Whole;
use lrpet_runtime::kernel::{Any, Isa, Operations};
use lrpet_runtime::machine::MachineError;
use lrpet_runtime::model::{Header, LayerFacts, Model, ModelError, SelfCheck, Shape};
use lrpet_runtime::plan::{Plan, PlanError};
use lrpet_runtime::session::{Session, SessionError};

use crate::memory::{NoRoom, Room};
use crate::region::{self, RegionError};

/// Where a board's model comes from.
pub trait Open<'m>: Copy {
    /// The model.
    type Opened: Opened<'m>;

    /// Name for reports.
    fn name(self) -> &'static str;

    /// Checks everything that can be checked without memory.
    fn open(self) -> Result<Self::Opened, <Self::Opened as Opened<'m>>::Unusable>;
}

/// A model that a board can run.
pub trait Opened<'m> {
    /// The operations that it may have.
    type Used: Operations;
    /// Why no inference can be made.
    type Unusable: fmt::Display;

    /// The model file.
    fn file(&self) -> &'m [u8];
    /// What the model takes and gives.
    fn header(&self) -> &Header;
    /// Its operations in order.
    fn layers(&self) -> impl Iterator<Item = LayerFacts<'m>>;
    /// Number of its operations.
    fn len(&self) -> usize;
    /// Never true: a model has at least one operation.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Inputs with the logits that they must give, where the file has some.
    fn self_check(&self) -> Option<SelfCheck<'m>>;
    /// What the serial protocol calls it.
    fn name(&self) -> impl fmt::Display;
    /// Cuts up a board's memory.
    fn room(&self, memory: &'m mut [u8]) -> Result<Room<'m>, Self::Unusable>;
    /// A session in the room's arena.
    fn session(&self, arena: &'m mut [u8]) -> Result<Session<'m, Self::Used>, Self::Unusable>;
}

/// The bytes of a model in flash, which is read at run time.
#[derive(Clone, Copy, Debug)]
pub enum Source<'m> {
    /// A model file, linked with the code.
    Linked(&'m [u8]),
    /// A region of its own: see [`region`].
    Region(&'m [u8]),
}

/// Name of a model that is linked with the code.
const LINKED: &str = "linked";

impl<'m, 'f: 'm> Open<'m> for Source<'f> {
    type Opened = Model<'m>;

    fn name(self) -> &'static str {
        match self {
            Self::Linked(_) => LINKED,
            Self::Region(_) => "region",
        }
    }

    fn open(self) -> Result<Model<'m>, Unusable<'m>> {
        let bytes = match self {
            Self::Linked(bytes) => bytes,
            Self::Region(region) => region::open(region).map_err(Unusable::Region)?,
        };
        Model::new_checked(bytes).map_err(Unusable::Model)
    }
}

impl<'m> Opened<'m> for Model<'m> {
    type Used = Any;
    type Unusable = Unusable<'m>;

    fn file(&self) -> &'m [u8] {
        self.bytes()
    }

    fn header(&self) -> &Header {
        self.program().header()
    }

    fn layers(&self) -> impl Iterator<Item = LayerFacts<'m>> {
        self.program().layers().map(|layer| layer.facts())
    }

    fn len(&self) -> usize {
        self.program().len()
    }

    fn self_check(&self) -> Option<SelfCheck<'m>> {
        Model::self_check(self)
    }

    fn name(&self) -> impl fmt::Display {
        ModelName(self)
    }

    fn room(&self, memory: &'m mut [u8]) -> Result<Room<'m>, Unusable<'m>> {
        let plan = Plan::new(self.program(), Isa::detect()).map_err(Unusable::Plan)?;
        let sizes = [plan.arena_bytes, plan.fastest_bytes];
        Room::new(sizes, self.header(), self.program().len(), memory).map_err(Unusable::Memory)
    }

    fn session(&self, arena: &'m mut [u8]) -> Result<Session<'m>, Unusable<'m>> {
        Session::new(self, arena).map_err(Unusable::Session)
    }
}

/// A model that was checked, planned and laid out when the program was built, its file in flash beside it.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn<M> {
    /// What the serial protocol calls it.
    name: &'static str,
    /// Bytes of memory for its arena: at least what it takes.
    arena: usize,
    model: PhantomData<M>,
}

impl<M: Whole> BuiltIn<M> {
    /// The model of type `M`, called `name` ([`ModelName`]), with `arena` bytes for its arena.
    pub const fn new(name: &'static str, arena: usize) -> Self {
        Self { name, arena, model: PhantomData }
    }
}

impl<'m, M: Whole + Copy + 'static> Open<'m> for BuiltIn<M> {
    type Opened = Self;

    fn name(self) -> &'static str {
        LINKED
    }

    fn open(self) -> Result<Self, Refused> {
        Ok(self)
    }
}

impl<'m, M: Whole + 'static> Opened<'m> for BuiltIn<M> {
    type Used = M;
    type Unusable = Refused;

    fn file(&self) -> &'m [u8] {
        M::FILE
    }

    fn header(&self) -> &Header {
        M::MODEL.header()
    }

    fn layers(&self) -> impl Iterator<Item = LayerFacts<'m>> {
        M::LAYERS.iter().copied()
    }

    fn len(&self) -> usize {
        M::LAYERS.len()
    }

    fn self_check(&self) -> Option<SelfCheck<'m>> {
        M::self_check()
    }

    fn name(&self) -> impl fmt::Display {
        self.name
    }

    fn room(&self, memory: &'m mut [u8]) -> Result<Room<'m>, Refused> {
        Room::new([self.arena; 2], M::MODEL.header(), M::LAYERS.len(), memory).map_err(Refused::Memory)
    }

    fn session(&self, arena: &'m mut [u8]) -> Result<Session<'m, M>, Refused> {
        let (needed, given) = (M::MODEL.arena_bytes(), arena.len());
        M::session(arena).map_err(|error| match error {
            SessionError::Machine(error) => Refused::Machine(error),
            SessionError::ArenaMisaligned => Refused::Memory(NoRoom::Misaligned),
            // The layout has made sure of everything else.
            _ => Refused::Memory(NoRoom::TooSmall { needed, given }),
        })
    }
}

/// Why no inference can be made with a model that was built in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refused {
    /// There is no room for it.
    Memory(NoRoom),
    /// The processor is not one for which the program was built.
    Machine(MachineError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Machine(error) => write!(f, "model: {error}"),
        }
    }
}

impl core::error::Error for Refused {}

/// Why no inference can be made with a model that is read at run time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unusable<'m> {
    /// The region holds no model.
    Region(RegionError),
    /// The model file is wrong.
    Model(ModelError<'m>),
    /// The model cannot be planned.
    Plan(PlanError<'m>),
    /// There is no room for it.
    Memory(NoRoom),
    /// No session can begin.
    Session(SessionError<'m>),
}

impl fmt::Display for Unusable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(error) => error.fmt(f),
            Self::Model(error) => write!(f, "model: {error}"),
            Self::Plan(error) => write!(f, "model: {error}"),
            Self::Memory(error) => error.fmt(f),
            Self::Session(error) => write!(f, "model: {error}"),
        }
    }
}

impl core::error::Error for Unusable<'_> {}

/// What the serial protocol calls a model: MLPerf Tiny's name of the task that has its input and classes, else the network
/// that its card names.
#[derive(Clone, Copy, Debug)]
pub struct ModelName<'m, 'a>(pub &'m Model<'a>);

impl fmt::Display for ModelName<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.0.program().header();
        let Shape { channels, height, width } = header.input;
        let task = match (channels, height, width, header.classes) {
            (3, 32, 32, 10) => "ic01",
            (1, 49, 10, 12) => "kws01",
            (3, 96, 96, 2) => "vww01",
            _ => "",
        };
        let network = self.0.metadata().find(|(key, _)| *key == "network").map(|(_, name)| name);
        // It stands in brackets on a line of the protocol.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match network {
            _ if !task.is_empty() => f.write_str(task),
            Some(name) if (1..=32).contains(&name.chars().count()) && name.chars().all(plain) => name.fmt(f),
            _ => f.write_str("model"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;
    use std::vec;

    use super::*;

    #[test]
    fn models_are_called_as_the_protocol_or_their_card_says() {
        let named = |file: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(file);
            let bytes = std::fs::read(path).unwrap();
            let mut words = vec![0u128; bytes.len().div_ceil(16)];
            let aligned = &mut bytemuck::cast_slice_mut(&mut words)[..bytes.len()];
            aligned.copy_from_slice(&bytes);
            ModelName(&Source::Linked(aligned).open().unwrap()).to_string()
        };
        assert_eq!(named("fashion-mnist-resnet8-g0.6.safetensors"), "resnet8");
        assert_eq!(named("cifar10-resnet20-dense.safetensors"), "ic01");
    }
}
