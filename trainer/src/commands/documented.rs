//! The commands in the documents are commands that `lrpet` understands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::Cli;

/// Markdown files below a folder, itself without its folders of code.
fn documents(root: &Path) -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/decisions", "models"];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files
}

/// The shell's commands in a document: continued lines joined, variables of the same block replaced (a loop's by its first value).
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in text.replace("\n  ```", "\n```").split("\n```sh\n").skip(1) {
        let block = block.split("\n```").next().unwrap_or_default().replace("\\\n", " ");
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        for line in block.lines() {
            let mut line = line.trim().to_owned();
            for (name, value) in variables.iter().rev() {
                line = line.replace(&format!("${name}"), value);
            }
            let assigned = line.split_once('=').filter(|(name, _)| name.chars().all(char::is_alphanumeric));
            let looped = line.strip_prefix("for ").and_then(|line| line.split_once(" in "));
            if let Some((name, value)) = assigned {
                variables.insert(name.to_owned(), value.trim_matches('"').to_owned());
            } else if let Some((name, values)) = looped {
                let first = values.split([' ', ';']).next().unwrap_or_default();
                variables.insert(name.to_owned(), first.to_owned());
            } else {
                found.push(line);
            }
        }
    }
    found
}

/// The words of `lrpet` in a command, where it is one, whatever starts its processes.
fn words(command: &str) -> Option<Vec<String>> {
    let words = shlex::split(command).unwrap_or_else(|| panic!("quotes that nothing closes: {command}"));
    let starts = |word: &String| word == "lrpet" || word.ends_with("/lrpet");
    let at = words.iter().position(starts)?;
    let starts = at == 0 || ["mpirun", "srun"].contains(&words[0].as_str());
    // What is printed may go to a file.
    starts.then(|| words[at..].iter().take_while(|word| *word != ">").cloned().collect())
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut understood = Vec::new();
    for file in documents(root) {
        let text = std::fs::read_to_string(&file).unwrap();
        for command in commands(&text) {
            let Some(words) = words(&command).filter(|_| !command.contains('…')) else { continue };
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{}: {command}\n{error}", file.display());
            }
            understood.push(words[1].clone());
        }
    }
    // The documents are found and read: no subcommand goes without an example.
    for command in [
        "data",
        "train",
        "factorize",
        "export",
        "network",
        "inspect",
        "eval",
        "bench",
        "sweep",
        "search",
        "flash",
        "report",
    ] {
        assert!(understood.iter().any(|word| word == command), "no example of {command}");
    }
}

#[test]
fn blocks_become_commands() {
    let text = "\n```sh\nx=\"--a 1\"\nfor s in 7 8; do\n  lrpet t $x --seed $s \\\n    --b  # why\ndone\n```\nlrpet no\n";
    let found = commands(text);
    let found: Vec<_> = found.iter().filter_map(|command| words(command)).collect();
    assert_eq!(found, [["lrpet", "t", "--a", "1", "--seed", "7", "--b"]]);
    assert_eq!(words("mpirun -n 2 lrpet train").unwrap(), ["lrpet", "train"]);
    assert_eq!(words("lrpet network show a > b.toml").unwrap(), ["lrpet", "network", "show", "a"]);
    assert_eq!(words("cargo build -p lrpet"), None);
}
