//! What the fuzzed programs share: each hands bytes to one reader, and holds what comes of them to what must be so.
//!
//! A reader may refuse bytes with an error that says something, or take them; it may not panic, read beyond its memory, take
//! memory or time without end.

mod memory;
mod scratch;
mod wire;

pub use memory::Aligned;
pub use scratch::{in_file, in_folder};
pub use wire::serve;

/// Longest message of an error that a person still reads.
const LONGEST: usize = 20_000;

/// An error says something, and not everything.
pub fn says(error: &dyn std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "an error without a word");
    assert!(
        text.len() < LONGEST,
        "an error of {} bytes: {}",
        text.len(),
        text.get(..300).unwrap_or_default()
    );
}
