//! Training the runs on this machine, each as a process of its own.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lrpet_train::FINAL;

use super::progress::View;
use super::state::{LOG, Stage, State, claim, fail, finish, lock};
use super::{Job, Runs};

/// Time between two looks at a running training.
const LOOK: Duration = Duration::from_millis(250);
/// Lines of its log that an error shows.
const LOG_LINES: usize = 3;

/// Does one job after another until none is left.
pub(super) fn work(runs: &Runs, jobs: &[Job], (state, changed): &(Mutex<State<'_>>, Condvar), view: &View) {
    loop {
        let mut held = lock(state);
        let next = loop {
            let ready =
                |stages: &[Stage], job: &Job| job.init.is_none_or(|init| stages[init] == Stage::Trained);
            let waiting = |stage: &Stage| *stage == Stage::Waiting;
            let stages = &held.stages;
            let next = (0..jobs.len()).find(|&at| waiting(&stages[at]) && ready(stages, &jobs[at]));
            match next {
                Some(next) => break next,
                None if !stages.iter().any(waiting) => return,
                None => held = changed.wait(held).unwrap_or_else(PoisonError::into_inner),
            }
        };
        held.stages[next] = Stage::Running;
        drop(held);
        let job = &jobs[next];
        let done = train(runs, jobs, job, view).and_then(|()| {
            lock(state).stages[next] = Stage::Trained;
            changed.notify_all();
            finish(runs, jobs, job, state, view)
        });
        if let Err(error) = done {
            let mut held = lock(state);
            fail(
                &mut held,
                jobs,
                next,
                format!("{}: {}", job.name(), lrpet_report::chain(error.as_ref())),
                view,
            );
        }
        changed.notify_all();
    }
}

/// Trains a run that has no final weights yet, from its last checkpoint where it has one.
fn train(runs: &Runs, jobs: &[Job], job: &Job, view: &View) -> Result<()> {
    let (name, folder) = (job.name(), runs.folder(job));
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = claim(&folder, &name, view)?;
    if folder.join(FINAL).is_file() {
        return Ok(());
    }
    let log = folder.join(LOG);
    let open = || File::options().create(true).append(true).open(&log);
    let output = open().with_context(|| format!("cannot write {}", log.display()))?;
    let words = runs.command(jobs, job);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    // The lock is the child's standard input, which it does not read: so it lasts as long as the child does, even if this
    // process is killed.
    command.stdin(lock).stdout(output.try_clone()?).stderr(Stdio::from(output));
    let mut child = command.spawn().with_context(|| format!("cannot start {}", runs.program.display()))?;
    view.stage(&name, "training");
    let status = loop {
        view.look(&name, &folder);
        match child.try_wait().context("cannot wait for the training")? {
            Some(status) => break status,
            None => thread::sleep(LOOK),
        }
    };
    view.look(&name, &folder);
    if status.success() {
        return Ok(());
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    bail!("`lrpet train` ended with {status}; {} ends: {}", log.display(), last.join(" / "))
}
