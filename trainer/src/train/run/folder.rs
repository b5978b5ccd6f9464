//! The folder of a run, before anything is trained for it.

use std::path::Path;

use super::checkpoint::{io, last_path};
use super::finish::FINAL;
use crate::report::units;
use crate::train::{Parameters, TrainError};

/// Refuses a folder that holds another run (unless the run goes on: `resume`), or that cannot be written. Makes nothing.
///
/// # Errors
/// [`TrainError::Occupied`], [`TrainError::Io`].
pub fn check_folder(run_dir: &Path, resume: bool) -> Result<(), TrainError> {
    if !resume && (last_path(run_dir).is_some() || run_dir.join(FINAL).exists()) {
        return Err(TrainError::Occupied { path: run_dir.to_owned() });
    }
    let here = run_dir.ancestors().find(|folder| folder.exists() || folder.as_os_str().is_empty());
    let here = here.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Permissions alone do not say it: a file system may be mounted for reading.
    let probe = tempfile::Builder::new().prefix(".lrpet-").tempfile_in(here);
    probe.map(drop).map_err(|error| io(run_dir, error))
}

/// Refuses a folder whose file system has no space for what the run writes there.
///
/// # Errors
/// [`TrainError::Setting`].
pub(super) fn check_space(run_dir: &Path, parameters: &Parameters) -> Result<(), TrainError> {
    let values = |tensor: &candle_core::Var| 4 * tensor.elem_count() as u64;
    let trained: u64 = parameters.trained().values().map(values).sum();
    let statistics: u64 = parameters.statistics().values().map(values).sum();
    // Two checkpoints and a third while it is written, each with velocities; and the final weights.
    let needed = 3 * (2 * trained + statistics) + trained + statistics + (1 << 20);
    match free_space(run_dir) {
        Some(free) if free < needed => Err(TrainError::Setting(format!(
            "{}: the run needs {} for its checkpoints, and {} are free; make space or give another --out",
            run_dir.display(),
            units::bytes(needed as f64),
            units::bytes(free as f64)
        ))),
        _ => Ok(()),
    }
}

/// Bytes that may be written to the file system of `folder`, where the system says it.
fn free_space(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(folder).ok()?;
        // Some file systems of a network or of FUSE say that they have no blocks at all.
        (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}
