//! Tells the summary of a run what it was built from and with: revision, compiler, target, target features. What cannot be found
//! out is left empty; nothing here fails a build.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let rustc = env::var("RUSTC").unwrap_or("rustc".to_owned());
    set("LRPET_RUSTC", output(Command::new(rustc).arg("--version")));
    set("LRPET_REVISION", revision(Path::new(&folder)));
    set("LRPET_TARGET", env::var("TARGET").ok());
    set("LRPET_TARGET_FEATURES", env::var("CARGO_CFG_TARGET_FEATURE").ok());
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
