//! For build scripts: from which revision of the sources a program is built.

use std::env::var;
use std::path::Path;
use std::process::Command;

/// Notes the revision for the crate, whose program is built from `sources` (files and folders, from the package's own folder on);
/// where it cannot be found out it is left empty.
pub fn revision(sources: &[&str]) {
    let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
    set("LRPET_REVISION", revision_of(Path::new(&folder)));
    // Not on a commit, which changes no source: the revision is the one at which the sources were built.
    for source in sources {
        println!("cargo::rerun-if-changed={source}");
    }
}

/// Sets a variable for `env!`.
pub fn set(variable: &str, value: Option<String>) {
    println!("cargo::rustc-env={variable}={}", value.unwrap_or_default());
}

/// The revision of the repository whose member this package is, with `-dirty` where files differ from it.
fn revision_of(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| output(Command::new("git").current_dir(folder).args(arguments));
    // An unpacked archive inside another repository has no revision.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["describe", "--always", "--dirty", "--abbrev=12"])
}

/// First line of a command's standard output; none where it fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned())
}
