//! `cargo xtask bench size`: the code that a model takes on a Cortex-M4F when the program reads its file, and when it is built in; or,
//! with `--firmware`, what a board's own firmware is made of.
//!
//! One small program with a model and without; what it is larger by is the runtime's. Each runs one image in the emulator, which counts
//! instructions.

mod parts;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use lrpet_board::boards::Board;
use lrpet_board::elf;
use lrpet_board::memory::ModelMemory;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::Model;

use crate::counts::elf::Elf;
use crate::process;
use crate::toolchain::{Source, Toolchain};

/// The board whose memory map and versions of crates serve.
const BOARD: &str = "qemu-mps2-an386";
/// Functions that are shown.
const LARGEST: usize = 20;

/// Options of `cargo xtask bench size`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file: a classifier of pictures
    #[arg(default_value = "models/fashion-mnist-resnet8-g0.6.safetensors")]
    model: PathBuf,
    /// What the bench and service of a board take, by part
    #[arg(long, value_name = "BOARD")]
    firmware: Option<String>,
    /// With --firmware: without a model, for the board's region
    #[arg(long, requires = "firmware")]
    region: bool,
}

/// What was found of one program.
struct Found {
    name: &'static str,
    /// Bytes of code.
    code: u64,
    /// Bytes of flash in all: code, constants, the model.
    flash: u64,
    /// Bytes of variables: the arena is most of them.
    ram: u64,
    /// Instructions from the start to the first logits, and of the inference.
    instructions: [u64; 2],
    /// Bits of the logits.
    logits: Vec<u32>,
}

pub fn main(arguments: &Arguments, source: Source) -> Result<()> {
    if let Some(board) = &arguments.firmware {
        let model = (!arguments.region).then_some(&*arguments.model);
        return parts::print(Board::named(board)?, model, LARGEST, source);
    }
    let board = Board::named(BOARD)?;
    let file = std::path::absolute(&arguments.model)?;
    let memory = ModelMemory::of_file(board, &file)?;
    let map = MappedModel::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let model =
        Model::new_checked(map.bytes()).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let header = *model.program().header();
    let mut features: Vec<&str> = header.needs.features().collect();
    features.extend(memory.streams.then_some("streams"));
    let crates = crate::root().join("firmware/boards").join(board.package);
    let folder = crate::root().join("target/size");
    std::fs::create_dir_all(folder.join("src"))
        .with_context(|| format!("cannot write {}", folder.display()))?;
    let words = [
        ("root", crate::root().display().to_string()),
        ("features", format!("{features:?}")),
        ("input", header.input.len().to_string()),
        ("classes", header.classes.to_string()),
        ("arena", memory.arena.to_string()),
    ];
    let fill = |text: &str| {
        words
            .iter()
            .fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
    };
    std::fs::write(folder.join("Cargo.toml"), fill(include_str!("size/Cargo.toml.in")))?;
    std::fs::write(folder.join("src/main.rs"), fill(include_str!("size/main.rs")))?;
    std::fs::write(folder.join("model.safetensors"), map.bytes())?;
    for name in ["Cargo.lock", "memory.x"] {
        std::fs::copy(crates.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let toolchain = Toolchain::for_target(board.target, source)?;
    let variants = [("no model", ""), ("file at run time", "run-time"), ("built in", "built-in")];
    let mut found = Vec::new();
    for (name, feature) in variants {
        eprintln!("{name}");
        found.push(one(name, feature, board, &folder, toolchain)?);
    }
    let [none, rest @ ..] = &found[..] else { bail!("nothing was built") };
    println!("{} on a Cortex-M4F, bytes and executed instructions\n", arguments.model.display());
    println!("| | runtime's code | flash in all | variables | to the first logits | of them the inference |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for Found { name, code, flash, ram, instructions: [all, inference], .. } in rest {
        println!("| {name} | {} | {flash} | {ram} | {all} | {inference} |", code.saturating_sub(none.code));
    }
    let first = rest.first().map(|first| &first.logits);
    ensure!(rest.iter().all(|other| Some(&other.logits) == first), "the logits differ");
    println!("\nThe logits have the same bits. The largest functions of the one built in:\n");
    let elf = Elf::read(&program(&folder, board))?;
    for (name, function) in elf.largest().iter().take(LARGEST) {
        println!("{:>6}  {:#}", function.size, rustc_demangle::demangle(name));
    }
    Ok(())
}

fn program(folder: &Path, board: &Board) -> PathBuf {
    folder.join("target").join(board.target).join("release/lrpet-size")
}

/// Builds and runs one of the programs.
fn one(
    name: &'static str,
    feature: &str,
    board: &Board,
    folder: &Path,
    toolchain: Toolchain,
) -> Result<Found> {
    let mut build = toolchain.cargo("build", board.target);
    build.current_dir(folder).args(["--release", "--quiet", "--offline", "--features", feature]);
    build.arg("--target-dir").arg(folder.join("target"));
    build.env("RUSTFLAGS", "-C link-arg=-Tlink.x -C link-arg=--nmagic");
    process::capture(&mut build, "cargo xtask setup fetches what it needs")?;
    let file = program(folder, board);
    let sizes = elf::sizes(&file)?;
    let mut emulator = std::process::Command::new("qemu-system-arm");
    emulator.args([
        "-machine",
        "mps2-an386",
        "-cpu",
        "cortex-m4",
        "-icount",
        "shift=0",
        "-nographic",
        "-monitor",
        "none",
    ]);
    emulator
        .args(["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel"])
        .arg(&file);
    let said = process::capture(&mut emulator, "cargo xtask setup installs the emulator")?;
    let numbers = |word: &str| -> Vec<u64> {
        said.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
    };
    let one = |word: &str| {
        numbers(word).first().copied().with_context(|| format!("the program does not say `{word}`"))
    };
    let logits = numbers("logit ").iter().map(|bits| *bits as u32).collect();
    let instructions = [one("all ")?, one("inference ")?];
    Ok(Found { name, code: sizes.code, flash: sizes.flash, ram: sizes.ram, instructions, logits })
}
