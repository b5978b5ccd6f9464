//! Debian's and Ubuntu's packages.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// True where apt-get and dpkg manage the system.
pub fn usable() -> bool {
    ["apt-get", "dpkg"].iter().all(|program| process::find(program).is_some())
}

/// Installs packages (`name` or `name:architecture`) without asking; as root, else through sudo.
pub fn install(packages: &[&str]) -> Result<()> {
    let hint = "check the network and the system's package sources";
    let update = || super::run(&mut root("apt-get", &["update", "-q"])?, "apt-get update", hint);
    update()?;
    for package in packages {
        let name = package.split(':').next().unwrap_or(package);
        if !has_candidate(name)? {
            bail!(
                "this system's package sources have no `{name}` (Debian 12 and newer do); install it by hand"
            );
        }
    }
    if packages.iter().any(|package| package.ends_with(":arm64")) && !has_architecture("arm64")? {
        let hint = "the system must accept packages for arm64";
        super::run(&mut root("dpkg", &["--add-architecture", "arm64"])?, "dpkg: adding arm64", hint)?;
        update()?;
    }
    let label = format!("apt-get install {}", packages.join(" "));
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    super::run(&mut root("apt-get", &arguments)?, &label, hint)
}

/// True where the package sources offer `package`.
fn has_candidate(package: &str) -> Result<bool> {
    let policy = process::capture(Command::new("apt-cache").args(["policy", package]), "is apt installed?")?;
    Ok(policy.lines().any(|line| line.trim().starts_with("Candidate:") && !line.contains("(none)")))
}

fn has_architecture(name: &str) -> Result<bool> {
    let hint = "is dpkg installed?";
    let native = process::capture(Command::new("dpkg").arg("--print-architecture"), hint)?;
    let foreign = process::capture(Command::new("dpkg").arg("--print-foreign-architectures"), hint)?;
    Ok(native.lines().chain(foreign.lines()).any(|line| line.trim() == name))
}

/// A command as root that asks nothing.
fn root(program: &str, arguments: &[&str]) -> Result<Command> {
    let user = process::capture(Command::new("id").arg("-u"), "who runs this is unknown")?;
    let mut command = if user.trim() == "0" {
        let mut command = Command::new("env");
        command.arg("DEBIAN_FRONTEND=noninteractive");
        command
    } else if process::find("sudo").is_some() {
        let mut command = Command::new("sudo");
        command.args(["env", "DEBIAN_FRONTEND=noninteractive"]);
        command
    } else {
        bail!("`{program} {}` needs root, and there is no sudo: run it as root", arguments.join(" "));
    };
    command.arg(program).args(arguments);
    Ok(command)
}
