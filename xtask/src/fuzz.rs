//! `cargo xtask fuzz`: coverage-guided fuzzing of all that reads bytes of others, by libFuzzer with the address sanitizer, on the
//! stable toolchain.
//!
//! `tests/fuzz` has a program for each reader. Its seeds are made by a program beside them; what it learns stays in
//! `target/fuzz/corpus`, and what it found wrong is kept in `tests/fuzz/findings` and tried first each time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::setup::{self, Group};
use crate::toolchain::{self, Source};

/// The crate of the fuzzed programs.
pub const FOLDER: &str = "tests/fuzz";

/// What is built and learned.
const TARGET: &str = "target/fuzz";

/// As `cargo fuzz` instruments a program; the names are LLVM's.
const FLAGS: &[&str] = &[
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=4",
    "--cfg",
    "fuzzing",
];

/// An input that takes longer is a finding, in seconds.
const SLOW: u64 = 20;

/// A program that takes more memory is a finding, in MiB.
const MEMORY: u64 = 2048;

/// A reader that is fuzzed.
struct Reader {
    name: &'static str,
    about: &'static str,
    /// Longest input in bytes.
    longest: usize,
}

const fn reader(name: &'static str, longest: usize, about: &'static str) -> Reader {
    Reader { name, about, longest }
}

/// Every reader.
const READERS: &[Reader] = &[
    reader("model", 1 << 20, "model files on a device: check, plan, sessions of every instruction set"),
    reader("inspect", 1 << 16, "model files on a desktop: shown, drawn, made dense, written as ONNX"),
    reader("network", 1 << 16, "networks as TOML files"),
    reader("onnx", 1 << 17, "ONNX files"),
    reader("checkpoint", 1 << 17, "files of weights: safetensors, PyTorch's archives"),
    reader("pickle", 1 << 13, "the pickle inside PyTorch's archives"),
    reader("service", 1 << 13, "a board's serial line"),
    reader("picture", 1 << 15, "PNG, JPEG, WebP, BMP, TIFF"),
    reader("dataset", 1 << 15, "files of data sets: IDX, CIFAR-10's, arrays of values"),
    reader("input", 1 << 13, "arrays in .npy"),
];

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which readers (default: all of them; see --list)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each is fuzzed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Say what there is
    #[arg(long)]
    list: bool,
    /// Instead: hand one file to one reader, as it was found
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    input: Option<PathBuf>,
}

/// Runs `cargo xtask fuzz`.
pub fn main(arguments: &Arguments, source: Source) -> Result<()> {
    if arguments.list {
        for reader in READERS {
            println!("{:10} {}", reader.name, reader.about);
        }
        return Ok(());
    }
    let readers = chosen(&arguments.targets)?;
    setup::ensure(&[Group::Fuzz], source)?;
    build()?;
    if let Some(input) = &arguments.input {
        let [reader] = readers[..] else {
            bail!("say which reader takes the file: cargo xtask fuzz TARGET --input FILE")
        };
        let input = std::path::absolute(input)?;
        ensure!(input.is_file(), "{} is no file", input.display());
        let mut command = libfuzzer(reader)?;
        let status = command.arg(input).status();
        let status = status.with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
        ensure!(status.success(), "{} fails on it", reader.name);
        return Ok(());
    }
    println!("{}", fuzz(&readers, Duration::from_secs(60 * arguments.minutes))?);
    Ok(())
}

/// Fuzzes every reader for `time`; says how much was tried.
pub fn all(time: Duration) -> Result<String> {
    build()?;
    fuzz(&READERS.iter().collect::<Vec<_>>(), time)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Reader>> {
    if names.is_empty() {
        return Ok(READERS.iter().collect());
    }
    let named = |name: &String| {
        READERS.iter().find(|reader| reader.name == name).with_context(|| {
            let all: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
            format!("no reader is called {name}: there are {}", all.join(", "))
        })
    };
    names.iter().map(named).collect()
}

/// The machines that Rust's sanitizer and these flags are known to work on.
fn host() -> Result<String> {
    match (std::env::consts::ARCH, std::env::consts::OS) {
        (arch @ ("x86_64" | "aarch64"), "linux") => Ok(format!("{arch}-unknown-linux-gnu")),
        (arch, os) => bail!("fuzzing runs on Linux (x86_64, aarch64), not on {os} ({arch})"),
    }
}

/// A program of the crate.
fn program(name: &str) -> Result<PathBuf> {
    Ok(crate::root().join(TARGET).join(host()?).join("release").join(name))
}

/// Builds the programs, and lets one of them write the seeds.
fn build() -> Result<()> {
    let mut command = Command::new(toolchain::cargo());
    command
        .current_dir(crate::root())
        .args(["build", "--release", "--locked", "--target", &host()?, "--target-dir", TARGET])
        .args(["--manifest-path", &format!("{FOLDER}/Cargo.toml")])
        // What a sanitizer is built with is not stable yet; the compiler is.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", FLAGS.join(" "));
    let log = crate::root().join(TARGET).join("build.log");
    std::fs::create_dir_all(crate::root().join(TARGET))
        .context("cannot make the folder of the fuzzed programs")?;
    process::run_logged(&mut command, "building the fuzzed programs", &log, "see the log")?;
    let seeds = crate::root().join(TARGET).join("seeds");
    process::capture(Command::new(program("seeds")?).arg(&seeds), "the seeds cannot be made")?;
    Ok(())
}

/// The fuzzed program of a reader, where it keeps what it finds wrong.
fn libfuzzer(reader: &Reader) -> Result<Command> {
    let found = crate::root().join(TARGET).join("found");
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let mut command = Command::new(program(reader.name)?);
    command
        .arg(format!("-artifact_prefix={}/{}-", found.display(), reader.name))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg("-print_final_stats=1");
    Ok(command)
}

/// Fuzzes `readers`, as many at a time as there are cores.
fn fuzz(readers: &[&Reader], time: Duration) -> Result<String> {
    let left = Mutex::new(readers.iter());
    let outcomes = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(readers.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(reader) = left.lock().ok().and_then(|mut left| left.next()) else { return };
                    let outcome = one(reader, time);
                    match &outcome {
                        Ok(tried) => println!("{:10} {tried} inputs, none of them harmful", reader.name),
                        Err(error) => println!("{:10} {}", reader.name, lrpet_report::chain(error.as_ref())),
                    }
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push((reader.name, outcome));
                    }
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_default();
    let failed: Vec<&str> =
        outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(name, _)| *name).collect();
    if !failed.is_empty() {
        bail!("fuzzing found something wrong: {}", failed.join(", "));
    }
    let tried: u64 = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).sum();
    Ok(format!("{} readers, {tried} inputs, none of them harmful", outcomes.len()))
}

/// Fuzzes one reader, and counts the inputs.
fn one(reader: &Reader, time: Duration) -> Result<u64> {
    let corpus = crate::root().join(TARGET).join("corpus").join(reader.name);
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let findings = crate::root().join(FOLDER).join("findings").join(reader.name);
    let mut command = libfuzzer(reader)?;
    command
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-max_len={}", reader.longest))
        .arg(corpus)
        .arg(crate::root().join(TARGET).join("seeds").join(reader.name))
        .args(findings.is_dir().then_some(&findings));
    let output = command.output().with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let log = crate::root().join(TARGET).join(format!("found/{}.log", reader.name));
        std::fs::write(&log, text.as_bytes()).with_context(|| format!("cannot write {}", log.display()))?;
        bail!(told(&text, reader, &log));
    }
    let tried = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    tried
        .and_then(|count| count.trim().parse().ok())
        .context("libFuzzer does not say how many inputs it tried")
}

/// What went wrong, and how to see it again.
fn told(output: &str, reader: &Reader, log: &Path) -> String {
    let wrong = output.lines().position(|line| line.contains("panicked at") || line.contains("ERROR: "));
    let lines: Vec<&str> = output.lines().skip(wrong.unwrap_or_default()).take(2).collect();
    let file =
        output.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, file)| file.trim());
    let again = file
        .map_or_else(String::new, |file| format!("\nagain: cargo xtask fuzz {} --input {file}", reader.name));
    format!("{}{again}\nall that it said: {}", lines.join(" "), log.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_chosen_by_name_and_are_those_of_the_crate() {
        assert_eq!(chosen(&[]).unwrap().len(), READERS.len());
        assert_eq!(chosen(&["onnx".to_owned()]).unwrap()[0].name, "onnx");
        let error = chosen(&["onxx".to_owned()]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("onxx") && error.contains("onnx, checkpoint"), "{error}");
        let programs = std::fs::read_dir(crate::root().join(FOLDER).join("src/bin")).unwrap();
        let mut programs: Vec<String> =
            programs.map(|entry| entry.unwrap().file_name().to_string_lossy().replace(".rs", "")).collect();
        programs.retain(|name| name != "seeds");
        programs.sort();
        let mut names: Vec<&str> = READERS.iter().map(|reader| reader.name).collect();
        names.sort_unstable();
        assert_eq!(programs, names);
    }

    #[test]
    fn what_went_wrong_is_told_with_the_way_to_see_it_again() {
        let output = "INFO: Seed: 1\n\nthread '<unnamed>' panicked at lib.rs:3:4:\nno such layer\n==7== ERROR: libFuzzer: deadly signal\n\
                      artifact_prefix='x'; Test unit written to found/onnx-crash-12";
        let said = told(output, &READERS[3], Path::new("onnx.log"));
        assert!(
            said.contains("no such layer") && said.contains("fuzz onnx --input found/onnx-crash-12"),
            "{said}"
        );
    }
}
