//! Which compiler, linker and cargo build for which target.
//!
//! Rustup's toolchain serves where it has the target's standard library. Where rustup cannot download one, Debian's
//! own Rust does: it builds `core` from its packaged source for microcontrollers and has `std` for 64-bit Arm Linux.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::process;
use crate::sources::root;

/// Cortex-M4F and M7, hard float.
pub const THUMBV7EM: &str = "thumbv7em-none-eabihf";
/// Cortex-M33 and M55, hard float.
pub const THUMBV8M: &str = "thumbv8m.main-none-eabihf";
/// 64-bit Arm Linux (Raspberry Pi).
pub const AARCH64_LINUX: &str = "aarch64-unknown-linux-gnu";

/// Debian's linker for bare-metal targets (package lld-19).
pub const DEBIAN_LLD: &str = "/usr/lib/llvm-19/bin/ld.lld";
/// Debian's cargo (package cargo-web). Called by its path: rustup's proxy shadows it.
pub const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// Debian's compiler (package rustc-web).
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Linker for 64-bit Arm Linux (package gcc-aarch64-linux-gnu).
pub const AARCH64_GCC: &str = "aarch64-linux-gnu-gcc";

/// Debian's packages that build for microcontrollers.
pub const DEBIAN_BARE_METAL: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld-19"];
/// Debian's packages that build for 64-bit Arm Linux, besides the linker.
pub const DEBIAN_AARCH64: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev:arm64"];

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Rustup where it has or can download the target, else Debian
    Auto,
    /// Rustup's targets only
    Rustup,
    /// Debian's packages only
    Debian,
}

/// What builds for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The cargo that runs this program, with the target added by rustup.
    Rustup,
    /// Debian's packages.
    Debian,
}

impl Toolchain {
    /// What builds for `target` on this machine.
    pub fn for_target(target: &str, source: Source) -> Result<Toolchain> {
        if source != Source::Debian && rustup_targets(&[target])?[0] {
            return Ok(Toolchain::Rustup);
        }
        if source != Source::Rustup && debian_has(target) {
            return Ok(Toolchain::Debian);
        }
        bail!("no Rust standard library for {target} is installed; run `cargo xtask setup`")
    }

    /// `cargo SUBCOMMAND --target TARGET` with the environment that the toolchain needs. Debian's has a target
    /// folder of its own, `target/debian`, so that the two never rebuild each other's crates.
    pub fn cargo(self, subcommand: &str, target: &str) -> Command {
        let mut command = match self {
            Toolchain::Rustup => Command::new(cargo()),
            Toolchain::Debian => Command::new(DEBIAN_CARGO),
        };
        command.args([subcommand, "--target", target]);
        let bare_metal = target != AARCH64_LINUX;
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace(['-', '.'], "_"));
        if !bare_metal {
            command.env(&linker, AARCH64_GCC);
        }
        if self == Toolchain::Debian {
            command.env("RUSTC", DEBIAN_RUSTC).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
            command.env("CARGO_TARGET_DIR", self.target_folder());
            if bare_metal {
                // Debian packages no `core` for microcontrollers: build it, which stable compilers allow only so.
                command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core");
                command.env(&linker, DEBIAN_LLD);
            }
        }
        command
    }

    /// Where [`Toolchain::cargo`] leaves what it builds in the workspace.
    pub fn target_folder(self) -> PathBuf {
        root().join(match self {
            Toolchain::Rustup => "target",
            Toolchain::Debian => "target/debian",
        })
    }

    /// The compiler's version line.
    pub fn version(self) -> Result<String> {
        let mut command = match self {
            Toolchain::Rustup => Command::new(rustc()),
            Toolchain::Debian => Command::new(DEBIAN_RUSTC),
        };
        let line = process::capture(command.arg("--version"), "run `cargo xtask setup`")?;
        Ok(line.trim().to_owned())
    }
}

/// The cargo that runs this program.
pub fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Whether the default compiler has the standard library of each target.
pub fn rustup_targets(targets: &[&str]) -> Result<Vec<bool>> {
    let mut command = Command::new(rustc());
    let sysroot = process::capture(command.args(["--print", "sysroot"]), "install Rust with rustup")?;
    Ok(targets.iter().map(|target| has_core(Path::new(sysroot.trim()), target)).collect())
}

/// True where Debian's packages for `target` are installed.
pub fn debian_has(target: &str) -> bool {
    if ![DEBIAN_CARGO, DEBIAN_RUSTC].iter().all(|file| Path::new(file).is_file()) {
        return false;
    }
    if target == AARCH64_LINUX {
        has_core(Path::new("/usr"), target)
    } else {
        Path::new(DEBIAN_LLD).is_file() && Path::new("/usr/lib/rustlib/src/rust/library/core").is_dir()
    }
}

fn has_core(sysroot: &Path, target: &str) -> bool {
    let folder = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore-")))
    })
}
