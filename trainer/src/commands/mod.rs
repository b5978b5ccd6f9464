//! One file for each subcommand of `lrpet`.

mod bar;
mod bench;
mod calibration;
mod checkpoint;
mod data;
mod data_args;
mod device;
#[cfg(test)]
mod documented;
mod epsilon;
mod eval;
mod export;
mod factorize;
mod flash;
mod folder_args;
mod images;
mod inspect;
mod model_file;
mod network;
mod new;
mod numbers;
mod outputs;
mod processes;
mod ram;
mod ranks;
mod report;
mod run;
mod schedule;
mod search;
mod sweep;
mod test_images;
mod train;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use lrpet_report::visible_lines;
use serde::Serialize;

/// Trains low-rank convolutional networks and prepares them for small hardware.
#[derive(Parser)]
#[command(name = "lrpet", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// The command line `words`, in which a negative number is the value of the option before it, so that it is told what is wrong with
    /// it.
    ///
    /// # Errors
    /// What clap says of it.
    pub fn parsed(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
        let matches = negative_numbers(Cli::command()).try_get_matches_from(words)?;
        let cli = Cli::from_arg_matches(&matches)?;
        let ranks = match &cli.command {
            Command::Train(args) => Some(&args.ranks),
            Command::Factorize(args) => Some(&args.ranks),
            _ => None,
        };
        let conflict = |message| Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message);
        ranks.map_or(Ok(()), |ranks| ranks.check()).map_err(conflict)?;
        Ok(cli)
    }
}

/// `command` with options that take negative numbers, and so its subcommands.
fn negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let takes = argument.get_long().is_some() && argument.get_action().takes_values();
        if takes { argument.allow_negative_numbers(true) } else { argument }
    });
    command.mut_subcommands(negative_numbers)
}

#[derive(Subcommand)]
enum Command {
    /// List, get and describe data sets.
    Data(data::Args),
    /// List, show, check and draw networks: those known by name, and files of your own.
    Network(network::Args),
    /// Train a network, dense or with low-rank projection.
    Train(Box<train::Args>),
    /// Make a model file of a trained checkpoint: merge batch normalisation, factor layers, round to f16 or to 8 bits.
    Factorize(factorize::Args),
    /// Write a model file in another format.
    Export(export::Args),
    /// Show what a model costs, layer by layer, beside the dense network.
    Inspect(inspect::Args),
    /// Show how little memory a model can run in, and what that costs; write the model with such a schedule.
    Schedule(schedule::Args),
    /// Measure accuracy on the whole test set.
    Eval(eval::Args),
    /// Run a model on a picture or on a file of values.
    Run(run::Args),
    /// Measure a model on this machine, on an emulated board or on a real one.
    Bench(bench::Args),
    /// Train one network for each of several pruning ratios, and measure them all.
    Sweep(Box<sweep::Args>),
    /// Find the ranks that are worth most within what a board has.
    Search(search::Args),
    /// Say whether a model fits a board, flash it and show what the board measures.
    ///
    /// No board was attached where this was written: probe-rs, boot ROMs and serial lines of real boards were never tried. What they get
    /// is checked: the image, the UF2 blocks, the bytes of a model region, the lines of a report.
    Flash(flash::Args),
    /// Write a program of your own for a board, with a model built in: classifies what comes over a serial line, or from a camera.
    New(new::Args),
    /// Make a page of measured results.
    Report(report::Args),
}

/// Runs the command that the user asked for.
pub fn run(cli: Cli) -> Result<()> {
    let output = Output { json: cli.json };
    match cli.command {
        Command::Data(args) => data::run(args, &output),
        Command::Network(args) => network::run(args, &output),
        Command::Train(args) => train::run(*args, &output),
        Command::Factorize(args) => factorize::run(args, &output),
        Command::Export(args) => export::run(args, &output),
        Command::Inspect(args) => inspect::run(args, &output),
        Command::Schedule(args) => schedule::run(args, &output),
        Command::Eval(args) => eval::run(args, &output),
        Command::Run(args) => run::run(args, &output),
        Command::Bench(args) => bench::run(args, &output),
        Command::Sweep(args) => sweep::run(*args, &output),
        Command::Search(args) => search::run(args, &output),
        Command::Flash(args) => flash::run(args, &output),
        Command::New(args) => new::run(args, &output),
        Command::Report(args) => report::run(args, &output),
    }
}

/// This command as one would type it, for model cards and checkpoints: the program by its name, not its folder.
fn command_line() -> String {
    line(&std::env::args().skip(1).collect::<Vec<_>>())
}

/// The command as one types it into a shell.
fn line(words: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "-_=+./,:@%".contains(c))
    };
    let quoted = |word: &String| match plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    std::iter::once("lrpet".to_owned()).chain(words.iter().map(quoted)).collect::<Vec<_>>().join(" ")
}

/// Where a command's result goes: one JSON document or text, on standard output.
pub struct Output {
    json: bool,
}

impl Output {
    /// Prints `value` as JSON, or else what `text` makes of it.
    ///
    /// # Errors
    /// Where standard output cannot be written; a closed pipe is no error.
    pub fn print<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let mut line =
            if self.json { serde_json::to_string_pretty(value)? } else { visible_lines(&text(value)) };
        if !line.ends_with('\n') {
            line.push('\n');
        }
        match std::io::stdout().lock().write_all(line.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
