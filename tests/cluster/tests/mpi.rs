//! Two processes under mpirun train as one does.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use lrpet_cluster_tests::{images, lrpet, processes, root};
use serde_json::Value;

const NEEDS: &str = "cargo xtask test --cluster builds and installs what this needs";

/// Words after `lrpet`; each epoch is one batch of 64 images, projected at every second one.
fn words(data: &Path, out: &Path, more: &str) -> Vec<String> {
    let text = format!(
        "train --net resnet8 --crop-padding 1 --validation 40 --lr 0.01 --prune 0.5 \
         --project-iterations 2 --reestimate 2 --threads 1 {more}"
    );
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    for (name, path) in [("--data", data), ("--out", out)] {
        words.extend([name.to_owned(), path.to_str().unwrap().to_owned()]);
    }
    words
}

/// `mpirun` for processes that may be more than the cores, and may be root's as in a container.
fn mpirun() -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
    command.args(["--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo"]);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn together(processes: &str, words: &[String]) -> Output {
    let mut command = mpirun();
    command.args(["-n", processes]).arg(lrpet()).args(words);
    command.output().expect(NEEDS)
}

fn alone(words: &[String]) -> Output {
    Command::new(lrpet()).args(words).current_dir(root()).output().expect(NEEDS)
}

fn succeeds(done: &Output) {
    assert!(done.status.success(), "{}", errors(done));
}

fn errors(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn records(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(record: &Value, pointer: &str) -> f64 {
    record.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {record}"))
}

/// All tensors of the final weights.
fn weights(out: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(out.join("final.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect()
    };
    file.iter().map(|(name, tensor)| (name.to_owned(), values(tensor.data()))).collect()
}

/// Largest difference of the losses, and of the weights relative to the largest value of their tensor.
fn differences(one: &Path, two: &Path) -> (f64, f64) {
    let (a, b) = (records(one), records(two));
    assert_eq!(a.len(), b.len());
    let mut loss = 0f64;
    for (a, b) in a.iter().zip(&b) {
        for pointer in ["/train_loss", "/validation/loss"] {
            loss = loss.max((number(a, pointer) - number(b, pointer)).abs());
        }
        assert_eq!(number(a, "/validation/images"), number(b, "/validation/images"));
    }
    let (a, b) = (weights(one), weights(two));
    assert!(a.keys().eq(b.keys()));
    let mut weight = 0f64;
    for (name, a) in &a {
        let largest = a.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
        for (a, b) in a.iter().zip(&b[name]) {
            weight = weight.max(f64::from((a - b).abs() / largest));
        }
    }
    (loss, weight)
}

#[test]
#[ignore = "needs MPI: cargo xtask test --cluster"]
fn two_processes_train_as_one_with_the_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    images::first(&path("data"), 400, 50).unwrap();
    // One step an epoch: the record of an epoch is that of its step. Then batches of which the last is smaller.
    for (case, more) in
        [("steps", "--limit 64 --batch 64 --epochs 6"), ("epochs", "--limit 64 --batch 24 --epochs 2")]
    {
        let [one, two] = ["one", "two"].map(|name| path(&format!("{case}-{name}")));
        succeeds(&alone(&words(&path("data"), &one, more)));
        succeeds(&together("2", &words(&path("data"), &two, more)));
        let (loss, weight) = differences(&one, &two);
        println!(
            "{case}: losses differ by {loss:.1e} at most, weights by {weight:.1e} of their tensor's largest"
        );
        assert!(loss < 1e-5, "{case}: losses differ by {loss}");
        assert!(weight < 1e-4, "{case}: weights differ by {weight}");
        let seen = records(&two);
        assert!(seen.iter().any(|record| record["projection"].is_object()));
        assert!(seen[seen.len() - 1]["train_loss"].as_f64() < seen[0]["train_loss"].as_f64());
    }
}

#[test]
#[ignore = "needs MPI: cargo xtask test --cluster"]
fn the_end_of_one_process_ends_all_and_one_alone_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    images::first(&path("data"), 400, 50).unwrap();
    let mut words = words(&path("data"), &path("run"), "--limit 64 --batch 32 --epochs 30");
    let mut command = mpirun();
    command.args(["-n", "2"]).arg(lrpet()).args(&words);
    let mut training = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect(NEEDS);
    let limit = Duration::from_secs(120);
    let out = path("run").to_str().unwrap().to_owned();
    processes::wait("second epoch", limit, || (records(&path("run")).len() >= 2).then_some(())).unwrap();
    let ranks = processes::with_word("lrpet", &out);
    assert_eq!(ranks.len(), 2);
    processes::kill(*ranks.iter().max().unwrap()).unwrap();
    let status = processes::wait("end of mpirun", limit, || training.try_wait().unwrap()).unwrap();
    assert!(!status.success());
    processes::wait("end of all processes", limit, || {
        processes::with_word("lrpet", &out).is_empty().then_some(())
    })
    .unwrap();
    assert!(!path("run").join("final.safetensors").exists());
    let done = records(&path("run")).len();
    assert!((2..30).contains(&done), "{done} epochs");
    words.push("--resume".to_owned());
    succeeds(&alone(&words));
    assert_eq!(records(&path("run")).len(), 30);
    assert!(path("run").join("final.safetensors").is_file());
}

#[test]
#[ignore = "needs MPI: cargo xtask test --cluster"]
fn what_cannot_be_shared_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    images::first(&path("data"), 200, 50).unwrap();
    let out = path("run");
    let odd = together("2", &words(&path("data"), &out, "--limit 63 --batch 63 --epochs 1"));
    assert!(!odd.status.success());
    assert!(errors(&odd).contains("--batch 63 for 2 processes"), "{}", errors(&odd));
    let short = together("3", &words(&path("data"), &out, "--batch 3 --epochs 1 --limit 61"));
    assert!(
        errors(&short).contains("a batch of 61 training images by --batch 3 has 2 for 3 processes"),
        "{}",
        errors(&short)
    );

    let mut command = mpirun();
    for (seed, next) in [("1", Some(":")), ("2", None)] {
        let more = format!("--limit 64 --batch 32 --epochs 1 --seed {seed}");
        command.args(["-n", "1"]).arg(lrpet()).args(words(&path("data"), &out, &more)).args(next);
    }
    let unlike = command.output().expect(NEEDS);
    assert!(!unlike.status.success());
    assert!(errors(&unlike).contains("process 1 of 2 has other settings"), "{}", errors(&unlike));
    assert!(!out.exists(), "nothing is written before all agree");
}
