//! Programs that are measured in turns: each works when it is asked to and waits while others do.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

use crate::process;

/// A process that answers each line on its standard input by a line of JSON.
pub struct Side {
    child: Child,
    /// Closed, it ends the process.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    command: String,
}

impl Side {
    /// Starts a process whose libraries use `threads` threads.
    pub fn start(mut command: Command, threads: u32) -> Result<Side> {
        for variable in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, threads.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
        let input = child.stdin.take().context("standard input is not a pipe")?;
        let output = child.stdout.take().context("standard output is not a pipe")?;
        Ok(Side { child, input, output: BufReader::new(output), command: process::spell(&command) })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it work for some seconds; what it says about that.
    pub fn round<T: DeserializeOwned>(&mut self, seconds: f64) -> Result<T> {
        // That the process has ended shows at the next line.
        let _ = writeln!(self.input, "{seconds}").and_then(|()| self.input.flush());
        self.line()
    }

    /// The next line that it prints.
    pub fn line<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("`{}` ended ({}); see above", self.command, self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("`{}` printed {line:?}", self.command))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: the process is at its end or in a round that nobody waits for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The middle value; of an even number of them, the mean of the middle two. 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_answers_in_json_and_its_end_is_an_error() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo '\"hello\"'; read line; echo \"[$line, $OMP_NUM_THREADS]\""]);
        let mut side = Side::start(command, 3).unwrap();
        assert_eq!(side.line::<String>().unwrap(), "hello");
        assert_eq!(side.round::<Vec<f64>>(0.5).unwrap(), [0.5, 3.0]);
        let error = side.round::<Vec<f64>>(1.0).unwrap_err().to_string();
        assert!(error.contains("ended"), "{error}");
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
