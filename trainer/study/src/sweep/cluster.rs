//! Training the runs in Slurm.

use std::sync::Mutex;

use anyhow::{Context, Result};
use lrpet_train::{FINAL, METRICS};

use super::progress::View;
use super::state::{LOG, Stage, State, claim, fail, finish, lock};
use super::{Job, Runs};
use crate::launch::{News, Slurm, Task};

/// Trains the runs as job arrays: one of all that can start, then one of those that start from these, and so on. Each is
/// measured here as soon as it is trained.
pub(super) fn work(
    runs: &Runs,
    jobs: &[Job],
    slurm: &Slurm,
    state: &Mutex<State<'_>>,
    view: &View,
) -> Result<()> {
    loop {
        let mut held = lock(state);
        let stages = &held.stages;
        let can_start = |at: &usize| {
            let trained = |init: usize| stages[init] == Stage::Trained;
            stages[*at] == Stage::Waiting && jobs[*at].init.is_none_or(trained)
        };
        let ready: Vec<usize> = (0..jobs.len()).filter(can_start).collect();
        if ready.is_empty() {
            return Ok(());
        }
        ready.iter().for_each(|&at| held.stages[at] = Stage::Running);
        drop(held);
        let tasks: Vec<Task> = ready.iter().map(|&at| task(runs, jobs, &jobs[at])).collect::<Result<_>>()?;
        let mut locks = Vec::new();
        for &at in &ready {
            let (name, folder) = (jobs[at].name(), runs.folder(&jobs[at]));
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
            locks.push(claim(&folder, &name, view)?);
        }
        slurm.run(&tasks, &mut |index, news| {
            let (at, name) = (ready[index], &tasks[index].name);
            match news {
                News::Submitted(job) => view.stage(name, &format!("submitted as {job}_{index}")),
                News::Waiting(reason) => view.stage(name, &format!("waits in Slurm: {reason}")),
                News::Running => view.look(name, &runs.folder(&jobs[at])),
                News::Again(state) => view.stage(name, &format!("ended as {state}: submitted again")),
                News::Failed(why) => fail(&mut lock(state), jobs, at, format!("{name}: {why}"), view),
                News::Done => {
                    view.look(name, &runs.folder(&jobs[at]));
                    lock(state).stages[at] = Stage::Trained;
                    if let Err(error) = finish(runs, jobs, &jobs[at], state, view) {
                        fail(
                            &mut lock(state),
                            jobs,
                            at,
                            format!("{name}: {}", lrpet_report::chain(error.as_ref())),
                            view,
                        );
                    }
                }
            }
        })?;
    }
}

fn task(runs: &Runs, jobs: &[Job], job: &Job) -> Result<Task> {
    let folder = runs.folder(job);
    let text = |word: std::ffi::OsString| {
        let path = std::path::PathBuf::from(&word);
        word.into_string().ok().with_context(|| format!("{} is no UTF-8 text", path.display()))
    };
    Ok(Task {
        name: job.name(),
        command: runs.command(jobs, job).into_iter().map(text).collect::<Result<_>>()?,
        log: folder.join(LOG),
        done: folder.join(FINAL),
        progress: folder.join(METRICS),
    })
}
