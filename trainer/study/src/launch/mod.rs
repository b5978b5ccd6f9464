//! Runs handed to Slurm as a job array, followed until each has left its result.
//!
//! What counts is the file that a finished run leaves: a task that ends without it, because it failed, ran out of time or lost
//! its node, is submitted again and goes on from its last checkpoint. Slurm's accounting is not needed. Jobs outlive the program that
//! submitted them; started again, it follows those that are still there.

mod array;
mod queue;
mod script;
mod slurm;

use std::path::PathBuf;

pub use slurm::Slurm;

/// One command, to be run until it has left its result.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name: unique in its folder of submissions, and the same when the program is started again.
    pub name: String,
    /// Program and arguments. Run again, it must go on where it was.
    pub command: Vec<String>,
    /// File to which its output is added.
    pub log: PathBuf,
    /// File that it leaves when it is done.
    pub done: PathBuf,
    /// File that grows as it gets on.
    pub progress: PathBuf,
}

/// What has become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Submitted in this job of Slurm.
    Submitted(String),
    /// Waits; Slurm's reason.
    Waiting(String),
    /// Runs; said at every look.
    Running,
    /// Ended in this state of Slurm without its result: it is submitted again.
    Again(String),
    /// Its result is there.
    Done,
    /// Given up; why.
    Failed(String),
}

/// Why tasks can no longer be handed over or followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A program of Slurm is not there.
    #[error(
        "cannot start {program}: {source}; is Slurm installed on this machine? Else use --launcher local"
    )]
    NoProgram {
        /// The program.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Slurm refuses.
    #[error("{program} refuses: {reason}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it says.
        reason: String,
    },
    /// Slurm does not answer any more.
    #[error(
        "Slurm has not answered for {seconds} s: {reason}; jobs that it has go on: run the same command again to follow them"
    )]
    Lost {
        /// For how long.
        seconds: u64,
        /// What `squeue` said last.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
