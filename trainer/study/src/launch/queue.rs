//! What Slurm says of a job array.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use super::LaunchError;

/// The state of one task of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Slurm's name, as `PENDING` or `TIMEOUT`.
    pub name: String,
    /// Slurm's reason, `None` where it has none.
    pub reason: String,
}

/// States after which a task does not go on; `man squeue`, "JOB STATE CODES".
const ENDED: [&str; 11] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "SPECIAL_EXIT",
    "TIMEOUT",
];

impl State {
    pub(super) fn ended(&self) -> bool {
        ENDED.contains(&self.name.as_str())
    }
}

/// The tasks of `job` by their index, those that ended a few minutes ago too; empty where Slurm knows the job no more.
///
/// # Errors
/// Where Slurm does not answer.
pub(super) fn tasks(job: &str) -> Result<BTreeMap<usize, State>, LaunchError> {
    let mut command = Command::new("squeue");
    command.args(["--noheader", "--array", "--states=all", "--format=%K|%T|%r", "--jobs", job]);
    match output("squeue", &mut command) {
        Ok(text) => Ok(parse(&text)),
        Err(LaunchError::Refused { reason, .. }) if reason.contains("Invalid job id") => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> BTreeMap<usize, State> {
    let line = |line: &str| {
        let mut fields = line.trim().splitn(3, '|');
        let index = fields.next()?.parse().ok()?;
        let name = fields.next()?.to_owned();
        Some((index, State { name, reason: fields.next().unwrap_or("None").to_owned() }))
    };
    text.lines().filter_map(line).collect()
}

/// Standard output of a program of Slurm.
pub(super) fn output(program: &'static str, command: &mut Command) -> Result<String, LaunchError> {
    let done = command.output().map_err(|source| LaunchError::NoProgram { program, source })?;
    let Output { status, stdout, stderr } = done;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if status.success() {
        return Ok(text(&stdout));
    }
    let reason = match text(&stderr) {
        said if said.is_empty() => status.to_string(),
        said => said.replace('\n', "; "),
    };
    Err(LaunchError::Refused { program, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_read_by_their_index() {
        let found = parse("2|PENDING|BeginTime\n0|RUNNING|None\n 1|TIMEOUT|None\nN/A|RUNNING|None\n\n");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(found[&2], State { name: "PENDING".to_owned(), reason: "BeginTime".to_owned() });
        assert_eq!(found.values().map(State::ended).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn a_program_that_is_not_there_is_a_clear_error() {
        let error = output("squeue", &mut Command::new("no-such-squeue")).unwrap_err().to_string();
        assert!(error.contains("is Slurm installed"), "{error}");
        let error = output("squeue", Command::new("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "squeue refuses: no");
    }
}
