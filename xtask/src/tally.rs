//! What all checks have in common: how their commands run, and what passed and failed.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process;
use crate::toolchain;

/// No single step takes longer than this, even on two slow cores from an empty target folder.
pub const LIMIT: Duration = Duration::from_secs(40 * 60);

/// All features but those that need a CUDA toolkit, which `cargo xtask build-cuda` builds.
pub const FEATURES: &str = "lrpet-runtime/gpio";

/// What passed and what failed so far.
#[derive(Default)]
pub struct Tally {
    /// Only the steps whose name contains this.
    pub only: Option<String>,
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// The steps that they are in.
    pub failures: Vec<String>,
}

impl Tally {
    fn wants(&self, name: &str) -> bool {
        let wanted = self.only.as_ref().is_none_or(|text| name.contains(text.as_str()));
        if wanted {
            println!("── {name}");
        }
        wanted
    }

    /// A command that passes or fails as a whole.
    pub fn check(&mut self, name: &str, mut command: Command) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let passed = process::run_lines(&mut command, LIMIT, "see above", &mut |line| println!("{line}"))?;
        self.count(name, u64::from(passed), u64::from(!passed));
        Ok(())
    }

    /// A check in this program, which says what it found.
    pub fn verify(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        if !self.wants(name) {
            return;
        }
        let passed = match check() {
            Ok(found) => {
                println!("{found}");
                true
            }
            Err(error) => {
                println!("error: {}", lrpet_report::chain(error.as_ref()));
                false
            }
        };
        self.count(name, u64::from(passed), u64::from(!passed));
    }

    /// A run of `cargo test` to its end, whose closing lines are added up. A run that counts nothing has failed.
    pub fn tests(&mut self, name: &str, mut command: Command) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let (mut passed, mut failed) = (0, 0);
        let done = process::run_lines(&mut command, LIMIT, "see above", &mut |line| {
            println!("{line}");
            if let Some((p, f)) = closing_line(line) {
                passed += p;
                failed += f;
            }
        })?;
        if !done || passed == 0 {
            failed = failed.max(1);
        }
        self.count(name, passed, failed);
        Ok(())
    }

    fn count(&mut self, name: &str, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
        if failed > 0 {
            self.failures.push(name.to_owned());
        }
    }
}

/// Passed and failed of a line such as `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
fn closing_line(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result:")?;
    let number = |word: &str| {
        let before = counts.split(word).next()?;
        before.split([' ', ';']).rfind(|part| !part.is_empty())?.parse().ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

/// Cargo in the workspace.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(toolchain::cargo());
    command.args(arguments).current_dir(crate::root());
    command
}

#[cfg(test)]
mod tests {
    use super::closing_line;

    #[test]
    fn closing_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 5 filtered out";
        assert_eq!(closing_line(line), Some((12, 3)));
        assert_eq!(closing_line("running 3 tests"), None);
        assert_eq!(closing_line("test result: nothing"), None);
    }
}
