//! `cargo xtask test --cluster`: training by several processes under MPI, and sweeps in a Slurm of one machine.

use anyhow::{Context, Result};

use crate::process;
use crate::setup::{self, Group};
use crate::tally::{FEATURES, LIMIT, Tally, cargo};
use crate::toolchain::Source;

/// The trainer with MPI, besides [`FEATURES`].
const MPI: &str = "lrpet-trainer/mpi";

/// Runs the checks that need MPI or Slurm; one line says so where these are not installed.
pub fn checks(tally: &mut Tally, source: Source) -> Result<()> {
    if !setup::is_complete(&[Group::Cluster], source)? {
        println!("skipped: MPI and Slurm are not installed (`cargo xtask setup --cluster`)");
        return Ok(());
    }
    let trainer = ["--release", "-p", "lrpet-trainer", "--features", FEATURES, "--features", MPI];
    let mut lints = cargo(&["clippy"]);
    lints.args(trainer).args(["--", "-D", "warnings"]);
    tally.check("lints of the trainer with MPI", lints)?;
    tally.verify("lrpet with MPI", || {
        let mut build = cargo(&["build", "-p", "lrpet-runtime"]);
        build.args(trainer);
        anyhow::ensure!(
            process::run_lines(&mut build, LIMIT, "see above", &mut |line| println!("{line}"))?,
            "cargo cannot build it"
        );
        // Out of the way of the next build without MPI.
        let folder = crate::root().join("target/cluster");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let built = crate::root().join("target/release/lrpet");
        std::fs::copy(&built, folder.join("lrpet")).with_context(|| format!("no {}", built.display()))?;
        Ok("target/cluster/lrpet".to_owned())
    });
    let mut tests = cargo(&["test", "--no-fail-fast", "--release", "-p", "lrpet-cluster-tests", "--"]);
    // One after the other: each starts several processes.
    tests.args(["--ignored", "--nocapture", "--test-threads", "1"]);
    tally.tests("training beyond one machine", tests)
}
