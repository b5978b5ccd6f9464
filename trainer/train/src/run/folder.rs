//! The folder of a run, before anything is trained for it.

use std::path::Path;

use lrpet_report::units;

use super::checkpoint::{io, last_path};
use super::finish::FINAL;
use crate::{Parameters, TrainError};

/// Refuses a folder that holds another run (unless the run goes on: `resume`), or that cannot be written. Makes nothing.
///
/// # Errors
/// [`TrainError::Occupied`], [`TrainError::Io`].
pub fn check_folder(run_dir: &Path, resume: bool) -> Result<(), TrainError> {
    if !resume && (last_path(run_dir).is_some() || run_dir.join(FINAL).exists()) {
        return Err(TrainError::Occupied { path: run_dir.to_owned() });
    }
    // Permissions alone do not say it: a file system may be mounted for reading.
    let probe = tempfile::Builder::new().prefix(".lrpet-").tempfile_in(existing(run_dir));
    probe.map(drop).map_err(|error| io(run_dir, error))
}

/// The folder itself, or the first above it that is there.
fn existing(folder: &Path) -> &Path {
    let here = folder.ancestors().find(|folder| folder.exists() || folder.as_os_str().is_empty());
    here.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
    enough(run_dir, needed, free_space(existing(run_dir)))
}

/// Refuses a run in `run_dir` that writes `needed` bytes where fewer are `free`, as far as that is known.
fn enough(run_dir: &Path, needed: u64, free: Option<u64>) -> Result<(), TrainError> {
    match free {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use lrpet_network::network::Network;
    use lrpet_runtime::model::Shape;

    use super::*;
    use crate::Trainable;

    #[test]
    fn a_run_needs_space_for_three_checkpoints_and_its_weights() {
        let run = Path::new("runs/new");
        enough(run, 100, Some(100)).unwrap();
        enough(run, 100, None).unwrap();
        let error = enough(run, 3 << 20, Some(2048)).unwrap_err().to_string();
        assert_eq!(
            error,
            "runs/new: the run needs 3.00 MB for its checkpoints, and 2.00 KB are free; make space or give another --out"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_file_system_of_a_folder_to_be_made_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let free = free_space(existing(&folder.path().join("a/b")));
        // Others write there meanwhile; that it is the same file system is what matters.
        let (free, own) = (free.unwrap() as f64, free_space(folder.path()).unwrap() as f64);
        assert!((free - own).abs() < 0.1 * own.max(free), "{free} {own}");
        let network = Network::by_name("resnet8", Shape::new(3, 32, 32), 10).unwrap();
        let model = Trainable::new(&network, 1, &Device::Cpu).unwrap();
        check_space(&folder.path().join("a/b"), model.parameters()).unwrap();
        assert!(!folder.path().join("a").exists());
        // A file system that is full whoever asks.
        if Path::new("/sys/kernel").is_dir() && free_space(Path::new("/sys")).is_some_and(|free| free == 0) {
            let error = check_space(Path::new("/sys/run"), model.parameters()).unwrap_err().to_string();
            assert!(error.contains("0 B are free"), "{error}");
        }
    }
}
