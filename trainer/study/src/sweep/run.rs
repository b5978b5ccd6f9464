//! Training the runs, several at a time, each as a process of its own.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lrpet_train::FINAL;

use super::measure::measure;
use super::progress::View;
use super::{Job, cluster};
use crate::launch::Slurm;
use crate::schema::sweep::Sweep;

/// Time between two looks at a running training.
const LOOK: Duration = Duration::from_millis(250);
/// File in a run's folder that its training holds locked.
const LOCK: &str = ".lock";
/// What the training says, in its run's folder.
pub(super) const LOG: &str = "train.log";
/// Lines of it that an error shows.
const LOG_LINES: usize = 3;

/// How the runs of a sweep are trained and measured.
pub struct Runs {
    /// The program `lrpet`.
    pub program: PathBuf,
    /// Folder of the sweep.
    pub out: PathBuf,
    /// Arguments of `lrpet train` for all runs but `--prune`, `--out`, `--resume` and `--init`.
    pub train: Vec<String>,
    /// The same for the runs that start from another one's weights.
    pub train_warm: Vec<String>,
    /// Where the first runs start, if not afresh.
    pub init: Option<PathBuf>,
    /// Arguments of `lrpet factorize` that name the images.
    pub images: Vec<String>,
    /// Boards on which models are measured as soon as they are there.
    pub boards: Vec<String>,
    /// Runs at a time on this machine.
    pub at_once: usize,
    /// What trains the runs instead of this machine.
    pub slurm: Option<Slurm>,
}

impl Runs {
    /// Folder of a job's run.
    pub fn folder(&self, job: &Job) -> PathBuf {
        self.out.join("runs").join(job.name())
    }

    /// The words that train a job, or go on with that.
    pub(super) fn command(&self, jobs: &[Job], job: &Job) -> Vec<OsString> {
        let arguments = if job.init.is_some() { &self.train_warm } else { &self.train };
        let init = match job.init {
            Some(init) => Some(self.folder(&jobs[init]).join(FINAL)),
            None => self.init.clone(),
        };
        let mut words: Vec<OsString> = vec![self.program.clone().into(), "train".into()];
        words.extend(arguments.iter().map(Into::into));
        words.extend(["--prune".into(), job.prune.to_string().into(), "--resume".into()]);
        words.extend(init.into_iter().flat_map(|init| ["--init".into(), init.into_os_string()]));
        words.extend(["--out".into(), self.folder(job).into_os_string()]);
        words
    }
}

/// Where the jobs are.
pub(super) struct State<'a> {
    sweep: &'a mut Sweep,
    pub(super) stages: Vec<Stage>,
    failures: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Waiting,
    Running,
    /// Trained: others may start from it.
    Trained,
    Failed,
}

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
                scope.spawn(|| work(runs, jobs, &shared, &view));
            }
        });
    }
    let state = shared.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !state.failures.is_empty() {
        bail!("{} of {} runs failed: {}", state.failures.len(), jobs.len(), state.failures.join("; "));
    }
    Ok(())
}

pub(super) fn lock<'a, 'b>(state: &'a Mutex<State<'b>>) -> MutexGuard<'a, State<'b>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does one job after another until none is left.
fn work(runs: &Runs, jobs: &[Job], (state, changed): &(Mutex<State<'_>>, Condvar), view: &View) {
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
