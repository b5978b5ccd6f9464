//! The programs of this workspace, run as a user runs them.
//!
//! They are built by `cargo xtask test` (or `cargo build --release -p lrpet-trainer -p lrpet-runtime --features
//! lrpet-runtime/gpio`) before the tests run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A program of this workspace, from the folder of optimised programs.
pub fn program(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// The Python of the tests.
///
/// # Errors
/// Where it is missing.
pub fn python() -> Result<PathBuf> {
    let python = root().join("target/venv/bin/python");
    ensure!(python.exists(), "the Python of the tests is missing: run `cargo xtask setup`");
    Ok(python)
}

/// What a program printed, and its exit status.
pub struct Done {
    /// Exit status; −1 where a signal ended the program.
    pub status: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

/// Runs a program of this workspace to its end.
///
/// # Errors
/// Where it is not built.
pub fn run(name: &str, arguments: &[&str]) -> Result<Done> {
    let file = program(name);
    let Output { status, stdout, stderr } =
        Command::new(&file).args(arguments).current_dir(root()).output().with_context(|| {
            format!("cannot start {}: run `cargo xtask test`, which builds it", file.display())
        })?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Done { status: status.code().unwrap_or(-1), output: text(stdout), errors: text(stderr) })
}

/// Runs a program that must succeed and print one JSON document.
///
/// # Errors
/// Where it fails, or prints anything else.
pub fn json(name: &str, arguments: &[&str]) -> Result<Value> {
    let done = run(name, &[arguments, &["--json"]].concat())?;
    ensure!(done.status == 0, "{name} {} exits with {}: {}", arguments.join(" "), done.status, done.errors);
    serde_json::from_str(&done.output)
        .with_context(|| format!("{name} {} prints {:?}", arguments.join(" "), done.output))
}

/// Runs a program that must fail with exit status 1 and one clear error; the error.
///
/// # Errors
/// Where it succeeds, panics, prints something on standard output, or says a cause twice.
pub fn refused(name: &str, arguments: &[&str]) -> Result<String> {
    let done = run(name, arguments)?;
    let line = arguments.join(" ");
    ensure!(
        done.status == 1,
        "{name} {line} exits with {}, not 1: {}{}",
        done.status,
        done.output,
        done.errors
    );
    ensure!(done.output.is_empty(), "{name} {line} fails and still prints {:?}", done.output);
    let errors: Vec<&str> = done.errors.lines().filter(|line| line.starts_with("error: ")).collect();
    // A part of an error that stands there twice is a cause that was said twice.
    let parts: Vec<&str> =
        errors.iter().flat_map(|error| error.split(": ")).filter(|part| part.len() > 12).collect();
    let twice = (0..parts.len()).find(|&at| parts[..at].contains(&parts[at]));
    ensure!(twice.is_none(), "{name} {line} says a cause twice: {}", done.errors);
    match errors[..] {
        [error] if !done.errors.contains("panicked") => Ok(error.to_owned()),
        _ => bail!("{name} {line} does not fail with one clear error: {}", done.errors),
    }
}

/// The value of `key`, a path with dots, as a number.
///
/// # Errors
/// Where there is none.
pub fn number(value: &Value, key: &str) -> Result<f64> {
    let pointer = format!("/{}", key.replace('.', "/"));
    value.pointer(&pointer).and_then(Value::as_f64).with_context(|| format!("no number `{key}` in {value}"))
}
