//! Joined values.

use super::Plan;
use crate::import::step::What;

impl Plan {
    /// A join that begins with all that an earlier one joins begins with that one, as in dense blocks, which join ever more.
    pub(super) fn joins(&mut self) {
        let mut earlier: Vec<usize> = Vec::new();
        let live = self.live();
        for (index, _) in live.into_iter().enumerate().filter(|(_, live)| *live) {
            let What::Join { axis } = self.steps[index].what else { continue };
            let original = self.steps[index].inputs.clone();
            // The longest of those before; their own lists may be short already.
            let found = earlier
                .iter()
                .filter(|&&at| self.steps[at].what == What::Join { axis })
                .map(|&at| (at, self.written_out(at + 1, 0)))
                .filter(|(_, list)| list.len() > 1 && original.starts_with(list))
                .max_by_key(|(_, list)| list.len());
            if let Some((at, list)) = found {
                let mut inputs = vec![at + 1];
                inputs.extend(&original[list.len()..]);
                if inputs.len() == 1 {
                    self.replace(index + 1, at + 1);
                    continue;
                }
                self.steps[index].inputs = inputs;
                self.see("join that goes on from an earlier one");
            }
            earlier.push(index);
        }
    }

    /// The values that a join joins, those of joins that it begins with written out.
    fn written_out(&self, value: usize, depth: usize) -> Vec<usize> {
        let Some(step) = self.maker(value).filter(|_| depth < 512) else { return vec![value] };
        let What::Join { axis } = step.what else { return vec![value] };
        let [first, rest @ ..] = &step.inputs[..] else { return vec![value] };
        let mut list = match self.maker(*first) {
            Some(before) if before.what == (What::Join { axis }) => self.written_out(*first, depth + 1),
            _ => vec![*first],
        };
        list.extend(rest);
        list
    }
}
