//! A training that is killed goes on to the same weights, bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lrpet_tests::events::{self, Curves};
use lrpet_tests::programs::{json, program, refused, root};

const EPOCHS: &str = "4";

fn arguments(out: &Path) -> Vec<String> {
    let words = "train --net resnet8 --data fashion-mnist --prune 0.6 --project-iterations 4 --limit 1280 --validation 200";
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    words.extend(["--epochs", EPOCHS, "--resume", "--out", out.to_str().unwrap()].map(str::to_owned));
    words
}

fn train(out: &Path) {
    let words = arguments(out);
    json("lrpet", &words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
}

/// Bytes of every tensor of the final weights.
fn weights(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = std::fs::read(out.join("final.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, tensor)| (name.to_owned(), tensor.data().to_vec())).collect()
}

/// Starts a training and kills it (SIGKILL) once `epochs` epochs are on the disk; it is in the next one then.
fn kill_after(out: &Path, epochs: usize) {
    let mut training: Child = Command::new(program("lrpet"))
        .args(arguments(out))
        .current_dir(root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let done = || std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default().lines().count();
    while done() < epochs {
        assert!(start.elapsed() < Duration::from_secs(300), "no epoch in five minutes");
        assert!(training.try_wait().unwrap().is_none(), "the training ended before it was killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    training.kill().unwrap();
    training.wait().unwrap();
    assert!(!out.join("final.safetensors").exists(), "the training ended before it was killed");
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    train(&whole);
    kill_after(&killed, 1);
    kill_after(&killed, 2);
    // The newest checkpoint is damaged on top: the one before it serves.
    let newest = killed.join("checkpoint.safetensors");
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    train(&killed);
    assert!(weights(&whole) == weights(&killed), "the resumed run has other weights");
    assert_eq!(curves(&killed), curves(&whole));
}

#[test]
fn a_run_that_shall_be_longer_is_told_how_and_its_folder_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let base = "train --net resnet8 --data fashion-mnist --limit 256 --validation 100 --batch 32";
    let words = |more: &str| -> Vec<String> {
        let text = format!("{base} {more} --out {}", out.display());
        text.split(' ').map(str::to_owned).collect()
    };
    let refused =
        |words: &[String]| refused("lrpet", &words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let done =
        |words: &[String]| json("lrpet", &words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    done(&words("--epochs 1"));
    let before = weights(&out);
    let error = refused(&words("--epochs 1"));
    assert!(error.contains("--resume") && error.contains("--out"), "{error}");
    // Found before images are read: there are none of this name.
    let nothing = words("--epochs 1").join(" ").replace("fashion-mnist", "no-such-data");
    assert_eq!(refused(&nothing.split(' ').map(str::to_owned).collect::<Vec<_>>()), error);

    let error = refused(&words("--epochs 2 --resume"));
    let (_, command) = error.split_once(": lrpet ").unwrap_or_else(|| panic!("{error}"));
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    assert!(command.join(" ").contains("--extend 2"), "{error}");
    assert_eq!(done(&command)["epochs"].as_array().unwrap().len(), 2);
    assert!(weights(&out) != before);
    let kept = std::fs::read(out.join("final-1-epochs.safetensors")).unwrap();
    let kept = safetensors::SafeTensors::deserialize(&kept).unwrap();
    assert!(kept.iter().all(|(name, tensor)| before[name] == tensor.data()));

    // Another batch: its weights are trained on in another folder.
    let error = refused(
        &words("--epochs 1 --resume --batch 64")
            .join(" ")
            .replacen("--batch 32 ", "", 1)
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    let (_, command) = error.split_once(": lrpet ").unwrap_or_else(|| panic!("{error}"));
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let document = done(&command);
    let from = document.pointer("/setup/weights").and_then(serde_json::Value::as_str).unwrap();
    assert!(from.contains("run/final.safetensors"), "{document}");
}

/// The curves that do not depend on time.
fn curves(out: &Path) -> Curves {
    let mut curves = events::curves(out).unwrap();
    curves.retain(|name, _| !name.starts_with("speed/"));
    curves
}
