//! The shortcut without weights of residual networks.

use lrpet_runtime::model::{Activation, PadMode};

use super::Plan;
use crate::import::step::What;
use crate::import::view::Stored;

impl Plan {
    /// Every n-th pixel of both axes with zero channels around is one operation: option A of CIFAR ResNets.
    pub(super) fn shortcuts(&mut self) {
        for value in 1..=self.steps.len() {
            let step = &self.steps[value - 1];
            let What::Pad { before: [first, 0, 0], after: [last, 0, 0], mode: PadMode::Constant(filled) } =
                step.what
            else {
                continue;
            };
            if filled != 0.0 || first != (first + last) / 2 || step.activation != Activation::None {
                continue;
            }
            let (of, strides) = self.thinned(step.inputs[0]);
            if strides[0] != strides[1] || strides[0] < 2 {
                continue;
            }
            let step = &mut self.steps[value - 1];
            (step.what, step.inputs) = (What::PadShortcut { stride: strides[0] }, vec![of]);
            self.see("every n-th pixel, and zero channels: shortcut");
        }
    }

    /// The value of which `value` has every n-th row and column from the first to the last, by one slice or by one for each axis,
    /// and these n.
    fn thinned(&self, mut value: Stored) -> (Stored, [usize; 2]) {
        let mut strides = [1_usize; 2];
        while let Some(step) = self.maker(value).filter(|step| step.activation == Activation::None) {
            let What::Slice { start: [0, 0, 0], step: [1, rows, columns] } = step.what else { break };
            let of = step.inputs[0];
            let [channels, height, width] = self.shape(of);
            let whole = [channels, height.div_ceil(rows), width.div_ceil(columns)];
            if step.shape != whole {
                break;
            }
            (value, strides) = (of, [strides[0].saturating_mul(rows), strides[1].saturating_mul(columns)]);
        }
        (value, strides)
    }
}
