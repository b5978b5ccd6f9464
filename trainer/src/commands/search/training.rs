//! The training that follows a search.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use serde_json::Value;

use crate::commands::Cli;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Then train from the checkpoint at the ranks found: folder of the run. Options of `lrpet train` follow behind a --
    #[arg(long, value_name = "DIR")]
    train: Option<PathBuf>,
    /// Options of that training, such as: -- --epochs 12 --lr 0.05 --project-iterations 10
    #[arg(last = true, value_name = "OPTIONS", requires = "train")]
    options: Vec<OsString>,
}

/// Arguments of a training of the network `net` on the images that `data` names (arguments too; empty where no data set is known),
/// from the weights `init` at the ranks of the file `ranks`.
pub(super) fn words(net: &OsStr, data: &[OsString], init: &Path, ranks: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["train".into(), "--net".into(), net.into()];
    words.extend_from_slice(data);
    words.extend(["--ranks".into(), ranks.into(), "--init".into(), init.into()]);
    words
}

/// The command as one types it.
pub(super) fn line(words: &[OsString]) -> String {
    words.iter().fold("lrpet".to_owned(), |line, word| line + " " + &word.to_string_lossy())
}

impl Args {
    /// The training asked for, by `words` and its own options.
    ///
    /// # Errors
    /// Where `lrpet train` would not understand it: before anything is measured.
    pub fn behind(&self, words: &[OsString]) -> Result<Option<Training>> {
        let Some(out) = &self.train else { return Ok(None) };
        let data = words.iter().any(|word| word == "--data");
        ensure!(data, "--train: no data set is known; name it with --data");
        let mut words = words.to_vec();
        words.extend(["--out".into(), out.into()]);
        words.extend_from_slice(&self.options);
        let line = std::iter::once(OsString::from("lrpet")).chain(words.iter().cloned());
        Cli::try_parse_from(line).map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            anyhow!("--train: {reason}; `lrpet train --help` lists its options")
        })?;
        Ok(Some(Training { words }))
    }
}

/// A training as a process of its own: the threads of this one are spoken for.
pub(super) struct Training {
    words: Vec<OsString>,
}

impl Training {
    fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(&self.words).stdin(Stdio::null());
        Ok(command)
    }

    /// Trains, with its progress and result on the terminal.
    pub fn aloud(&self) -> Result<()> {
        let status = self.command()?.status().context("cannot start `lrpet train`")?;
        ensure!(status.success(), "`lrpet train` ended with {status}; the ranks are written");
        Ok(())
    }

    /// Trains and returns the document that the training prints.
    pub fn quietly(&self) -> Result<Value> {
        let child = self.command()?.arg("--json").stderr(Stdio::inherit()).output();
        let output = child.context("cannot start `lrpet train`")?;
        ensure!(output.status.success(), "`lrpet train` ended with {}; the ranks are written", output.status);
        serde_json::from_slice(&output.stdout).context("`lrpet train --json` printed no JSON")
    }
}
