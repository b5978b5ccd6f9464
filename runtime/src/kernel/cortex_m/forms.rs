//! Which forms a convolution takes: ways over its pixels and inner loops. A program that knows its model links those alone
//! ([`Set::FORMS`]), and they are found by what is executed itself: a dry run on the machine that builds the program.

use crate::kernel::{Operations, Set};

#[cfg(feature = "std")]
std::thread_local! {
    /// What was taken since a run began, and whether it is dry.
    static TAKEN: core::cell::Cell<Option<(Set, bool)>> = const { core::cell::Cell::new(None) };
}

/// Takes `form`, where the program has it: false where it has not, which its model rules out.
#[inline(always)]
pub(super) fn take<U: Operations>(form: Set) -> bool {
    note(form);
    U::USED.has(form)
}

/// Says that `form` is taken; true in a dry run, in which nothing is to be computed.
#[inline(always)]
pub(super) fn note(form: Set) -> bool {
    #[cfg(feature = "std")]
    {
        let taken = TAKEN.get().map(|(taken, dry)| (taken.and(form), dry));
        TAKEN.set(taken);
        taken.is_some_and(|(_, dry)| dry)
    }
    #[cfg(not(feature = "std"))]
    {
        let _ = form;
        false
    }
}

/// What `run` takes on this thread; without computing, where `dry`.
#[cfg(feature = "std")]
pub(super) fn taken(dry: bool, run: impl FnOnce()) -> Set {
    TAKEN.set(Some((Set::default(), dry)));
    run();
    TAKEN.take().map_or(Set::default(), |(taken, _)| taken)
}
