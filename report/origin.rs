//! For build scripts: what compiles, and from which revision of the sources.

use std::env::var;
use std::path::Path;
use std::process::Command;

/// Notes compiler, target and revision for the crate; what cannot be found out is left empty.
pub fn note() {
    let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let rustc = var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    set("LRPET_RUSTC", output(Command::new(rustc).arg("--version")));
    set("LRPET_REVISION", revision(Path::new(&folder)));
    set("LRPET_TARGET", var("TARGET").ok());
    // Not on a commit, which changes no source: the revision is the one at which the sources were built.
    for source in ["build.rs", "Cargo.toml", "src", "../report/origin.rs", "../runtime/src"] {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// Sets a variable for `env!`.
pub fn set(variable: &str, value: Option<String>) {
    println!("cargo::rustc-env={variable}={}", value.unwrap_or_default());
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
