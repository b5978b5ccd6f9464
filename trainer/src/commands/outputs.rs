//! The files that a command writes: whether it can, and that none of them is one that it reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lrpet_network::atomic;

/// What pages, charts and tables are called: a command may replace one in a folder that it reads.
const RENEWED: [&str; 3] = ["html", "svg", "csv"];

/// Refuses outputs that cannot be written, that are one another, or that would replace an input or a file in an input folder.
/// Comes before any work.
pub fn check(outputs: &[&Path], inputs: &[&Path]) -> Result<()> {
    let read: Vec<(&Path, PathBuf)> =
        inputs.iter().filter_map(|input| Some((*input, input.canonicalize().ok()?))).collect();
    let mut before: Vec<(&Path, PathBuf)> = Vec::new();
    for output in outputs {
        let name = output.display();
        atomic::check(output).with_context(|| format!("cannot write {name}"))?;
        // What is no file replaces none, and several may go to it.
        let Some(file) = atomic::target(output).with_context(|| format!("cannot write {name}"))? else {
            continue;
        };
        for (input, real) in &read {
            let input = input.display();
            ensure!(
                file != *real,
                "{name} is read here ({input}): it would be replaced; name another file to write"
            );
            let renewed = file.extension().is_some_and(|end| RENEWED.iter().any(|known| end == *known));
            ensure!(
                renewed || !file.exists() || !file.starts_with(real),
                "{name} lies in {input}, which is read here: it would be replaced; name another file to write"
            );
        }
        if let Some((other, _)) = before.iter().find(|(_, other)| *other == file) {
            anyhow::bail!("{} and {name} are one file: give each output a name of its own", other.display());
        }
        before.push((output, file));
    }
    Ok(())
}

/// Writes a whole output.
pub fn write(file: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    atomic::write(file, bytes.as_ref()).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::commands::{Cli, run};

    fn message(outputs: &[&Path], inputs: &[&Path]) -> String {
        check(outputs, inputs).unwrap_err().to_string()
    }

    #[test]
    fn outputs_are_neither_inputs_nor_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (model, page, folder) = (at("model.safetensors"), at("page.html"), at("run"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&model, "model").unwrap();
        std::fs::write(folder.join("final.safetensors"), "weights").unwrap();
        std::fs::write(folder.join("report.html"), "page").unwrap();
        let round = folder.join("../model.safetensors");
        for name in [&model, &round] {
            assert!(message(&[name], &[&model]).contains("is read here"));
            assert!(message(&[&page, name], &[&folder, &model]).contains("is read here"));
        }
        assert!(message(&[&page, &page], &[&model]).contains("are one file"));
        assert!(message(&[&folder.join("final.safetensors")], &[&folder]).contains("lies in"));
        check(&[&folder.join("report.html"), &folder.join("new.png"), &page], &[&folder, &model]).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("model.safetensors", at("link")).unwrap();
            assert!(message(&[&at("link")], &[&model]).contains("is read here"));
            check(&[Path::new("/dev/null"), Path::new("/dev/null")], &[]).unwrap();
        }
    }

    /// None of the inputs is a model: were the outputs not looked at first, the error would be about those.
    #[test]
    fn every_command_looks_at_its_outputs_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (file, none) = (at("file.safetensors"), at("none/page.html"));
        std::fs::write(&file, "nothing").unwrap();
        let f = file.as_str();
        let commands: [&[&str]; 8] = [
            &["eval", f, "--data", "x", "--page"],
            &["eval", f, "--data", "x", "--wrong"],
            &["export", f, "--onnx"],
            &["factorize", f, "--out"],
            &["report", f, "--out"],
            &["run", f, f, "--csv"],
            &["search", "--from", f, "--board", "host", "--latency", "1ms", "--out"],
            &["flash", f, "--board", "pico2", "--region", "--dry-run", "--region-file"],
        ];
        for words in commands {
            for (output, expected) in
                [(f, "is read here"), (&none, "does not exist"), (&at(""), "is a folder")]
            {
                let line = std::iter::once("lrpet").chain(words.iter().copied()).chain([output]);
                let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
                let error = format!("{:#}", run(cli).unwrap_err());
                assert!(error.contains(expected), "{words:?} {output}: {error}");
            }
            assert_eq!(std::fs::read_to_string(f).unwrap(), "nothing");
        }
    }
}
