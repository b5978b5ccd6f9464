//! Notes what compiles this crate (the same compiler, with the same flags, as the program that links it) and from which
//! revision of the sources.

use std::env::var;

#[path = "origin.rs"]
mod origin;

fn main() {
    origin::note();
    // Cargo parts the flags with this character.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    let level = var("OPT_LEVEL").unwrap_or_default();
    origin::set("LRPET_FLAGS", Some(format!("opt-level={level} {flags}").trim().to_owned()));
}
