//! How convolutions are cut up, as far as several instruction sets share it.

mod cut;
mod form;
#[cfg(feature = "std")]
mod patch;

#[doc(hidden)]
pub use cut::Cut;
pub(super) use form::{Form, largest_paying_rank, of_either_form};
#[cfg(feature = "std")]
pub(super) use patch::{CACHE_LINE, MAX_STRIDE, Patch};
