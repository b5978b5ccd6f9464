//! The report of a [sweep](crate::sweep): accuracy against every cost, what fits which board, ranks and spectra.
//!
//! [`html`] is one page that needs no network; its short script moves what is there and fetches nothing. [`svg`] is its
//! charts as a picture, [`png`] the same as pixels, [`markdown`] a table for a README, [`text`] one for a terminal.

mod figures;
mod fits;
mod layers;
mod page;
mod plain;
mod png;
mod scatter;
#[cfg(test)]
pub(crate) mod tests;

pub use figures::pareto;
pub use page::html;
pub use plain::{markdown, text};
pub use png::{PngError, png};
pub use scatter::svg;
