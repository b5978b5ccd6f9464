//! Notes what compiles this crate (the same compiler, with the same flags, as the program that links it) and from which
//! revision of the sources.

use std::env::var;
use std::process::Command;

mod origin;

fn main() {
    let rustc = var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    origin::set("LRPET_RUSTC", origin::output(Command::new(rustc).arg("--version")));
    origin::set("LRPET_TARGET", var("TARGET").ok());
    origin::revision(&["build.rs", "Cargo.toml", "src", "origin.rs", "../runtime/src"]);
    // Cargo parts the flags with this character.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    let level = var("OPT_LEVEL").unwrap_or_default();
    origin::set("LRPET_TARGET_FEATURES", var("CARGO_CFG_TARGET_FEATURE").ok());
    origin::set("LRPET_FLAGS", Some(format!("opt-level={level} {flags}").trim().to_owned()));
}
