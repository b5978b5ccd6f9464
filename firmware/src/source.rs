//! Where a board's model comes from, and why it may be of no use.

use core::fmt;

use lrpet_runtime::model::{Model, ModelError, Shape};
use lrpet_runtime::plan::PlanError;
use lrpet_runtime::session::SessionError;

use crate::region::{self, RegionError};

/// The bytes of a model in flash.
#[derive(Clone, Copy, Debug)]
pub enum Source<'m> {
    /// A model file, linked with the code.
    Linked(&'m [u8]),
    /// A region of its own: see [`region`].
    Region(&'m [u8]),
}

impl<'m> Source<'m> {
    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linked(_) => "linked",
            Self::Region(_) => "region",
        }
    }

    /// Checks everything that can be checked without memory.
    pub fn open(self) -> Result<Model<'m>, Unusable<'m>> {
        let bytes = match self {
            Self::Linked(bytes) => bytes,
            Self::Region(region) => region::open(region).map_err(Unusable::Region)?,
        };
        Model::new_checked(bytes).map_err(Unusable::Model)
    }
}

/// Why no inference can be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unusable<'m> {
    /// The region holds no model.
    Region(RegionError),
    /// The model file is wrong.
    Model(ModelError<'m>),
    /// The model cannot be planned.
    Plan(PlanError<'m>),
    /// The firmware was built with too little memory; both figures are bytes.
    Memory {
        /// What the model needs.
        needed: usize,
        /// What there is.
        given: usize,
    },
    /// No session can begin.
    Session(SessionError<'m>),
}

impl<'m> From<SessionError<'m>> for Unusable<'m> {
    fn from(error: SessionError<'m>) -> Self {
        Self::Session(error)
    }
}

impl fmt::Display for Unusable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(error) => error.fmt(f),
            Self::Model(error) => write!(f, "model: {error}"),
            Self::Plan(error) => write!(f, "model: {error}"),
            Self::Memory { needed, given } => write!(
                f,
                "the model needs {needed} bytes of memory and this firmware has {given}, {} are missing: build it with more, \
                 or take a model with smaller images",
                needed.saturating_sub(*given)
            ),
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
