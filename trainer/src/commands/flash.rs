//! `lrpet flash`: whether a model fits a board, flashing it, and what the board says then.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lrpet_board::boards::{Board, Chip};
use lrpet_board::build::Options;
use lrpet_board::elf;
use lrpet_board::fit::{self, Fit};
use lrpet_board::flash::{self, Probe};
use lrpet_board::region::Region;
use lrpet_board::report::{self, Built};
use lrpet_board::serial::Line;
use lrpet_board::toolchain::Source;
use lrpet_network::export::schedule::choices;
use lrpet_network::fit::{Advice, AtRatio, Room, advice};
use lrpet_report::{Memory, Run};
use lrpet_runtime::plan::Ram;
use lrpet_study::measure;
use serde::Serialize;

use super::Output;
use super::bench::{board_names, checked};
use super::model_file::ModelFile;
use super::numbers::count;
use super::outputs;
use super::ram::copy_for;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Board
    #[arg(long, value_parser = board_names())]
    board: String,
    /// Build, link and say what is needed and there, but flash nothing; emulated boards too
    #[arg(long)]
    dry_run: bool,
    /// Serial line of the board: shows the report that comes back, with --json as the document of docs/report-format.md
    #[arg(long, value_name = "PORT", conflicts_with = "dry_run")]
    port: Option<PathBuf>,
    /// Debug probe, where several are connected: VID:PID or VID:PID:SERIAL as `probe-rs list` shows them
    #[arg(long, value_name = "PROBE", conflicts_with_all = ["dry_run", "uf2"])]
    probe: Option<String>,
    /// Write an UF2 file for a board whose boot ROM takes them (pico2), instead of flashing through a debug probe; to the board's own
    /// drive, or to any file to be copied there
    #[arg(long, value_name = "FILE")]
    uf2: Option<PathBuf>,
    /// Write only the model, to its own region of flash, for firmware that reads it from there; nothing is built
    #[arg(long, conflicts_with_all = ["iterations", "warm_up"])]
    region: bool,
    /// With --region: write the region's bytes to a file too
    #[arg(long, value_name = "FILE", requires = "region")]
    region_file: Option<PathBuf>,
    /// Run the model in this arena, such as 32KB (`least` for the smallest): its schedule is written anew for it, the file stays as it is
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Inferences that the board's bench counts
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=64))]
    iterations: u32,
    /// Inferences before it counts
    #[arg(long, default_value_t = 1)]
    warm_up: u32,
    /// Seconds to wait for the board's report
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = count::<u64>)]
    timeout: u64,
    /// Where the compiler for boards comes from
    #[arg(long, env = "LRPET_TOOLCHAIN", default_value = "auto", value_enum)]
    toolchain: Source,
}

impl Args {
    fn probe<'a>(&'a self, chip: &'a Chip) -> Probe<'a> {
        Probe { chip, selector: self.probe.as_deref() }
    }
}

/// What is said before anything is flashed.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    fit: Fit,
    /// What would help, where the model does not fit.
    advice: Option<Advice>,
    /// The arena of a schedule that would fit, where RAM is missing and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_arena_bytes: Option<usize>,
}

pub fn run(mut args: Args, output: &Output) -> Result<()> {
    let board = Board::named(&args.board)?;
    // As long as it is in use.
    let _rewritten = match args.ram {
        Some(ram) => {
            let (folder, file) = copy_for(&args.model, board.isa, ram)?;
            args.model = file;
            Some(folder)
        }
        None => None,
    };
    let written: Vec<&Path> = args.uf2.iter().chain(&args.region_file).map(PathBuf::as_path).collect();
    outputs::check(&written, &[&args.model])?;
    let file = ModelFile::open(&args.model)?;
    file.model()?;
    check_target(&args, board)?;
    if args.region {
        let chip = board
            .chip()
            .with_context(|| format!("{} is emulated: it has no model region to flash", board.name))?;
        return region(&args, board, chip, &file, output);
    }
    let options = Options {
        warm_up: args.warm_up,
        iterations: args.iterations,
        timeout: Duration::from_secs(args.timeout),
        toolchain: args.toolchain,
    };
    let fit = fit::of(board, &args.model, &options)?;
    let advice = if fit.fits { None } else { Some(advise(&fit, board, &file)?) };
    let schedule_arena_bytes = if fit.fits { None } else { rows(&fit, board, &file)? };
    let document = Document { fit, advice, schedule_arena_bytes };
    if let Some(refusal) = document.refusal() {
        output.print(&document, |document| document.fit.text())?;
        bail!(refusal);
    }
    // Where a report comes back, that is the result, and this only for the eyes.
    match args.port {
        Some(_) => eprint!("{}", document.fit.text()),
        None => output.print(&document, |document| document.fit.text())?,
    }
    let image = document.fit.image.as_deref().context("the build left no image")?;
    let Some(chip) = board.chip().filter(|_| !args.dry_run || args.uf2.is_some()) else { return Ok(()) };
    let write = || {
        if let (Some(file), Some(family)) = (&args.uf2, chip.uf2_family) {
            return write_uf2(file, &flash::uf2_blocks(&elf::segments(image)?, family)?);
        }
        let probe = args.probe(chip);
        probe.download(image)?;
        probe.reset()
    };
    write_and_listen(&args, board, &file, built(&document.fit), write, output)
}

/// The arena of the fastest schedule that fits, where RAM is all that is missing.
fn rows(fit: &Fit, board: &Board, file: &ModelFile) -> Result<Option<usize>> {
    let Some(other) = fit.ram.static_bytes.filter(|_| fit.flash.missing_bytes == 0) else { return Ok(None) };
    let room = fit.ram.available_bytes.saturating_sub(other + fit.ram.stack_bytes);
    let choices = choices(&file.model()?, board.isa, &fit.model.file)?;
    let fitting = choices.iter().filter(|choice| choice.plan.arena_bytes as u64 <= room);
    Ok(fitting.min_by_key(|choice| choice.cost).map(|choice| choice.plan.arena_bytes))
}

/// Refuses early what cannot be flashed in the end.
fn check_target(args: &Args, board: &Board) -> Result<()> {
    let Some(chip) = board.chip() else {
        let (name, model) = (board.name, args.model.display());
        ensure!(args.uf2.is_none(), "{name} is emulated: it takes no UF2 files; leave --uf2 away");
        ensure!(
            args.dry_run,
            "{name} is emulated: --dry-run says what {model} takes there, `lrpet bench --board {name}` runs it"
        );
        return Ok(());
    };
    if args.uf2.is_some() {
        ensure!(
            chip.uf2_family.is_some(),
            "{} takes no UF2 files: leave --uf2 away and connect a debug probe",
            board.name
        );
    } else if !args.dry_run && args.region_file.is_none() {
        flash::ensure_probe()?;
    }
    Ok(())
}

/// Flashes by `write`; with a serial line, shows what the board says then.
fn write_and_listen(
    args: &Args,
    board: &Board,
    file: &ModelFile,
    built: Built,
    write: impl FnOnce() -> Result<()>,
    output: &Output,
) -> Result<()> {
    // Opened first, so that nothing is missed.
    let line = args.port.as_deref().map(Line::open).transpose()?;
    write()?;
    let Some(mut line) = line else {
        if !args.dry_run {
            eprintln!("the report comes on the board's serial line, 115200 8N1: --port shows it");
        }
        return Ok(());
    };
    let limit = Duration::from_secs(args.timeout);
    let report = line.report(limit, &mut |line| tracing::debug!("{line}"))?;
    let run = report::run(board, &args.model, built, report)?;
    let run = measure::with_sha256(run, file.bytes());
    output.print(&run, Run::text)?;
    checked(&run)
}

/// Writes only the model, to its region.
fn region(
    args: &Args,
    board: &'static Board,
    chip: &'static Chip,
    file: &ModelFile,
    output: &Output,
) -> Result<()> {
    let region = Region::new(board, chip, &args.model)?;
    match args.port {
        Some(_) => eprint!("{}", region.text()),
        None => output.print(&region, Region::text)?,
    }
    if let Some(file) = &args.region_file {
        outputs::write(file, &region.bytes)?;
    }
    if args.dry_run && args.uf2.is_none() {
        return Ok(());
    }
    if let (None, Some(file), Err(missing)) = (&args.uf2, &args.region_file, flash::ensure_probe()) {
        ensure!(
            args.port.is_none() && args.probe.is_none(),
            "only {} was written, the board was not: {missing}",
            file.display()
        );
        eprintln!("only {} was written, the board was not: {missing}", file.display());
        return Ok(());
    }
    let write = || {
        if let (Some(file), Some(family)) = (&args.uf2, chip.uf2_family) {
            return write_uf2(file, &region.uf2(family)?);
        }
        let mut bytes = tempfile::NamedTempFile::new().context("cannot make a file for the region")?;
        bytes.write_all(&region.bytes).context("cannot write a file for the region")?;
        let probe = args.probe(chip);
        probe.download_bytes(bytes.path(), region.at)?;
        probe.reset()
    };
    let built = Built { compiler: None, git: None, memory: Memory::default() };
    write_and_listen(args, board, file, built, write, output)
}

fn write_uf2(file: &Path, blocks: &[u8]) -> Result<()> {
    let name = file.display();
    if on_boot_drive(file) {
        // No other name first: the boot ROM takes blocks as they come, and may start the program before a file is renamed.
        std::fs::write(file, blocks).with_context(|| {
            format!("cannot write {name}: it lies on the drive of a boot loader, which may have the file all the same")
        })?;
        eprintln!(
            "wrote {name}, on the drive of the board's boot loader, which starts the program by itself"
        );
        return Ok(());
    }
    outputs::write(file, blocks)?;
    eprintln!("wrote {name}: hold BOOTSEL while plugging the board in, then copy the file to it");
    Ok(())
}

/// Whether a file lies on the drive as which a boot ROM shows itself: the UF2 format wants a file of this name there.
fn on_boot_drive(file: &Path) -> bool {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).join("INFO_UF2.TXT").is_file()
}

/// What the image says of the later run.
fn built(fit: &Fit) -> Built {
    let memory = Memory {
        code_bytes: fit.flash.code_bytes,
        runtime_bytes: fit.flash.runtime_bytes,
        flash_bytes: fit.flash.needed_bytes,
        static_bytes: fit.ram.static_bytes,
        ..Memory::default()
    };
    Built { compiler: fit.compiler.clone(), git: fit.git.clone(), memory }
}

/// Which uniform pruning ratio would fit. Where the linker said nothing of one kind of memory, that kind sufficed: there the model
/// may become no larger.
fn advise(fit: &Fit, board: &Board, file: &ModelFile) -> Result<Advice> {
    let flash = fit.flash.code_bytes.map(|code| fit.flash.available_bytes.saturating_sub(code));
    let ram =
        fit.ram.static_bytes.map(|other| fit.ram.available_bytes.saturating_sub(other + fit.ram.stack_bytes));
    let room = Room {
        file_bytes: flash.unwrap_or(fit.flash.model_bytes),
        arena_bytes: ram.unwrap_or(fit.ram.arena_bytes),
    };
    Ok(advice(&file.model()?, board.isa, room)?)
}

impl Document {
    /// The error where the model does not fit: the bytes that are missing, and what would help.
    fn refusal(&self) -> Option<String> {
        let advice = self.advice.as_ref()?;
        let Fit { flash, ram, board, model, .. } = &self.fit;
        let kinds = [
            ("flash", flash.needed_bytes, flash.available_bytes, flash.missing_bytes),
            ("RAM", ram.needed_bytes, ram.available_bytes, ram.missing_bytes),
        ];
        let missing = kinds.into_iter().filter(|(_, _, _, missing)| *missing > 0);
        let missing: Vec<String> = missing
            .map(|(kind, needed, available, missing)| {
                let needed = needed.unwrap_or(available + missing);
                format!("{kind}: {needed} bytes needed, {available} available, {missing} missing")
            })
            .collect();
        let rows = self.schedule_arena_bytes.map(|arena| {
            format!("rows instead of layers would fit, in an arena of {arena} bytes, with more instructions: --ram {arena}; ")
        });
        let (missing, rows) = (missing.join("; "), rows.unwrap_or_default());
        Some(format!("{} does not fit {board}: {missing}; {rows}{}", model.file, words(advice)))
    }
}

fn words(advice: &Advice) -> String {
    match advice {
        Advice::Fits(AtRatio { prune, file_bytes, arena_bytes }) => format!(
            "ranks of a uniform pruning ratio of {prune} would fit: a model file of {file_bytes} bytes, an arena of \
             {arena_bytes} (`lrpet train --prune {prune}`)"
        ),
        Advice::None(AtRatio { prune, file_bytes, arena_bytes }) => format!(
            "no uniform pruning ratio helps: at {prune} the model file still has {file_bytes} bytes and the arena \
             {arena_bytes}; take a smaller network, smaller images or a larger board"
        ),
        Advice::Unknown(reason) => format!("which ranks would fit is not known: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::{Cli, run};

    const MODEL: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../models/fashion-mnist-resnet8-g0.6.safetensors");

    fn flash(words: &[&str]) -> Result<()> {
        run(Cli::try_parse_from(["lrpet", "flash", MODEL, "--board"].iter().chain(words))?)
    }

    fn refusal(words: &[&str]) -> String {
        format!("{:#}", flash(words).unwrap_err())
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.uf2");
        let uf2 = file.to_str().unwrap();
        for words in [
            &["pico2", "--uf2", uf2, "--probe", "2e8a:000c"][..],
            &["pico2", "--region", "--dry-run", "--iterations", "5"],
            &["pico2", "--region", "--dry-run", "--warm-up", "5"],
        ] {
            assert!(refusal(words).contains("cannot be used with"), "{words:?}: {}", refusal(words));
        }
        let emulated = refusal(&["qemu-mps2-an386", "--dry-run", "--uf2", uf2]);
        assert!(emulated.contains("takes no UF2 files"), "{emulated}");
        assert!(!file.exists());
    }

    /// The boot ROM may be gone with its drive when the last block is there.
    #[test]
    fn a_file_on_the_drive_of_a_boot_loader_is_written_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let words = |file: &Path| flash(&["pico2", "--region", "--uf2", file.to_str().unwrap()]);
        words(&at("plain.uf2")).unwrap();
        std::fs::write(at("INFO_UF2.TXT"), "UF2 Bootloader v1.0\n").unwrap();
        std::fs::write(at("drive.uf2"), "old").unwrap();
        #[cfg(unix)]
        let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(at(name)).unwrap());
        #[cfg(unix)]
        let before = inode("drive.uf2");
        words(&at("drive.uf2")).unwrap();
        #[cfg(unix)]
        assert_eq!(inode("drive.uf2"), before, "another file was renamed to it");
        assert_eq!(std::fs::read(at("drive.uf2")).unwrap(), std::fs::read(at("plain.uf2")).unwrap());
    }
}
