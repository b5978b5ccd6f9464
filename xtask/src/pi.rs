//! `cargo xtask pi`: `lrpet-run` for 64-bit Arm Linux, here under an emulator or on a Raspberry Pi over ssh.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::process;
use crate::toolchain::{self, Source, Toolchain};

/// Options of `cargo xtask pi`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Model file; without one the program is only built
    model: Option<PathBuf>,
    /// Raspberry Pi (or another 64-bit Arm Linux) as ssh knows it, such as pi@raspberrypi.local
    #[arg(long)]
    host: Option<String>,
    /// Folder on the host, below the home folder unless it begins with /
    #[arg(long, default_value = "lrpet")]
    folder: String,
    /// Core that is emulated where no host is given
    #[arg(long, value_enum, default_value_t)]
    cpu: Cpu,
    /// Print the bench of the host as one JSON document (docs/report-format.md) and nothing else on standard output
    #[arg(long, requires = "host")]
    json: bool,
    /// Options for `lrpet-run bench` on the host, behind --, such as --core 3 --gpio /dev/gpiochip0:17
    #[arg(last = true)]
    bench: Vec<String>,
}

/// Cores of the Raspberry Pi, as QEMU names them.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Cpu {
    /// Zero 2 W
    CortexA53,
    /// Pi 4
    #[default]
    CortexA72,
    /// Pi 5
    CortexA76,
}

impl Cpu {
    fn name(self) -> &'static str {
        match self {
            Cpu::CortexA53 => "cortex-a53",
            Cpu::CortexA72 => "cortex-a72",
            Cpu::CortexA76 => "cortex-a76",
        }
    }
}

pub fn main(arguments: &Arguments, source: Source) -> Result<()> {
    let remote = match &arguments.host {
        None => None,
        Some(host) => Some(Remote::new("ssh", host, &arguments.folder)?),
    };
    run(arguments, remote, || build(source))
}

/// Refuses what cannot end well before it builds, which takes minutes.
fn run(
    arguments: &Arguments,
    remote: Option<Remote<'_>>,
    build: impl FnOnce() -> Result<PathBuf>,
) -> Result<()> {
    if let Some(model) = &arguments.model {
        ensure!(model.is_file(), "{}: there is no such file", model.display());
    } else {
        ensure!(remote.is_none(), "name a model file to run on the host");
    }
    if let Some(remote) = &remote {
        remote.ensure_architecture()?;
    }
    let program = build()?;
    let size = std::fs::metadata(&program).map_or(0, |file| file.len());
    eprintln!("{} ({size} bytes, statically linked)", program.display());
    match (&arguments.model, remote) {
        (None, _) => Ok(()),
        (Some(model), None) => emulate(&program, model, arguments.cpu),
        (Some(model), Some(remote)) => remote.measure(&program, model, &arguments.bench, arguments.json),
    }
}

/// Builds the program without a need of libraries, so that it runs on any 64-bit Arm Linux.
fn build(source: Source) -> Result<PathBuf> {
    let target = toolchain::AARCH64_LINUX;
    let mut command = Toolchain::for_target(target, source)?.cargo("build", target);
    let folder = crate::root().join("target/pi");
    command.current_dir(crate::root()).args([
        "--release",
        "--package",
        "lrpet-runtime",
        "--features",
        "gpio",
    ]);
    command.arg("--target-dir").arg(&folder).env("RUSTFLAGS", "-C target-feature=+crt-static");
    command.env("CARGO_PROFILE_RELEASE_STRIP", "true");
    let log = folder.join("build.log");
    process::run_logged(&mut command, "lrpet-run for 64-bit Arm Linux", &log, "run `cargo xtask setup`")?;
    Ok(folder.join(target).join("release/lrpet-run"))
}

/// Compares the logits of an emulated core with those in the model file. Its times would mean nothing.
fn emulate(program: &Path, model: &Path, cpu: Cpu) -> Result<()> {
    let mut command = Command::new("qemu-aarch64");
    command.args(["-cpu", cpu.name()]).arg(program).arg("check").arg(model);
    let text = process::capture(&mut command, "is qemu-user installed? run `cargo xtask setup`")?;
    print!("{} (emulated): {text}", cpu.name());
    println!("instructions are counted by `cargo xtask bench arm`; time needs a real core: --host");
    Ok(())
}

/// A folder on another machine.
struct Remote<'a> {
    /// The program that logs in.
    ssh: PathBuf,
    host: &'a str,
    folder: &'a str,
}

impl<'a> Remote<'a> {
    /// Refuses what ssh or the host's shell would read as something else than a name.
    fn new(ssh: impl Into<PathBuf>, host: &'a str, folder: &'a str) -> Result<Self> {
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/@:[]".contains(&byte))
        };
        ensure!(plain(host), "--host {host}: no name of a host");
        ensure!(plain(folder), "--folder {folder}: letters, digits, `.`, `_`, `-` and `/` only");
        Ok(Self { ssh: ssh.into(), host, folder })
    }

    /// An error where the host runs no 64-bit Arm Linux.
    fn ensure_architecture(&self) -> Result<()> {
        let hint = "can you log in with ssh without a password?";
        let architecture = process::capture(&mut self.ssh("uname -m"), hint)?;
        let host = self.host;
        match architecture.trim() {
            // A 64-bit kernel may carry a 32-bit system, but then runs a program without libraries all the same.
            "aarch64" => Ok(()),
            old @ ("armv6l" | "armv7l" | "armv8l" | "arm") => bail!(
                "{host} runs a 32-bit system ({old}), and lrpet-run is built for 64-bit Arm Linux (aarch64): put the 64-bit \
                 Raspberry Pi OS on it (a Pi 3, 4, 5 or Zero 2 W takes it, older ones do not)"
            ),
            other => bail!("{host} runs {other}, not 64-bit Arm Linux (aarch64)"),
        }
    }

    fn ssh(&self, script: &str) -> Command {
        let mut command = Command::new(&self.ssh);
        command.args([self.host, script]);
        command
    }

    /// Copies program and model, compares logits, and times.
    fn measure(&self, program: &Path, model: &Path, options: &[String], json: bool) -> Result<()> {
        let folder = self.folder;
        ensure!(
            options.iter().all(|option| option
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.=/:".contains(&byte))),
            "options for the bench may have letters, digits, `-`, `.`, `=`, `/` and `:`"
        );
        self.copy(program, "lrpet-run", true)?;
        self.copy(model, "model.safetensors", false)?;
        let run = |script: String, quiet: bool| {
            let mut command = self.ssh(&script);
            if quiet {
                command.stdout(std::io::stderr());
            }
            let status = command.stdin(Stdio::null()).status();
            let status = status.with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
            ensure!(status.success(), "`{}` failed ({status})", process::spell(&command));
            Ok(())
        };
        run(format!("{folder}/lrpet-run check {folder}/model.safetensors"), json)?;
        let options = options.iter().map(String::as_str).chain(json.then_some("--json"));
        let options: String = options.map(|option| format!(" {option}")).collect();
        run(format!("{folder}/lrpet-run bench {folder}/model.safetensors{options}"), false)
    }

    /// Copies a file, whole or not at all.
    fn copy(&self, file: &Path, name: &str, executable: bool) -> Result<()> {
        let folder = self.folder;
        let mode = if executable { format!("chmod +x {folder}/{name}.new && ") } else { String::new() };
        let script = format!(
            "mkdir -p {folder} && cat > {folder}/{name}.new && {mode}mv {folder}/{name}.new {folder}/{name}"
        );
        let source = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut command = self.ssh(&script);
        let status = command.stdin(source).status();
        let status = status.with_context(|| format!("cannot start `{}`", process::spell(&command)))?;
        ensure!(status.success(), "cannot copy {} to {}:{folder} ({status})", file.display(), self.host);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// With a stand-in for ssh that runs what it is told in a folder here, and one for the program that notes its
    /// arguments.
    #[test]
    fn program_and_model_are_copied_and_run() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let home = at("home");
        std::fs::create_dir(&home).unwrap();
        let log_in = format!(
            "#!/bin/sh\n[ \"$2\" = 'uname -m' ] && exec cat {}\ncd {} && exec sh -c \"$2\"\n",
            at("architecture").display(),
            home.display()
        );
        script(&at("ssh"), &log_in);
        std::fs::write(at("architecture"), "aarch64\n").unwrap();
        std::fs::write(at("program"), "#!/bin/sh\necho \"$@\" >> ran\n").unwrap();
        std::fs::write(at("model"), "weights").unwrap();
        let remote = || Remote::new(at("ssh"), "pi@host", "some/folder").unwrap();
        let options = ["--threads".to_owned(), "4".to_owned()];
        let arguments = |json, bench: &[String]| Arguments {
            model: Some(at("model")),
            host: None,
            folder: String::new(),
            cpu: Cpu::default(),
            json,
            bench: bench.to_vec(),
        };
        run(&arguments(true, &options), Some(remote()), || Ok(at("program"))).unwrap();
        let ran = std::fs::read_to_string(home.join("ran")).unwrap();
        let model = "some/folder/model.safetensors";
        assert_eq!(ran, format!("check {model}\nbench {model} --threads 4 --json\n"));
        assert_eq!(std::fs::read(home.join(model)).unwrap(), b"weights");

        std::fs::write(at("program"), "#!/bin/sh\nexit 3\n").unwrap();
        let failed =
            run(&arguments(false, &[]), Some(remote()), || Ok(at("program"))).unwrap_err().to_string();
        assert!(failed.contains("lrpet-run check"), "{failed}");

        // What cannot run there is not built.
        let refusal = |arguments: &Arguments| {
            let refused = run(arguments, Some(remote()), || panic!("it is built"));
            refused.unwrap_err().to_string()
        };
        for (architecture, expected) in [
            ("armv7l", "pi@host runs a 32-bit system (armv7l)"),
            ("x86_64", "pi@host runs x86_64, not 64-bit Arm Linux"),
        ] {
            std::fs::write(at("architecture"), format!("{architecture}\n")).unwrap();
            let failed = refusal(&arguments(false, &[]));
            assert!(failed.contains(expected), "{failed}");
        }
        std::fs::write(at("architecture"), "aarch64\n").unwrap();
        let nothing = Arguments { model: Some(at("nothing")), ..arguments(false, &[]) };
        assert!(refusal(&nothing).contains("there is no such file"));
        let none = Arguments { model: None, ..arguments(false, &[]) };
        assert!(refusal(&none).contains("name a model file"));
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_refused() {
        assert!(Remote::new("ssh", "pi@raspberrypi.local", "lrpet").is_ok());
        assert!(Remote::new("ssh", "pi@[fe80::1]", "/tmp/lrpet").is_ok());
        for (host, folder) in
            [("-oProxyCommand=x", "a"), ("", "a"), ("pi", ""), ("pi", "a b"), ("pi", "$(x)"), ("pi", "-r")]
        {
            assert!(Remote::new("ssh", host, folder).is_err(), "{host} {folder}");
        }
    }
}
