//! Submitting tasks as job arrays, and remembering them for a program that is started again.

use std::path::{Path, PathBuf};
use std::process::Command;

use lrpet_network::atomic;
use serde::{Deserialize, Serialize};

use super::queue::output;
use super::script::script;
use super::{LaunchError, Task};

/// A submitted array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Array {
    /// Slurm's number of the job.
    pub job: String,
    /// Name of each task, by its index.
    pub tasks: Vec<String>,
}

/// How arrays are submitted.
pub(super) struct Submission<'a> {
    pub folder: &'a Path,
    pub options: &'a [String],
    pub at_once: Option<usize>,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> LaunchError {
    move |source| LaunchError::Io { path: path.to_owned(), source }
}

impl Submission<'_> {
    /// Hands `tasks` to Slurm as one array.
    pub(super) fn submit(&self, tasks: &[&Task]) -> Result<Array, LaunchError> {
        std::fs::create_dir_all(self.folder).map_err(io(self.folder))?;
        let file = self.folder.join("array.sh");
        std::fs::write(&file, script(tasks)).map_err(io(&file))?;
        let at_once = self.at_once.map_or(String::new(), |count| format!("%{}", count.max(1)));
        let mut command = Command::new("sbatch");
        command
            .args(["--parsable", "--requeue", "--open-mode=append", "--job-name=lrpet"])
            .arg(format!("--array=0-{}{at_once}", tasks.len() - 1))
            .arg(format!("--output={}", self.folder.join("%A_%a.out").display()))
            .args(self.options)
            .arg(&file);
        let said = output("sbatch", &mut command)?;
        // NUMBER, or NUMBER;CLUSTER; warnings may come before.
        let last = said.lines().next_back().unwrap_or_default();
        let job = last.split(';').next().unwrap_or_default().trim().to_owned();
        if job.is_empty() || !job.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(LaunchError::Refused {
                program: "sbatch",
                reason: format!("no number of a job in `{said}`"),
            });
        }
        Ok(Array { job, tasks: tasks.iter().map(|task| task.name.clone()).collect() })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("arrays.json")
    }

    /// The arrays that were remembered last; none where nothing sound is there.
    pub(super) fn remembered(&self) -> Vec<Array> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Remembers `arrays` alone.
    pub(super) fn remember(&self, arrays: &[Array]) -> Result<(), LaunchError> {
        let path = self.file();
        let text = serde_json::to_string_pretty(arrays).map_err(|error| io(&path)(error.into()))?;
        atomic::write(&path, text.as_bytes()).map_err(io(&path))
    }
}
