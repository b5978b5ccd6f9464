//! One file for each subcommand of `lrpet`.

mod data;

use std::io::Write;

use anyhow::Result;
use clap::{Parser, Subcommand};
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

#[derive(Subcommand)]
enum Command {
    /// List, get and describe data sets.
    Data(data::Args),
}

/// Runs the command that the user asked for.
pub fn run(cli: Cli) -> Result<()> {
    let output = Output { json: cli.json };
    match cli.command {
        Command::Data(args) => data::run(args, &output),
    }
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
        let mut line = if self.json { serde_json::to_string_pretty(value)? } else { text(value) };
        if !line.ends_with('\n') {
            line.push('\n');
        }
        match std::io::stdout().lock().write_all(line.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}
