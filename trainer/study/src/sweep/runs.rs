//! How the runs of a sweep are trained and measured.

use std::ffi::OsString;
use std::path::PathBuf;

use lrpet_runtime::plan::Ram;
use lrpet_train::FINAL;

use super::Job;
use crate::launch::Slurm;

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
    /// The memory that the models' schedules suit; none for layer by layer.
    pub ram: Option<Ram>,
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
