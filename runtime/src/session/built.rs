//! A session of a model that was laid out when the program was built.

use core::marker::PhantomData;

#[cfg(feature = "std")]
use super::kernel;
use super::{Session, SessionError};
use crate::built::Built;
use crate::kernel::{Arithmetic, Operations};
use crate::machine;
use crate::plan::{ALIGNMENT, Node};

impl<'a, U: Operations> Session<'a, U> {
    /// A session of a model that has only operations of `U`: see [`BuiltIn::session`](crate::built::BuiltIn::session).
    pub fn built(model: &Built, arena: &'a mut [u8]) -> Result<Self, SessionError<'static>> {
        machine::check().map_err(SessionError::Machine)?;
        let given = arena.len();
        let too_small = SessionError::ArenaTooSmall { needed: model.plan.arena_bytes, given };
        let arena = arena.get_mut(..model.plan.arena_bytes).ok_or(too_small)?;
        if !arena.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            return Err(SessionError::ArenaMisaligned);
        }
        let (table, space) = arena.split_at_mut_checked(model.plan.table_bytes).ok_or(too_small)?;
        let nodes = table.get_mut(..size_of_val(model.nodes)).ok_or(too_small)?;
        let nodes: &mut [Node] =
            bytemuck::try_cast_slice_mut(nodes).map_err(|_| SessionError::ArenaMisaligned)?;
        nodes.copy_from_slice(model.nodes);
        Ok(Session {
            model: model.weights,
            header: model.header,
            isa: model.isa,
            steps: model.steps,
            parts: model.parts,
            cuts: model.cuts,
            nodes,
            streamed: model.streamed,
            pushed: 0,
            space,
            input: model.image..model.image + model.header.input.len() * 2,
            plan: model.plan,
            arithmetic: Arithmetic::F32,
            #[cfg(feature = "std")]
            method: kernel::Method::Direct,
            #[cfg(feature = "std")]
            packed: std::vec::Vec::new(),
            #[cfg(feature = "std")]
            widened: std::vec::Vec::new(),
            #[cfg(feature = "std")]
            team: None,
            #[cfg(feature = "std")]
            normalised: std::vec::Vec::new(),
            used: PhantomData,
        })
    }
}
