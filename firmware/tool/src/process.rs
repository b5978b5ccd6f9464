//! Running other programs: a failure names the command, shows its last lines and says what to do.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Lines of a failed command's output that are shown.
const SHOWN_LINES: usize = 15;

/// The file of `program` in `PATH`, where there is one.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The command as one would type it.
pub fn spell(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Standard output of a short command. `hint` says what to do when it fails.
pub fn capture(command: &mut Command, hint: &str) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`; {hint}", spell(command)))?;
    if !output.status.success() {
        let tail = last_lines(&String::from_utf8_lossy(&output.stderr));
        bail!("`{}` failed ({}); {hint}\n{tail}", spell(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A failed command of [`run_logged`].
#[derive(Debug)]
pub struct Failure {
    /// The command as one would type it.
    command: String,
    /// Everything that it printed, in both streams.
    pub output: String,
    status: String,
    hint: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` failed ({}); {}\n{}", self.command, self.status, self.hint, last_lines(&self.output))
    }
}

impl std::error::Error for Failure {}

/// Runs a long command with a spinner that shows `label` and the time; its output goes to `log` (appended).
/// The error is a [`Failure`] where the command ran and failed.
pub fn run_logged(command: &mut Command, label: &str, log: &Path, hint: &str) -> Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let open = || File::options().create(true).append(true).read(true).open(log);
    let mut file = open().with_context(|| format!("cannot write {}", log.display()))?;
    writeln!(file, "$ {}", spell(command)).with_context(|| format!("cannot write {}", log.display()))?;
    let start = file.metadata()?.len();

    let spinner = spinner(label);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start `{}`; {hint}", spell(command)))?;
    let status = child.wait()?;
    spinner.finish_and_clear();
    if status.success() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut bytes)?;
    Err(Failure {
        command: spell(command),
        output: String::from_utf8_lossy(&bytes).into_owned(),
        status: status.to_string(),
        hint: format!("{hint} (log: {})", log.display()),
    }
    .into())
}

/// A spinner with the time passed; where standard error is no terminal, one line instead.
fn spinner(label: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(label.to_owned());
    if spinner.is_hidden() {
        eprintln!("{label}");
    } else {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(Duration::from_millis(120));
    }
    spinner
}

/// Runs a command and hands each line of its standard output to `line` as it comes; standard error passes through.
/// Ends it after `limit`. Returns whether it exited with status 0.
pub fn run_lines(
    command: &mut Command,
    limit: Duration,
    hint: &str,
    line: &mut dyn FnMut(&str),
) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`; {hint}", spell(command)))?;
    let lines = lines_of(&mut child)?;
    let deadline = Instant::now() + limit;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?.success()),
            Err(RecvTimeoutError::Timeout) => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .context("cannot end a command that takes too long")?;
                bail!("`{}` was ended after {} s; {hint}", spell(command), limit.as_secs());
            }
        }
    }
}

fn lines_of(child: &mut Child) -> Result<Receiver<String>> {
    let output = child.stdout.take().context("standard output is not a pipe")?;
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for bytes in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&bytes).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
