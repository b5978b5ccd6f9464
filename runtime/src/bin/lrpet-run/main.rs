//! Runs a model on this machine: `lrpet-run run | bench | check | info`. Small, for a Raspberry Pi or a server.
//!
//! Standard output has the result, with `--json` as one JSON document. Exit codes: 0, 1 for a failure, 2 for wrong usage.

mod bench;
mod check;
mod gpio;
mod info;
mod input;
mod pin;
mod run;

use std::io::{Error, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand, ValueEnum};
use lrpet_runtime::host::{AlignedBytes, MappedModel};
use lrpet_runtime::kernel::{Arithmetic, Isa, Method};
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::{Choice, Plan, Ram, curve};
use lrpet_runtime::session::Session;

/// Runs low-rank networks of f16 and 8 bits on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Classifies images.
    Run(run::Arguments),
    /// Times the model, whole and layer by layer.
    Bench(bench::Arguments),
    /// Compares this machine's logits with those that the model file carries.
    Check(check::Arguments),
    /// Shows the model's card, its layers and the memory that it needs.
    Info(info::Arguments),
}

/// What every command takes.
#[derive(clap::Args)]
struct Common {
    /// The model file.
    model: PathBuf,
    /// Instruction set; the best of this machine if none is named.
    #[arg(long)]
    isa: Option<IsaName>,
    /// Threads of one inference; the logits do not depend on it.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// What convolutions sum their products in. f16 is faster and less exact, and needs a core with FEAT_FP16 (Cortex-A76).
    #[arg(long, value_enum, default_value_t)]
    arithmetic: ArithmeticName,
    /// Make every product of a convolution, none by Winograd's tiles: slower, but the logits have the bits of the plain code, which
    /// do not depend on what this machine finds fastest.
    #[arg(long)]
    direct: bool,
    /// Run in this arena, such as 32KB (`least` for the smallest, `fastest` for layer by layer), by a schedule that is made for it, and
    /// not by the file's own.
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum IsaName {
    Portable,
    CortexM,
    #[value(name = "cortex-m55")]
    CortexM55,
    #[value(name = "cortex-m55-f16")]
    CortexM55Half,
    Avx2,
    Avx512,
    Neon,
    NeonF16,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum ArithmeticName {
    #[default]
    F32,
    F16,
}

impl Common {
    fn isa(&self) -> Isa {
        match self.isa {
            None => Isa::detect(),
            Some(IsaName::Portable) => Isa::Portable,
            Some(IsaName::CortexM) => Isa::CortexM,
            Some(IsaName::CortexM55) => Isa::CortexM55,
            Some(IsaName::CortexM55Half) => Isa::CortexM55Half,
            Some(IsaName::Avx2) => Isa::Avx2,
            Some(IsaName::Avx512) => Isa::Avx512,
            Some(IsaName::Neon) => Isa::Neon,
            Some(IsaName::NeonF16) => Isa::NeonF16,
        }
    }

    fn map(&self) -> Result<MappedModel> {
        MappedModel::open(&self.model).with_context(|| format!("cannot open {}", self.model.display()))
    }

    /// The schedule that `--ram` asks for.
    fn schedule(&self, map: &MappedModel) -> Result<Option<Vec<u8>>> {
        let Some(ram) = self.ram else { return Ok(None) };
        let model = open(map, &self.model)?;
        let choices = curve(model.program(), self.isa()).map_err(|error| named(&self.model, error))?;
        let chosen = ram.choose(&choices).map_err(|error| named(&self.model, error))?;
        Ok(choices.get(chosen).map(Choice::bytes))
    }

    /// The model, checked, with a schedule in place of its own where there is one.
    fn model<'a>(&self, map: &'a MappedModel, schedule: Option<&'a [u8]>) -> Result<Model<'a>> {
        let model = open(map, &self.model)?;
        let Some(schedule) = schedule else { return Ok(model) };
        model.with_schedule(schedule).map_err(|error| named(&self.model, error))
    }

    fn plan(&self, model: &Model<'_>) -> Result<Plan> {
        Plan::new(model.program(), self.isa()).map_err(|error| named(&self.model, error))
    }

    fn session<'a>(&self, model: &Model<'a>, arena: &'a mut AlignedBytes) -> Result<Session<'a>> {
        let arithmetic = match self.arithmetic {
            ArithmeticName::F32 => Arithmetic::F32,
            ArithmeticName::F16 => Arithmetic::F16,
        };
        let session = Session::with_isa(model, arena.as_mut_slice(), self.isa());
        let method = if self.direct { Method::Direct } else { Method::Fastest };
        let session = session.map(|session| session.with_method(method));
        let session = session.and_then(|session| session.with_arithmetic(arithmetic));
        let session = session.map_err(|error| named(&self.model, error))?;
        let threads = NonZeroUsize::new(self.threads.into()).unwrap_or(NonZeroUsize::MIN);
        session.with_threads(threads).with_context(|| format!("cannot start {threads} threads"))
    }
}

/// Checks a mapped model.
fn open<'a>(map: &'a MappedModel, path: &Path) -> Result<Model<'a>> {
    Model::new_checked(map.bytes()).map_err(|error| named(path, error))
}

/// The runtime's errors borrow from the model; this one names the file and stands alone.
fn named(path: &Path, error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{}: {error}", path.display())
}

fn main() -> ExitCode {
    let out = &mut std::io::stdout().lock();
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments, out),
        Command::Bench(arguments) => bench::run(&arguments, out),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Info(arguments) => info::run(&arguments, out),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as `head` does.
        Err(error)
            if error.downcast_ref().is_some_and(|error: &Error| error.kind() == ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", lrpet_report::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
