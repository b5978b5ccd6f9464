//! Processes: waiting for something with an end, finding those that were started by others.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Waits until `done` gives something.
///
/// # Errors
/// Where it gives nothing within `limit`; `what` says what is missing.
pub fn wait<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = done() {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("no {what} in {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers of the processes whose program is called `program` and of which a word of the command line is `word`.
pub fn with_word(program: &str, word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let matches = |process: &u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        let first = words.next().unwrap_or_default().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        first == program.as_bytes() && words.any(|of| of == word.as_bytes())
    };
    entries.filter_map(number).filter(matches).collect()
}

/// Kills a process (SIGKILL).
///
/// # Errors
/// Where there is no `kill`.
pub fn kill(process: u32) -> Result<()> {
    Command::new("kill").args(["-9", &process.to_string()]).status()?;
    Ok(())
}
