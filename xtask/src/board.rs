//! `cargo xtask board`: firmware with a model in flash, on an emulated or a real board.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lrpet_board::boards::{self, Board, Chip};
use lrpet_board::build::{self, Content, Image, Options};
use lrpet_board::flash::{self, Probe};
use lrpet_board::image::{self, ImageReport};
use lrpet_board::memory::ModelMemory;
use lrpet_board::{elf, emulate, loader, process, uf2};

use crate::toolchain::Source;

/// Options of `cargo xtask board`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the board
    #[arg(value_parser = names())]
    board: String,
    /// Model file
    model: PathBuf,
    /// Inferences that the bench counts (1 to 64)
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    iterations: u32,
    /// Inferences before it counts
    #[arg(long, default_value_t = 1)]
    warm_up: u32,
    /// Seconds after which an emulated board is stopped
    #[arg(long, default_value_t = 1200)]
    timeout: u64,
    /// One JSON document on standard output instead of the board's lines
    #[arg(long)]
    json: bool,
    /// Link no model: the firmware reads it from the board's model region and has this many bytes of memory for it. An emulator
    /// loads the model there; to a real board `lrpet flash --region` writes it
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    region_memory: Option<u64>,
    /// Serve on an emulated board's first UART instead of reporting; the device is one of QEMU's `-serial` (stdio if none is
    /// named)
    #[arg(long, value_name = "DEVICE", num_args = 0..=1, default_missing_value = "stdio")]
    serve: Option<String>,
    #[command(flatten)]
    real: FlashArguments,
}

/// Options of `cargo xtask board` for real boards.
#[derive(clap::Args)]
struct FlashArguments {
    /// Flash a real board through its debug probe with probe-rs, and start it
    #[arg(long)]
    flash: bool,
    /// Debug probe, where several are connected: VID:PID or VID:PID:SERIAL as `probe-rs list` shows them
    #[arg(long, value_name = "PROBE", requires = "flash")]
    probe: Option<String>,
    /// Write an UF2 file for a real board whose boot ROM takes them (pico2)
    #[arg(long, value_name = "FILE")]
    uf2: Option<PathBuf>,
}

impl FlashArguments {
    /// Whether any was given.
    fn any(&self) -> bool {
        self.flash || self.uf2.is_some()
    }
}

fn names() -> clap::builder::PossibleValuesParser {
    boards::names().collect::<Vec<_>>().into()
}

/// Runs `cargo xtask board`.
pub fn main(arguments: &Arguments, toolchain: Source) -> Result<()> {
    let options = Options {
        warm_up: arguments.warm_up,
        iterations: arguments.iterations,
        timeout: Duration::from_secs(arguments.timeout),
        toolchain,
    };
    let board = Board::named(&arguments.board)?;
    if let Some(chip) = board.chip() {
        if arguments.serve.is_some() {
            bail!("{} serves after its report: talk to it over its serial line", board.name);
        }
        return real(board, chip, arguments, &options);
    }
    if arguments.real.any() {
        bail!("{} is emulated: --flash and --uf2 are for real boards", board.name);
    }
    let mut relay = |line: &str| {
        if !arguments.json {
            println!("{line}");
        }
    };
    if let Some(device) = &arguments.serve {
        return with_model(board, arguments, &options, |image, more| serve(image, device, more));
    }
    let report = with_model(board, arguments, &options, |image, more| image.report(more, &mut relay))?;
    if arguments.json {
        println!("{}", report.to_json());
    } else {
        println!("{}", serde_json::json!({ "event": "memory", "memory": report.memory }));
    }
    let failures = report.self_check.map_or(0, |check| check.samples - check.passed);
    let fail =
        if failures == 1 { "sample of the self-check fails" } else { "samples of the self-check fail" };
    ensure!(failures == 0, "{failures} {fail} on {}", board.name);
    Ok(())
}

/// Firmware of an emulated board with the model, linked or in the region, and the emulator's options for the latter.
fn with_model<T>(
    board: &Board,
    arguments: &Arguments,
    options: &Options,
    then: impl FnOnce(&Image<'_>, &[String]) -> Result<T>,
) -> Result<T> {
    let Some(memory) = arguments.region_memory else {
        return emulate::with_image(board, Content::Model(&arguments.model), options, |image| {
            then(image, &[])
        });
    };
    let contents = loader::contents(&arguments.model)?;
    emulate::with_image(board, Content::Region(memory), options, |image| {
        image.with_model(&arguments.model, |image| then(image, &image.load_region(&contents)?))
    })
}

/// Runs the service until the user ends the emulator.
fn serve(image: &Image<'_>, device: &str, more: &[String]) -> Result<()> {
    let mut command = image.serve_command(device, more)?;
    let status = command.status().with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
    ensure!(status.success(), "`{}` ended with {status}", process::spell(&command));
    Ok(())
}

/// Builds the firmware of a real board, and flashes it where that is asked for.
fn real(board: &Board, chip: &Chip, arguments: &Arguments, options: &Options) -> Result<()> {
    let FlashArguments { flash, uf2, probe } = &arguments.real;
    if uf2.is_some() && chip.uf2_family.is_none() {
        bail!("{} takes no UF2 files: flash it with --flash", board.name);
    }
    let is_model =
        |file: &std::path::PathBuf| file.canonicalize().ok() == arguments.model.canonicalize().ok();
    if let Some(file) = uf2.as_ref().filter(|file| file.exists() && is_model(file)) {
        bail!("{} is the model: it would be replaced; name another file for --uf2", file.display());
    }
    if *flash {
        flash::ensure_probe()?;
    }
    let report = match arguments.region_memory {
        None => image::build(board, &arguments.model, options)?,
        Some(memory) => {
            ModelMemory::of_file(board, &arguments.model)?.ensure_region_memory(memory, &arguments.model)?;
            let (report, region) = image::build_for_region(board, memory, options)?;
            region.ensure_room(build::model_file(&arguments.model)?.1)?;
            report
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", serde_json::to_string(&report)?);
    }
    if let (Some(file), Some(family)) = (uf2, chip.uf2_family) {
        let blocks = flash::uf2_blocks(&elf::segments(&report.file)?, family)?;
        std::fs::write(file, blocks).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if *flash {
        eprintln!("the report comes on the serial line, 115200 8N1 (docs/boards.md)");
        Probe { chip, selector: probe.as_deref() }.run(&report.file)?;
    }
    Ok(())
}

/// Memory of a real board's firmware that is built for a model region, for `cargo xtask test`.
const REGION_MEMORY: u64 = 64 << 10;

/// For `cargo xtask test`: builds a board with a model that fits, and without one for its region, and checks both images; where
/// `too_large` is given, that must be refused with the bytes that are missing. Says what was measured.
pub fn verify(
    board: &Board,
    chip: &Chip,
    model: &Path,
    too_large: Option<&Path>,
    options: &Options,
) -> Result<String> {
    let report = image::build(board, model, options)?;
    let ImageReport { text_bytes, flash_bytes, flash_available, static_bytes, stack_available, .. } = report;
    let mut said = format!(
        "flash {flash_bytes} of {flash_available} bytes, {text_bytes} of them code; variables {static_bytes} bytes at \
         {:#010x}, {stack_available} left for the stack",
        report.ram_at
    );
    if let Some(family) = chip.uf2_family {
        let segments = elf::segments(&report.file)?;
        let blocks = flash::uf2_blocks(&segments, family)?;
        let (start, flash) = uf2::decode(&blocks, family)?;
        ensure!(start == chip.flash_at, "the UF2 file begins at {start:#x}");
        for segment in &segments {
            let from = (segment.stored_at.max(start) - start) as usize;
            let there = flash.get(from..from + segment.bytes.len());
            ensure!(
                segment.bytes.is_empty() || there == Some(&segment.bytes),
                "the UF2 file differs from the image"
            );
        }
        said += &format!("; {} blocks of UF2", blocks.len() / 512);
    }
    let (for_region, region) = image::build_for_region(board, REGION_MEMORY, options)?;
    let flash_end = u64::from(chip.flash_at) + board.flash;
    ensure!(
        u64::from(chip.flash_at) + for_region.flash_bytes <= u64::from(region.start)
            && u64::from(region.start) + region.bytes == flash_end,
        "the code takes {} bytes of flash and the model region begins at {:#x}, with {} bytes up to its end",
        for_region.flash_bytes,
        region.start,
        region.bytes
    );
    said += &format!("; model region of {} bytes at {:#010x}", region.bytes, region.start);
    if let Some(too_large) = too_large {
        let (path, bytes) = build::model_file(too_large)?;
        let error = match image::build(board, &path, options) {
            Ok(_) => bail!("{} should not fit {}", path.display(), board.name),
            Err(error) => lrpet_report::chain(error.as_ref()),
        };
        let needed: u64 = error
            .split_once("flash: ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("the refusal names no bytes of flash: {error}"))?;
        // Built in, a model has no header. Other sizes, other code: some hundred bytes.
        let mut length = [0; 8];
        let file = std::fs::File::open(&path).and_then(|mut file| file.read_exact(&mut length));
        file.with_context(|| format!("cannot read {}", path.display()))?;
        let data = bytes.saturating_sub(8 + u64::from_le_bytes(length));
        ensure!(
            needed.abs_diff(text_bytes + data) < 4096,
            "refused for {needed} bytes of flash, but {text_bytes} of code and {data} of model were expected"
        );
        said += &format!("; refused: {error}");
    }
    Ok(said)
}
