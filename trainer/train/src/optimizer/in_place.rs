//! The values of several tensors on the CPU, to be changed where they lie.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, bail};

/// The values of the tensors that were borrowed so far.
type Lent<'v> = Vec<&'v mut [f32]>;

/// Calls `work` with the values of `tensors`, f32 and contiguous, in their order.
///
/// # Errors
/// Where one is not on the CPU, not f32 or not contiguous; nothing is changed then.
pub(super) fn with_values(tensors: &[&Tensor], work: impl FnOnce(Vec<&mut [f32]>)) -> Result<()> {
    reach(tensors, Vec::with_capacity(tensors.len()), work)
}

/// candle lends one tensor at a time, to an operation: that of the first borrows the next, and so on.
fn reach<F: FnOnce(Vec<&mut [f32]>)>(tensors: &[&Tensor], found: Lent<'_>, work: F) -> Result<()> {
    match tensors {
        [] => {
            work(found);
            Ok(())
        }
        [first, rest @ ..] => first.inplace_op1(&Reach { rest, state: RefCell::new(Some((found, work))) }),
    }
}

struct Reach<'t, 'v, F> {
    rest: &'t [&'t Tensor],
    /// What was borrowed so far, and what to do with all.
    state: RefCell<Option<(Lent<'v>, F)>>,
}

impl<F: FnOnce(Vec<&mut [f32]>)> InplaceOp1 for Reach<'_, '_, F> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("an optimiser moves contiguous tensors of f32 alone")
        };
        let Some((found, work)) = self.state.take() else { bail!("the tensors were lent already") };
        let mut found: Lent<'_> = found;
        found.push(&mut values[start..end]);
        reach(self.rest, found, work)
    }
}
