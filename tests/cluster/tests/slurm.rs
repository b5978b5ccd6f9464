//! A sweep as a job array of Slurm survives killed and requeued runs, and its own end.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lrpet_cluster_tests::slurm::Slurm;
use lrpet_cluster_tests::{images, lrpet, processes, root};
use serde_json::Value;

const NEEDS: &str = "cargo xtask test --cluster builds and installs what this needs";
const LIMIT: Duration = Duration::from_secs(300);
const EPOCHS: usize = 40;

fn sweep(slurm: &Slurm, data: &Path, out: &Path, log: &Path) -> Child {
    let text = format!(
        "sweep --net resnet8 --crop-padding 1 --validation 40 --limit 64 --batch 32 --epochs {EPOCHS} --lr 0.05 \
         --reestimate 2 --prune 0,0.5,0.7 --launcher slurm"
    );
    let log = File::options().create(true).append(true).open(log).unwrap();
    Command::new(lrpet())
        .args(text.split_whitespace())
        .args(["--sbatch", "--cpus-per-task=1 --time=30"])
        .args([Path::new("--data"), data, Path::new("--out"), out])
        .env("SLURM_CONF", slurm.configuration())
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect(NEEDS)
}

fn epochs(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

/// The job of each task of the arrays that Slurm knows: number of the array, index, state.
fn tasks(slurm: &Slurm) -> Vec<(String, String, String)> {
    let said = slurm.say("squeue", &["--noheader", "--array", "--states=all", "--format=%F|%K|%T"]).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        (fields[0].to_owned(), fields[1].to_owned(), fields[2].to_owned())
    };
    said.lines().map(line).collect()
}

#[test]
#[ignore = "needs Slurm: cargo xtask test --cluster"]
fn a_sweep_survives_killed_and_requeued_runs_and_its_own_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    images::first(&path("data"), 300, 50).unwrap();
    let slurm = Slurm::start().unwrap();
    let (out, log) = (path("sweep"), path("sweep.log"));
    let run = |name: &str| out.join("runs").join(name);
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let shown = |what: &str| format!("{what}\n{}\n{}\n{:?}", said(), slurm.logs(), tasks(&slurm));

    // The program that submitted the runs is killed; they go on.
    let mut first = sweep(&slurm, &path("data"), &out, &log);
    let started = |name: &'static str| {
        let begun = || (epochs(&run(name)) >= 1).then_some(());
        processes::wait(&format!("first epoch of {name}"), LIMIT, begun)
            .unwrap_or_else(|error| panic!("{}", shown(&error.to_string())));
    };
    started("dense");
    first.kill().unwrap();
    first.wait().unwrap();
    let array = tasks(&slurm)[0].0.clone();

    // One run is killed, one is requeued by Slurm's administrator.
    let trained = run("dense").display().to_string();
    let process = processes::with_word("lrpet", &trained);
    assert_eq!(process.len(), 1, "{}", shown("dense is not training"));
    processes::kill(process[0]).unwrap();
    started("g0.5");
    let requeued = format!("{array}_1");
    slurm
        .say("scontrol", &["requeue", &requeued])
        .unwrap_or_else(|error| panic!("{}", shown(&error.to_string())));
    let waits = || tasks(&slurm).into_iter().find(|(_, index, state)| index == "1" && state == "PENDING");
    processes::wait("requeued run", LIMIT, waits).unwrap();
    let before = epochs(&run("g0.5"));
    // Slurm waits two minutes before a requeued job. The test does not wait as long, but longer than the second in which the
    // end of the job's first run revokes the credential of the next.
    slurm.say("scontrol", &["update", &format!("JobId={requeued}"), "StartTime=now+5"]).unwrap();

    // Started again, the sweep follows the runs that are there and submits the killed one again.
    let mut second = sweep(&slurm, &path("data"), &out, &log);
    let status = processes::wait("end of the sweep", LIMIT, || second.try_wait().unwrap());
    let status = status.unwrap_or_else(|error| panic!("{}", shown(&error.to_string())));
    assert!(status.success(), "{}", shown("the sweep failed"));

    for name in ["dense", "g0.5", "g0.7"] {
        assert_eq!(epochs(&run(name)), EPOCHS, "{}", shown(name));
        assert!(run(name).join("final.safetensors").is_file(), "{name}");
    }
    assert!((1..EPOCHS).contains(&before), "requeued after {before} epochs");
    for name in ["dense", "g0.5"] {
        let text = std::fs::read_to_string(run(name).join("train.log")).unwrap();
        assert!(text.contains("going on after epoch"), "{name} started afresh: {text}");
    }
    let arrays: BTreeSet<String> = tasks(&slurm).into_iter().map(|(array, ..)| array).collect();
    assert_eq!(arrays.len(), 2, "{}", shown("only the killed run is submitted again"));
    let text = std::fs::read_to_string(out.join("sweep.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let rows: Vec<&str> =
        document["rows"].as_array().unwrap().iter().filter_map(|row| row["run"].as_str()).collect();
    assert_eq!(rows, ["dense", "g0.5", "g0.7"]);
}
