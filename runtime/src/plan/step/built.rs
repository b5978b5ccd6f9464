//! Steps of models that are laid out when a program is built.

use super::{
    ADD, AVERAGE_POOL, CONCAT, DENSE, DEPTHWISE, GLOBAL_AVERAGE, LINEAR, LINEAR_PAIR, MAX_POOL, OTHER,
    PAD_SHORTCUT, PAIR, RECORD, Step, WIDENED,
};
use crate::kernel::Set;
use crate::model::Op;

impl Step {
    /// Puts the tensors of this step, which computes `op`, where `to` says for their offsets.
    pub(crate) fn relocate(&mut self, op: &Op<&str>, mut to: impl FnMut(usize) -> usize) {
        if matches!(op, Op::Concat(_) | Op::Join(_) | Op::Outputs(_)) {
            return;
        }
        for offset in self.details.iter_mut().take(3) {
            *offset = to(*offset as usize) as u32;
        }
    }

    /// Its weights of f16 lie in the model, from an offset on.
    pub(crate) fn widened_at(&mut self, from: usize) {
        if self.kind & WIDENED != 0 {
            self.kind &= !WIDENED;
            for offset in self.details.iter_mut().take(2) {
                *offset = from as u32 + 2 * *offset;
            }
        }
    }

    /// True where it decodes its record.
    pub(crate) fn has_record(&self) -> bool {
        self.kind == RECORD || self.activation == OTHER
    }

    /// Puts its record where `to` says for its offset.
    pub(crate) fn move_record(&mut self, to: impl FnOnce(usize) -> usize) {
        let [.., at] = &mut self.details;
        *at = to(*at as usize) as u32;
    }

    /// The kernels that it calls.
    pub(crate) fn used(&self) -> Set {
        let records = if self.has_record() { Set::RECORDS } else { Set::default() };
        records.and(match self.kind() {
            DENSE => Set::DENSE,
            PAIR => Set::PAIR,
            DEPTHWISE => Set::DEPTHWISE,
            LINEAR => Set::LINEAR,
            LINEAR_PAIR => Set::LINEAR_PAIR,
            MAX_POOL | AVERAGE_POOL => Set::POOL,
            GLOBAL_AVERAGE => Set::GLOBAL_AVERAGE,
            PAD_SHORTCUT => Set::PAD_SHORTCUT,
            ADD => Set::ADD,
            CONCAT => Set::CONCAT,
            _ => Set::GENERAL,
        })
    }
}
