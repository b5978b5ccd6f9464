//! A sweep from its plan to its last row.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, bail};

use super::progress::View;
use super::state::{Stage, State};
use super::{Job, Runs, cluster, local};
use crate::schema::sweep::Sweep;

/// Trains what is not trained, measures what is not measured, and writes the sweep after each run. A run that fails does not
/// stop the others, but for those that start from it.
///
/// # Errors
/// Names all runs that failed, at the end.
pub fn run(runs: &Runs, jobs: &[Job], sweep: &mut Sweep) -> Result<()> {
    let view = View::new();
    let state = State { sweep, stages: vec![Stage::Waiting; jobs.len()], failures: Vec::new() };
    let shared = (Mutex::new(state), Condvar::new());
    if let Some(slurm) = &runs.slurm {
        cluster::work(runs, jobs, slurm, &shared.0, &view)?;
    } else {
        thread::scope(|scope| {
            for _ in 0..runs.at_once.clamp(1, jobs.len()) {
                scope.spawn(|| local::work(runs, jobs, &shared, &view));
            }
        });
    }
    let state = shared.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !state.failures.is_empty() {
        bail!("{} of {} runs failed: {}", state.failures.len(), jobs.len(), state.failures.join("; "));
    }
    Ok(())
}
