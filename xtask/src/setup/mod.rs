//! `cargo xtask setup`: installs what the chores need, says what and why, and does nothing where all is there.

mod apt;
mod crates;
mod items;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::counts::llvm;
use crate::process;
use crate::tally::FEATURES;
use crate::toolchain::{self, Source};
pub use items::Group;
use items::{Item, Need};
pub use python::{
    has_bench as has_openvino, python as venv_python, venv_is_current, with_torch as python_with_torch,
    with_torchvision as python_with_torchvision,
};

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only report what is missing; exit status 1 where something is
    #[arg(long)]
    check: bool,
    /// Only what these need (default: everything)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// Also PyTorch, torchvision and OpenVINO, for `cargo xtask bench`
    #[arg(long)]
    bench: bool,
    /// Also MPI and Slurm, for `cargo xtask test --cluster`
    #[arg(long)]
    cluster: bool,
}

/// Runs `cargo xtask setup`.
pub fn main(arguments: &Arguments, source: Source) -> Result<()> {
    let mut groups = if arguments.only.is_empty() { Group::ALL.to_vec() } else { arguments.only.clone() };
    for (asked, group) in [(arguments.bench, Group::Bench), (arguments.cluster, Group::Cluster)] {
        if asked && !groups.contains(&group) {
            groups.push(group);
        }
    }
    let items = items::of(&groups, source);
    let missing = missing(&items)?;
    for (item, missing) in items.iter().zip(&missing) {
        let state = if *missing { "missing" } else { "present" };
        println!("{state:8} {} — {}", item.name, item.why);
    }
    if !missing.contains(&true) {
        return Ok(());
    }
    if arguments.check {
        bail!("{} of {} items are missing; run `cargo xtask setup`", count(&missing), items.len());
    }
    install(&items, missing, source)
}

/// Installs what `groups` need and is missing; says nothing where nothing is.
pub fn ensure(groups: &[Group], source: Source) -> Result<()> {
    let items = items::of(groups, source);
    let missing = missing(&items)?;
    if !missing.contains(&true) {
        return Ok(());
    }
    install(&items, missing, source)
}

/// True where all that `groups` need is there.
pub fn is_complete(groups: &[Group], source: Source) -> Result<bool> {
    Ok(!missing(&items::of(groups, source))?.contains(&true))
}

fn count(missing: &[bool]) -> usize {
    missing.iter().filter(|missing| **missing).count()
}

/// Which items are missing.
fn missing(items: &[Item]) -> Result<Vec<bool>> {
    items.iter().map(|item| item.need.present().map(|present| !present)).collect()
}

fn install(items: &[Item], missing: Vec<bool>, source: Source) -> Result<()> {
    let wanted = || items.iter().zip(&missing).filter(|(_, missing)| **missing).map(|(item, _)| item);
    for item in wanted() {
        println!("installing {} — {}", item.name, item.why);
        if let Need::Component { component, .. } = item.need {
            let hint = "install it by hand (rustup component add, or your system's packages)";
            run(
                Command::new("rustup").args(["component", "add", component]),
                &format!("rustup: {component}"),
                hint,
            )?;
        }
    }

    let mut packages: Vec<&str> = Vec::new();
    for item in wanted() {
        match item.need {
            Need::Target { target, debian, .. }
                if source == Source::Debian || !add_target(target, source)? =>
            {
                packages.extend(debian);
            }
            Need::Program { debian, .. }
            | Need::FashionMnist { debian }
            | Need::Python { debian }
            | Need::Torch { debian }
            | Need::Torchvision { debian }
            | Need::Llvm { debian }
            | Need::LibClang { debian } => {
                packages.extend(debian);
            }
            _ => {}
        }
    }
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        if !apt::usable() {
            let list: Vec<String> =
                wanted().map(|item| format!("  {} — {}", item.name, item.by_hand)).collect();
            bail!("there is no apt-get here; install by hand, then run this again:\n{}", list.join("\n"));
        }
        apt::install(&packages)?;
    }
    if wanted().any(|item| matches!(item.need, Need::Venv)) {
        python::make_venv()?;
    }
    if wanted().any(|item| matches!(item.need, Need::OpenVino)) {
        python::add_bench()?;
    }
    let mut workspaces = Vec::new();
    if wanted().any(|item| matches!(item.need, Need::BoardCrates)) {
        workspaces.extend(crates::boards()?);
    }
    if wanted().any(|item| matches!(item.need, Need::FuzzCrates)) {
        workspaces.extend(crates::fuzz());
    }
    for folder in workspaces {
        let label = format!("cargo fetch: {}", folder.display());
        run(&mut crates::fetch(&folder), &label, "check the network")?;
    }
    if wanted().any(|item| matches!(item.need, Need::Cifar10)) {
        let mut build = Command::new(toolchain::cargo());
        // As the tests build it.
        build.args(["build", "--release", "-p", "lrpet-trainer", "-p", "lrpet-runtime"]);
        build.args(["--features", FEATURES]);
        run(&mut build, "cargo build of lrpet, which fetches CIFAR-10", "see the log")?;
        let mut fetch = Command::new(crate::root().join("target/release/lrpet"));
        run(fetch.args(["data", "get", "cifar10"]), "lrpet data get cifar10", "check the network and npm")?;
    }

    for (item, was_missing) in items.iter().zip(&missing) {
        if *was_missing && !item.need.present()? {
            bail!("{} is still missing after the installation; {}", item.name, item.by_hand);
        }
    }
    println!("installed {} of {} items, the others were present", count(&missing), items.len());
    Ok(())
}

/// Asks rustup for a target. False where it cannot and Debian's packages may serve.
fn add_target(target: &str, source: Source) -> Result<bool> {
    let mut command = Command::new("rustup");
    command.args(["target", "add", target]);
    match run(&mut command, &format!("rustup: {target}"), "see the log") {
        Ok(()) => Ok(true),
        Err(error) if source == Source::Rustup => Err(error),
        Err(_) => {
            println!("rustup cannot add {target}: using Debian's Rust for it");
            Ok(false)
        }
    }
}

fn run(command: &mut Command, label: &str, hint: &str) -> Result<()> {
    process::run_logged(command, label, &log(), hint)
}

/// Where the output of package managers goes.
fn log() -> PathBuf {
    crate::root().join("target/setup.log")
}

impl Need {
    fn present(&self) -> Result<bool> {
        Ok(match self {
            Need::Target { target, source, .. } => match source {
                Source::Rustup => toolchain::rustup_targets(&[target])?[0],
                Source::Debian => toolchain::debian_has(target),
                Source::Auto => toolchain::rustup_targets(&[target])?[0] || toolchain::debian_has(target),
            },
            Need::Component { subcommand, .. } => {
                let mut command = Command::new(toolchain::cargo());
                process::capture(command.args([subcommand, "--version"]), "").is_ok()
            }
            Need::Program { any_of, .. } => any_of.iter().any(|program| process::find(program).is_some()),
            Need::FashionMnist { .. } => {
                let files = ["train-images-idx3-ubyte.gz", "train-images-idx3-ubyte"];
                data_present("fashion-mnist", Some("/usr/share/datasets/fashion-mnist"), &files)
            }
            Need::Cifar10 => data_present("cifar10", None, &["test_batch.png", "test_batch.bin"]),
            Need::Python { .. } => python::usable(),
            Need::Torch { .. } => python::with_torch().is_some(),
            Need::Torchvision { .. } => python::with_torchvision().is_some(),
            Need::Venv => python::venv_is_current(),
            Need::BoardCrates => crates::present(&crates::boards()?),
            Need::FuzzCrates => crates::present(&crates::fuzz()),
            Need::Llvm { .. } => llvm::is_present(),
            Need::LibClang { .. } => libclang_present(),
            Need::OpenVino => python::has_bench(),
        })
    }
}

/// True where bindgen finds libclang: in `LIBCLANG_PATH`, or where Debian puts it.
fn libclang_present() -> bool {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let is_clang = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        ["libclang.so", "libclang-"].iter().any(|start| name.starts_with(start))
            && name.contains(".so")
            && !name.contains("cpp")
    };
    let versions = entries(Path::new("/usr/lib")).into_iter();
    let versions = versions.filter(|folder| folder.to_string_lossy().contains("llvm-"));
    let chosen = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    chosen
        .into_iter()
        .chain(versions.map(|folder| folder.join("lib")))
        .any(|at| entries(&at).iter().any(is_clang))
}

/// True where `lrpet` finds one of `files` of a data set: in `LRPET_DATA`, the user's cache, or the system's folder.
fn data_present(name: &str, system: Option<&str>, files: &[&str]) -> bool {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let stores = [variable("LRPET_DATA"), cache.map(|folder| folder.join("lrpet/data"))];
    let folders = stores.into_iter().flatten().map(|folder| folder.join(name));
    let mut folders = folders.chain(system.map(PathBuf::from));
    folders.any(|folder| files.iter().any(|file| folder.join(file).is_file()))
}
