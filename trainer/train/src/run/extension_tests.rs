//! Runs that are made longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::tests::{Killer, result, start};
use super::*;
use crate::small::config;
use crate::{Decay, Schedule};

/// The command that makes a run of `epochs` epochs `to` epochs long.
fn longer(folder: &Path, epochs: usize, to: usize) -> TrainConfig {
    let mut config = config(folder, epochs);
    config.resume = true;
    config.extend = Some(Length { epochs: to, schedule: config.settings.schedule.clone() });
    config
}

#[test]
fn a_longer_run_goes_on_with_the_rates_of_its_new_length_and_resumes_to_the_same_bits() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let short = start(&config(whole.path(), 2), &mut Silent).unwrap();
    let first = std::fs::read(&short.weights).unwrap();
    let outcome = start(&longer(whole.path(), 2, 5), &mut Silent).unwrap();
    assert_eq!(outcome.history.len(), 5);
    // Five batches an epoch; the record holds the rate of the last.
    let schedule = Schedule { rate: 0.05, warm_up: 0.5, decay: Decay::Cosine };
    for (epoch, record) in outcome.history.iter().enumerate() {
        let epochs = if epoch < 2 { 2 } else { 5 };
        let rate = schedule.rate(epoch as f64 + 0.8, epochs);
        assert!((record.rate - rate).abs() < 1e-12 && record.epochs == epochs, "{record:?}, {rate}");
    }
    assert!(outcome.history[2].rate > 3.0 * outcome.history[1].rate);
    assert_eq!(std::fs::read(whole.path().join("final-2-epochs.safetensors")).unwrap(), first);
    assert_eq!(lrpet_network::Checkpoint::read(&outcome.weights).unwrap().metadata["epochs"], "5");
    let expected = result(whole.path());

    start(&config(killed.path(), 2), &mut Silent).unwrap();
    for epoch in [3, 5] {
        let config = longer(killed.path(), 2, 5);
        assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch }))).is_err());
        assert!(!killed.path().join(FINAL).exists());
    }
    start(&longer(killed.path(), 2, 5), &mut Silent).unwrap();
    assert!(result(killed.path()) == expected);
    // Given again, it is done; and it can be made longer again.
    start(&longer(killed.path(), 2, 5), &mut Silent).unwrap();
    assert!(result(killed.path()) == expected);
    assert_eq!(start(&longer(killed.path(), 2, 6), &mut Silent).unwrap().history.len(), 6);
    assert!(killed.path().join("final-5-epochs.safetensors").is_file());
}

#[test]
fn a_run_in_the_middle_can_be_made_longer() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 3);
    assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 2 }))).is_err());
    let outcome = start(&longer(folder.path(), 3, 4), &mut Silent).unwrap();
    assert_eq!(outcome.history.iter().map(|record| record.epochs).collect::<Vec<_>>(), [3, 4, 4, 4]);
}

#[test]
fn what_cannot_be_made_longer_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let error = |config: &TrainConfig| start(config, &mut Silent).unwrap_err().to_string();
    let nothing = error(&longer(folder.path(), 2, 5));
    assert!(nothing.contains("no checkpoint to go on from"), "{nothing}");
    let fresh = folder.path().join("fresh");
    error(&longer(&fresh, 2, 5));
    assert!(!fresh.exists(), "a refused run leaves no folder");
    start(&config(folder.path(), 2), &mut Silent).unwrap();
    let mut other = longer(folder.path(), 2, 5);
    other.settings.momentum = 0.5;
    assert!(error(&other).contains("momentum"));
    start(&longer(folder.path(), 2, 4), &mut Silent).unwrap();
    let before = result(folder.path());
    let shorter = error(&longer(folder.path(), 2, 3));
    assert!(shorter.contains("has 4 epochs") && shorter.contains("only be made longer"), "{shorter}");
    let mut without = config(folder.path(), 2);
    without.resume = true;
    let without = error(&without);
    assert!(without.contains("give --extend 4"), "{without}");
    let more = error(&{
        let mut config = config(folder.path(), 6);
        config.resume = true;
        config
    });
    assert!(more.contains("made with epochs 2, this command says 6"), "{more}");
    assert!(result(folder.path()) == before);
}

#[test]
fn a_folder_that_cannot_take_the_run_is_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for wrong in [file.clone(), file.join("below")] {
        let error = check_folder(&wrong, false).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
    let fresh = folder.path().join("a/b/c");
    check_folder(&fresh, false).unwrap();
    check_folder(Path::new("not-here"), false).unwrap();
    assert!(!folder.path().join("a").exists());
    // Read-only for all but root, who may write anywhere but here.
    if Path::new("/proc/self").is_dir() {
        assert!(matches!(check_folder(Path::new("/proc/self/run"), false), Err(TrainError::Io { .. })));
    }
    for name in [LAST, BEFORE, FINAL] {
        let occupied = folder.path().join(name).join("run");
        std::fs::create_dir_all(&occupied).unwrap();
        std::fs::write(occupied.join(name), "").unwrap();
        let error = check_folder(&occupied, false).unwrap_err().to_string();
        assert!(error.contains("--resume") && error.contains("--out"), "{error}");
        check_folder(&occupied, true).unwrap();
    }
}
