//! Notes what compiles this crate (the same compiler, with the same flags, as the program that links it) and from which
//! revision of the sources; what cannot be found out is left empty.

use std::env::var;
use std::path::Path;
use std::process::Command;

fn main() {
    let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let rustc = var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    // Cargo parts the flags with this character.
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    let level = var("OPT_LEVEL").unwrap_or_default();
    set("LRPET_RUSTC", output(Command::new(rustc).arg("--version")));
    set("LRPET_TARGET", var("TARGET").ok());
    set("LRPET_FLAGS", Some(format!("opt-level={level} {flags}").trim().to_owned()));
    set("LRPET_REVISION", revision(Path::new(&folder)));
    // Not on a commit, which changes no source: the revision is the one at which the sources were built.
    for source in ["build.rs", "Cargo.toml", "src", "../runtime/src"] {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// The revision of the repository whose member this package is, with `-dirty` where files differ from it.
fn revision(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(folder).args(arguments));
    // An unpacked archive inside another repository has no revision.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["describe", "--always", "--dirty", "--abbrev=12"])
}

/// First line of a command's standard output; none where it fails.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}

fn set(variable: &str, value: Option<String>) {
    println!("cargo::rustc-env={variable}={}", value.unwrap_or_default());
}
