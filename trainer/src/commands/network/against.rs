//! `lrpet network check --against`: an imported network beside the ONNX file that it was made of.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use lrpet_network::export::reference::{Storage, logits};
use lrpet_network::export::{self, Card, Precision, Request, Samples, values};
use lrpet_network::import::Origin;
use lrpet_network::lrpet::RankPlan;
use lrpet_network::network::Network;
use lrpet_network::source::is_onnx;
use lrpet_network::{Checkpoint, Normalization, bounded, read_weights};
use lrpet_report::visible;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Method;
use lrpet_runtime::model::Shape;
use serde::Serialize;

use super::import::WEIGHTS;

/// Inputs that are compared.
const INPUTS: usize = 8;
/// Difference that sums in f32 explain, as a share of the largest value of the results.
const CLOSE: f64 = 1e-3;
/// Results that are smaller count as this large.
const SMALL: f64 = 1e-2;
/// Where ONNX Runtime may be: in the environment of this repository, or in Python's own packages.
const PYTHONS: [&str; 2] = ["target/venv/bin/python", "python3"];
const SCRIPT: &str = include_str!("onnxruntime.py");

/// What a network is held against.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Engine {
    /// ONNX Runtime, which runs the ONNX file itself.
    Onnxruntime,
}

/// What came of it.
#[derive(Serialize)]
pub struct Compared {
    /// The ONNX file.
    onnx: PathBuf,
    /// Version of ONNX Runtime; none where Python has none.
    onnxruntime: Option<String>,
    /// Inputs of normal random values.
    inputs: usize,
    /// Magnitude of the largest value of the network's results.
    largest: f64,
    /// Largest difference of ONNX Runtime from the network, computed in f64.
    difference: Option<f64>,
    /// Largest difference of the runtime from the network, computed in f64: what f16 loses.
    runtime_difference: f64,
    /// The difference that is allowed of ONNX Runtime.
    allowed: f64,
    /// Whether it is kept, of each output; none without ONNX Runtime.
    same: Option<bool>,
    /// Of several outputs each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<OfOutput>,
    /// What else is to be known.
    notes: Vec<String>,
}

/// How one output compares with ONNX Runtime's.
#[derive(Serialize)]
struct OfOutput {
    name: String,
    /// Magnitude of its largest value.
    largest: f64,
    /// Largest difference.
    difference: f64,
    /// What is allowed.
    allowed: f64,
}

/// Each output of `network` by itself, in `expected` and `found` of each input one after another.
fn one_by_one(network: &Network, expected: &[Vec<f64>], found: &[Vec<f32>]) -> Vec<OfOutput> {
    let mut first = 0;
    let one = |(name, shape): (String, Shape)| {
        let values = first..first + shape.len();
        first = values.end;
        let expected: Vec<Vec<f64>> = expected.iter().map(|all| all[values.clone()].to_vec()).collect();
        let found: Vec<Vec<f32>> = found.iter().map(|all| all[values.clone()].to_vec()).collect();
        let largest = expected.iter().flatten().fold(0.0, |most: f64, value| most.max(value.abs()));
        let (difference, allowed) = (furthest(&expected, &found), CLOSE * largest.max(SMALL));
        OfOutput { name, largest, difference, allowed }
    };
    network.outputs().into_iter().map(one).collect()
}

/// Compares the network in `path`, a folder that `lrpet network import` wrote or an ONNX file, with the file that it was made of, or
/// with `given`.
pub fn compare(path: &Path, network: &Network, given: Option<&Path>) -> Result<Compared> {
    let weights = match path {
        folder if folder.is_dir() => folder.join(WEIGHTS),
        file if is_onnx(file) => file.to_owned(),
        _ => bail!(
            "{}: --against is of imported networks: name the folder that lrpet network import wrote, or an ONNX file",
            path.display()
        ),
    };
    let checkpoint = read_weights(&weights)?;
    let origin = Origin::remembered(&checkpoint.metadata).with_context(|| {
        format!(
            "{}: it does not say which ONNX file it was made of: import that again, with lrpet network import",
            weights.display()
        )
    })?;
    let mut notes = Vec::new();
    let file = given.unwrap_or(&origin.file);
    let bytes = bounded::read_whole(file).with_context(|| match given {
        Some(_) => format!("cannot read {}", file.display()),
        None => format!(
            "cannot read {}, of which {} was made: say where it is now by --onnx",
            file.display(),
            path.display()
        ),
    })?;
    if !origin.is(&bytes) {
        let other = "the file has changed since the network was imported";
        ensure!(
            given.is_some(),
            "{}: {other}; import it again, or name the older one by --onnx",
            file.display()
        );
        notes.push(other.to_owned());
    }
    let inputs = values::samples(network.input, INPUTS);
    let (expected, found) =
        ours(network, &checkpoint, &inputs).with_context(|| path.display().to_string())?;
    let largest = expected.iter().flatten().fold(0.0, |most: f64, value| most.max(value.abs()));
    let runtime_difference = furthest(&expected, &found);
    let allowed = CLOSE * largest.max(SMALL);
    let (mut difference, mut onnxruntime, mut same, mut outputs) = (None, None, None, Vec::new());
    match theirs(file, &origin, network, &inputs)? {
        Ok((version, found)) => {
            let count = |results: &[Vec<f32>]| results.first().map_or(0, Vec::len);
            let (values, of_network) = (count(&found), expected.first().map_or(0, Vec::len));
            ensure!(
                values == of_network,
                "{}: its result has {values} values, and the network's {of_network}: an ArgMax at its end is left out by the import, and \
                 the values that it compares cannot be seen",
                file.display()
            );
            (difference, onnxruntime) = (Some(furthest(&expected, &found)), Some(version));
            outputs = one_by_one(network, &expected, &found);
            same = Some(outputs.iter().all(|output| output.difference <= output.allowed));
        }
        Err(lacks) => notes.push(format!("{lacks}; the ONNX file itself was not run, only our own engines")),
    }
    let onnx = file.to_owned();
    Ok(Compared {
        onnx,
        onnxruntime,
        inputs: INPUTS,
        largest,
        difference,
        runtime_difference,
        allowed,
        same,
        outputs: if outputs.len() > 1 { outputs } else { Vec::new() },
        notes,
    })
}

impl Compared {
    /// Whether the network computes something else than the file.
    pub fn differs(&self) -> bool {
        self.same == Some(false)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let inputs = self.inputs;
        if let (Some(version), Some(difference)) = (&self.onnxruntime, self.difference) {
            let verdict = if self.differs() { "it computes something else" } else { "the same" };
            let _ = writeln!(
                text,
                "ONNX Runtime {version} on {inputs} inputs of normal random values: at most {difference:.2e} from the network in f64, of \
                 values up to {:.3}; {:.2e} is allowed: {verdict}",
                self.largest, self.allowed
            );
        }
        for OfOutput { name, largest, difference, allowed } in &self.outputs {
            let name = visible(name);
            let _ = writeln!(
                text,
                "  {name}: {difference:.2e} of values up to {largest:.3}; {allowed:.2e} is allowed"
            );
        }
        let _ = writeln!(
            text,
            "the runtime (f16): each layer agrees with sums in f64; its results are at most {:.2e} from the network in f64",
            self.runtime_difference
        );
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

/// Largest difference; infinite where one of the values is no number.
fn furthest(expected: &[Vec<f64>], found: &[Vec<f32>]) -> f64 {
    let pairs = expected.iter().flatten().zip(found.iter().flatten());
    pairs.fold(0.0, |most: f64, (a, b)| {
        let off = (a - f64::from(*b)).abs();
        if off.is_nan() { f64::INFINITY } else { most.max(off) }
    })
}

/// The values of each result.
type Results<T> = Vec<Vec<T>>;

/// What another engine computed, with its version; or what is lacking to run it.
type Theirs = std::result::Result<(String, Results<f32>), String>;

/// The network's results in f64, and the runtime's, whose layers are held against the reference.
fn ours(
    network: &Network,
    checkpoint: &Checkpoint,
    inputs: &[Vec<f32>],
) -> Result<(Results<f64>, Results<f32>)> {
    let one = network.input.channels as usize;
    let request = Request {
        network,
        checkpoint,
        plan: &RankPlan::dense(network),
        energy_transfer: false,
        // The inputs are normalised already.
        normalization: &Normalization { mean: vec![0.0; one], std: vec![1.0; one] },
        card: &Card::default(),
        precision: Precision::Half,
        samples: Some(Samples::Values { data: None, machine: None }),
    };
    let exported = export::export(&request)?;
    let expected = inputs.iter().map(|input| logits(&exported.folded, input, Storage::F64)).collect();
    let bytes = AlignedBytes::copy_of(&exported.to_bytes()?);
    let model = export::checked(bytes.as_slice(), "the exported model")?;
    let run =
        |input: &Vec<f32>| Ok(export::agreement::Trace::of_values(&model, input, Method::Fastest)?.logits);
    Ok((expected, inputs.iter().map(run).collect::<Result<_>>()?))
}

/// ONNX Runtime's version and results of `file`; or what Python lacks.
fn theirs(file: &Path, origin: &Origin, network: &Network, inputs: &[Vec<f32>]) -> Result<Theirs> {
    #[derive(serde::Deserialize)]
    struct Said {
        version: Option<String>,
        lacks: Option<String>,
    }
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let (from, to) = (folder.path().join("inputs"), folder.path().join("results"));
    let ordered = inputs.iter().flat_map(|input| origin.ordered(input, network.input.channels as usize));
    let bytes: Vec<u8> = ordered.flat_map(f32::to_le_bytes).collect();
    std::fs::write(&from, bytes).with_context(|| format!("cannot write {}", from.display()))?;
    let axes: Vec<String> = origin.axes.iter().map(usize::to_string).collect();
    let mut lacks = "there is no Python".to_owned();
    for python in PYTHONS {
        let mut command = Command::new(python);
        let names = serde_json::to_string(&origin.outputs().collect::<Vec<_>>())?;
        command.args(["-c", SCRIPT]).arg(file).args([&origin.input, &names, &axes.join("x")]);
        let Ok(done) = command.arg(&from).arg(&to).output() else { continue };
        let errors = String::from_utf8_lossy(&done.stderr);
        let last = errors.trim_end().lines().last().unwrap_or_default();
        ensure!(done.status.success(), "ONNX Runtime does not run {}: {last}", file.display());
        let said: Said = serde_json::from_slice(&done.stdout)
            .with_context(|| format!("{python} says no JSON of ONNX Runtime"))?;
        let Some(version) = said.version else {
            lacks = format!("Python has no ONNX Runtime ({})", said.lacks.unwrap_or_default());
            continue;
        };
        let results = std::fs::read(&to).with_context(|| format!("cannot read {}", to.display()))?;
        let results: Vec<f32> =
            results.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        let each = (results.len() / inputs.len()).max(1);
        let shapes: Vec<Shape> = network.outputs().into_iter().map(|(_, shape)| shape).collect();
        let ordered = results.chunks_exact(each).map(|results| origin.results(results, &shapes));
        return Ok(Ok((version, ordered.collect())));
    }
    Ok(Err(lacks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_far_from_all() {
        assert_eq!(furthest(&[vec![1.0, 2.0]], &[vec![1.5, 2.25]]), 0.5);
        assert_eq!(furthest(&[vec![1.0, 2.0]], &[vec![f32::NAN, 2.0]]), f64::INFINITY);
    }
}
