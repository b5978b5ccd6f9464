//! A training that is killed goes on to the same weights, bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lrpet_tests::events::{self, Curves};
use lrpet_tests::programs::{json, program, root};

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

/// The curves that do not depend on time.
fn curves(out: &Path) -> Curves {
    let mut curves = events::curves(out).unwrap();
    curves.retain(|name, _| !name.starts_with("speed/"));
    curves
}
