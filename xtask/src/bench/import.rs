//! `cargo xtask bench import`: torchvision's classification networks as ONNX files, imported, written as models and held against
//! ONNX Runtime; one network a step, the results of finished ones are kept, and so are
//! the rows that the documentation has.

mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{process, setup};

/// Writes the networks; for a Python with torchvision.
const NETWORKS: &str = "tests/python/torchvision_networks.py";
/// Runs ONNX Runtime.
const LOGITS: &str = "tests/python/onnx_logits.py";
/// Largest difference of a logit, as a share of the image's largest one.
const TOLERANCE: f64 = 2e-2;
/// How much farther than in PyTorch's f64 with values of f16 a logit may go: other sums are rounded otherwise.
const LUCK: f64 = 1.25;
/// The margin, as a share of the largest logit, from which on f32's class counts as decided.
const DECIDED: f64 = 1e-2;

/// Options of `cargo xtask bench import`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only these networks, again if they are done already
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Forget what is done and begin anew
    #[arg(long)]
    fresh: bool,
    /// Run nothing, only print the table of what is done
    #[arg(long, conflicts_with_all = ["only", "fresh"])]
    table: bool,
    /// Also put the table of what is done into docs/imported-networks.md
    #[arg(long)]
    write: bool,
    /// An `lrpet` that is built already [default: build it]
    #[arg(long, value_name = "FILE")]
    lrpet: Option<PathBuf>,
}

/// What torchvision has.
#[derive(Deserialize)]
struct Names {
    convolutional: Vec<String>,
    attention: Vec<String>,
    torch: String,
    torchvision: String,
}

/// What the script says of a network that it wrote.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Written {
    /// Height and width of its images.
    size: u32,
    /// Whether batch normalisation got the statistics of the images.
    estimated: bool,
}

/// What `lrpet network import --json` says.
#[derive(Deserialize)]
struct Imported {
    report: Report,
}

#[derive(Deserialize)]
struct Report {
    nodes: u64,
    operations: u64,
}

/// What `lrpet factorize --json` says.
#[derive(Deserialize)]
struct Made {
    macs: u64,
    layers: Vec<serde::de::IgnoredAny>,
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    layer: String,
    saturated: u64,
}

/// What `lrpet inspect --json` says.
#[derive(Deserialize)]
struct Inspection {
    arena_bytes: u64,
}

/// What `lrpet run --json` says.
#[derive(Deserialize)]
struct Answers {
    images: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    logits: Vec<f64>,
}

/// What ONNX Runtime's side says; PyTorch's has no version.
#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    version: String,
    logits: Vec<Vec<f64>>,
}

/// How a network's model agrees with ONNX Runtime.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Agreement {
    /// Images whose class f32 decides, and those of them on which the model has the same.
    decided: usize,
    same: usize,
    /// Largest difference of a logit, as a share of the image's largest one.
    difference: f64,
}

/// The result of one network.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Record {
    name: String,
    versions: String,
    written: Written,
    nodes: u64,
    operations: u64,
    macs: u64,
    arena_bytes: u64,
    agreement: Agreement,
    /// Where that is not enough: how PyTorch in f64 agrees, with weights and kept values rounded to f16.
    #[serde(default)]
    rounded: Option<Agreement>,
    /// The first layer with values that f16 cannot hold.
    beyond: Option<String>,
    /// Pairs at g = 0.5, and multiply-adds with them.
    pairs: usize,
    macs_half: u64,
}

impl Record {
    fn agrees(&self) -> bool {
        agrees(&self.agreement)
    }

    /// Whether f16 alone, without this engine, changes as many classes and moves logits as far.
    fn rounds(&self) -> bool {
        let Some(rounded) = &self.rounded else { return false };
        let Agreement { same, difference, .. } = self.agreement;
        !self.agrees() && rounded.same <= same && difference <= TOLERANCE.max(LUCK * rounded.difference)
    }

    /// False where it neither agrees, nor f16 alone does as much, nor values leave f16.
    fn is_right(&self) -> bool {
        self.agrees() || self.rounds() || self.beyond.is_some()
    }
}

fn agrees(agreement: &Agreement) -> bool {
    agreement.same == agreement.decided && agreement.difference <= TOLERANCE
}

/// Runs `cargo xtask bench import`.
pub fn main(arguments: &Arguments) -> Result<()> {
    ensure!(
        setup::venv_is_current(),
        "ONNX Runtime is missing: `cargo xtask setup --only python` installs it"
    );
    let python = setup::python_with_torchvision().context(
        "torchvision is missing: `cargo xtask setup --bench` installs it (Debian: apt-get install python3-torchvision)",
    )?;
    let names: Names = script(&python, NETWORKS, &["list"])?;
    for name in &arguments.only {
        ensure!(
            names.convolutional.contains(name),
            "--only {name}: torchvision {} has the convolutional networks {}",
            names.torchvision,
            names.convolutional.join(", ")
        );
    }
    let lrpet = match &arguments.lrpet {
        Some(lrpet) => lrpet.clone(),
        None if arguments.table => PathBuf::new(),
        None => super::build_trainer()?,
    };
    let folder = crate::root().join("target/imported");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let kept = folder.join("results.jsonl");
    if arguments.fresh && kept.exists() {
        std::fs::remove_file(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
    }
    let mut records = read(&kept)?;
    let earlier = if arguments.fresh { table::Earlier::none() } else { table::Earlier::open()? };
    let mut failures = Vec::new();
    for name in &names.convolutional {
        let asked = arguments.only.contains(name);
        let done = earlier.has(name) || records.iter().any(|record| record.name == *name);
        if arguments.table || !(asked || arguments.only.is_empty() && !done) {
            continue;
        }
        match measure(name, &names, &python, &lrpet, &folder) {
            Ok(record) => {
                println!("{}", table::row(&record));
                append(&kept, &record)?;
                records.retain(|other| other.name != *name);
                records.push(record);
            }
            Err(error) => {
                println!("{name}: {error:#}");
                failures.push(name.as_str());
            }
        }
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    let text = table::text(earlier, &records, &names);
    println!("\n{text}");
    if arguments.write {
        table::put(&text)?;
    }
    failures.extend(records.iter().filter(|record| !record.is_right()).map(|record| record.name.as_str()));
    ensure!(failures.is_empty(), "failed: {}", failures.join(", "));
    Ok(())
}

/// The finished networks, the last result of each.
fn read(path: &Path) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(records),
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    };
    for (at, line) in text.lines().enumerate() {
        let record: Record = serde_json::from_str(line).with_context(|| {
            format!("{}, line {}: it is of another version; use --fresh", path.display(), at + 1)
        })?;
        records.retain(|other| other.name != record.name);
        records.push(record);
    }
    Ok(records)
}

fn append(path: &Path, record: &Record) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).with_context(cannot)?;
    writeln!(file, "{}", serde_json::to_string(record)?).with_context(cannot)
}

/// The JSON document that a script prints.
fn script<T: DeserializeOwned>(python: &Path, script: &str, arguments: &[&str]) -> Result<T> {
    let mut command = Command::new(python);
    command.arg(crate::root().join(script)).args(arguments);
    document(&mut command, "what it says is above")
}

fn document<T: DeserializeOwned>(command: &mut Command, hint: &str) -> Result<T> {
    let text = process::capture(command, hint)?;
    serde_json::from_str(&text).with_context(|| format!("`{}`: unexpected answer", process::spell(command)))
}

/// Takes one network the whole way, in a folder of its own that is removed afterwards.
fn measure(name: &str, names: &Names, python: &Path, lrpet: &Path, folder: &Path) -> Result<Record> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let record = measure_in(name, names, python, lrpet, &folder);
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    record
}

fn measure_in(name: &str, names: &Names, python: &Path, lrpet: &Path, folder: &Path) -> Result<Record> {
    let file = |name: &str| folder.join(name).display().to_string();
    let written: Written = script(python, NETWORKS, &["export", name, &folder.display().to_string()])?;
    let (onnx, images) = (file(&format!("{name}.onnx")), file(&format!("{name}.npy")));
    let ours = |arguments: &[&str]| {
        let mut command = Command::new(lrpet);
        command.args(arguments).arg("--json");
        command
    };
    let hint = "an importer's error names the node";
    let mine = file("mine");
    let imported: Imported = document(&mut ours(&["network", "import", &onnx, "--out", &mine]), hint)?;
    std::fs::remove_dir_all(&mine).with_context(|| format!("cannot remove {mine}"))?;
    let (dense, half) = (file("dense.safetensors"), file("half.safetensors"));
    let factorize = |prune: &str, out: &str| -> Result<Made> {
        document(&mut ours(&["factorize", "--net", &onnx, "--prune", prune, "--out", out]), hint)
    };
    let made = factorize("0", &dense)?;
    let Inspection { arena_bytes } = document(&mut ours(&["inspect", &dense]), hint)?;
    let answers: Answers = document(&mut ours(&["run", &dense, "--input", &images]), hint)?;
    let low = factorize("0.5", &half)?;
    let reference: Reference = script(&setup::venv_python(), LOGITS, &[&onnx, &images])?;
    let found: Vec<&[f64]> = answers.images.iter().map(|answer| &answer.logits[..]).collect();
    let agreement = agreement(&found, &reference.logits)?;
    let rounded = if agrees(&agreement) {
        None
    } else {
        let Reference { logits, .. } = script(python, NETWORKS, &["round", name, &written.size.to_string()])?;
        let logits: Vec<&[f64]> = logits.iter().map(Vec::as_slice).collect();
        Some(self::agreement(&logits, &reference.logits)?)
    };
    let beyond = made.ranges.iter().find(|range| range.saturated > 0);
    Ok(Record {
        name: name.to_owned(),
        versions: format!(
            "PyTorch {}, torchvision {}, ONNX Runtime {}",
            names.torch, names.torchvision, reference.version
        ),
        written,
        nodes: imported.report.nodes,
        operations: imported.report.operations,
        macs: made.macs,
        arena_bytes,
        agreement,
        rounded,
        beyond: beyond.map(|range| range.layer.clone()),
        pairs: low.layers.len(),
        macs_half: low.macs,
    })
}

/// Compares logits with those of f32, image by image.
fn agreement(found: &[&[f64]], reference: &[Vec<f64>]) -> Result<Agreement> {
    ensure!(found.len() == reference.len(), "{} answers to {} images", found.len(), reference.len());
    let mut agreement = Agreement { decided: 0, same: 0, difference: 0.0 };
    for (found, wanted) in found.iter().zip(reference) {
        ensure!(
            found.len() == wanted.len() && wanted.len() > 1,
            "{} logits where ONNX Runtime has {}",
            found.len(),
            wanted.len()
        );
        ensure!(wanted.iter().chain(*found).all(|value| value.is_finite()), "a logit is not finite");
        let largest = wanted.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let furthest = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        ensure!(largest > 0.0, "all logits are 0");
        agreement.difference = agreement.difference.max(furthest / largest);
        let (class, margin) = decision(wanted);
        if margin >= DECIDED * largest {
            agreement.decided += 1;
            agreement.same += usize::from(decision(found).0 == class);
        }
    }
    Ok(agreement)
}

/// The class with the largest logit, and how far it is above the next.
fn decision(logits: &[f64]) -> (usize, f64) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    (order[0], logits[order[0]] - logits[order[1]])
}

#[cfg(test)]
mod tests {
    use super::agreement;

    #[test]
    fn only_decided_classes_count() {
        let reference = [vec![1.0, 0.5, 0.2], vec![1.0, 0.995, 0.0], vec![-1.0, -2.0, -3.0]];
        let found = [[1.0, 0.5, 0.21], [0.99, 1.0, 0.0], [-2.0, -1.0, -3.0]];
        let found: Vec<&[f64]> = found.iter().map(|logits| &logits[..]).collect();
        let compared = agreement(&found, &reference).unwrap();
        assert_eq!((compared.decided, compared.same), (2, 1));
        assert!((compared.difference - 1.0 / 3.0).abs() < 1e-12, "{compared:?}");
        assert!(agreement(&found[..2], &reference).is_err());
        assert!(agreement(&[&[0.0, f64::NAN]], &[vec![0.0, 1.0]]).is_err());
        assert!(agreement(&[&[0.0, 1.0]], &[vec![0.0, 1.0, 2.0]]).is_err());
    }
}
