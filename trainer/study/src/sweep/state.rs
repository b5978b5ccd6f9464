//! How far the runs of a sweep are, for whoever trains them.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

use super::measure::measure;
use super::progress::View;
use super::{Job, Runs};
use crate::schema::sweep::Sweep;

/// File in a run's folder that its training holds locked.
const LOCK: &str = ".lock";
/// What the training says, in its run's folder.
pub(super) const LOG: &str = "train.log";

/// Where the jobs are.
pub(super) struct State<'a> {
    pub(super) sweep: &'a mut Sweep,
    pub(super) stages: Vec<Stage>,
    pub(super) failures: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Running,
    /// Trained: others may start from it.
    Trained,
    Failed,
}

pub(super) fn lock<'a, 'b>(state: &'a Mutex<State<'b>>) -> MutexGuard<'a, State<'b>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a failure, and that what starts from this run cannot start.
pub(super) fn fail(state: &mut State<'_>, jobs: &[Job], at: usize, error: String, view: &View) {
    view.done(&jobs[at].name(), &format!("failed: {error}"));
    let trained = state.stages[at] == Stage::Trained;
    state.failures.push(error);
    if trained {
        return;
    }
    state.stages[at] = Stage::Failed;
    let children: Vec<usize> = (0..jobs.len())
        .filter(|&child| jobs[child].init == Some(at) && state.stages[child] == Stage::Waiting)
        .collect();
    for child in children {
        let error = format!("{} starts from {}, which failed", jobs[child].name(), jobs[at].name());
        fail(state, jobs, child, error, view);
    }
}

/// Measures a trained run and writes its row.
pub(super) fn finish(
    runs: &Runs,
    jobs: &[Job],
    job: &Job,
    state: &Mutex<State<'_>>,
    view: &View,
) -> Result<()> {
    let known = lock(state).sweep.rows.iter().find(|row| row.run == job.name()).cloned();
    let init = job.init.map(|init| jobs[init].name());
    let earlier = match &init {
        Some(init) => epochs_in_all(&lock(state), jobs, runs, init),
        None => 0,
    };
    let say = |what: &str| view.stage(&job.name(), what);
    let row = measure(runs, job, init, earlier, known.as_ref(), &say)?;
    let accuracy = row.accuracy().map_or(String::new(), |accuracy| format!("{:.2} %, ", 100.0 * accuracy));
    let text = format!("{accuracy}{} bytes", row.file_bytes);
    let mut held = lock(state);
    held.sweep.insert(row);
    held.sweep.write(&runs.out)?;
    drop(held);
    view.done(&job.name(), &text);
    Ok(())
}

/// Epochs of the run `name` and of those that it started from.
fn epochs_in_all(state: &State<'_>, jobs: &[Job], runs: &Runs, name: &str) -> u64 {
    if let Some(row) = state.sweep.rows.iter().find(|row| row.run == name) {
        return row.epochs_in_all;
    }
    let Some(job) = jobs.iter().find(|job| job.name() == name) else { return 0 };
    let own = super::progress::history(&runs.folder(job)).len() as u64;
    own + job.init.map_or(0, |init| epochs_in_all(state, jobs, runs, &jobs[init].name()))
}

/// The lock of a run's folder; waits while another process trains there.
pub(super) fn claim(folder: &Path, name: &str, view: &View) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        view.stage(name, "another process trains it: waiting for that");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
