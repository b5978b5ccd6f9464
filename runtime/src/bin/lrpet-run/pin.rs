//! Staying on one core.

use anyhow::{Result, ensure};

/// Pins this thread, and those that it starts, to a core.
pub fn pin_to(core: u32, threads: u16) -> Result<()> {
    ensure!(threads == 1, "--core {core} has room for one thread: leave --core or --threads away");
    pin(core)
}

#[cfg(target_os = "linux")]
fn pin(core: u32) -> Result<()> {
    use anyhow::Context;
    use rustix::thread::{CpuSet, sched_setaffinity};

    ensure!((core as usize) < CpuSet::MAX_CPU, "--core {core}: the kernel knows {} cores", CpuSet::MAX_CPU);
    let mut set = CpuSet::new();
    set.set(core as usize);
    sched_setaffinity(None, &set).with_context(|| {
        format!("--core {core}: this process may not run on such a core (see `nproc` and `taskset -p $$`)")
    })
}

#[cfg(not(target_os = "linux"))]
fn pin(core: u32) -> Result<()> {
    anyhow::bail!("--core {core}: staying on a core is for Linux")
}
