//! `lrpet run`: inferences on pictures or on files of values, with the runtime.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use lrpet_data::input::{self, Input, InputError};
use lrpet_report::{visible, visible_path};
use lrpet_runtime::host::{AlignedBytes, labels, output_names, softmax, top_k};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, OutputKind, Shape};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_study::csv;
use lrpet_study::report::units;
use rayon::prelude::*;
use serde::Serialize;

use super::Output;
use super::model_file::ModelFile;
use super::numbers::count;
use super::numbers::parse_resize;
use super::outputs;
use super::test_images;

/// Inputs that are read at once.
const AT_ONCE: usize = 64;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Pictures, folders of pictures, or files of values, as for --input
    #[arg(value_name = "FILE|DIR")]
    inputs: Vec<PathBuf>,
    /// Picture of any size (PNG, JPEG, WebP, BMP, TIFF), which is prepared as in the tests of the training; folder of such
    /// pictures; or `.npy` of f32 N×C×H×W that is normalised already, or of u8 N×H×W×C, which are pixels. May be given several times
    #[arg(long, value_name = "FILE|DIR", required_unless_present = "inputs")]
    input: Vec<PathBuf>,
    /// Number of classes to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count::<usize>)]
    top: usize,
    /// Write a row for each image to this file: file, classes and probabilities, or what is wrong with it
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Resize a picture's short side to this many times the model's size, then take the centre [default: what the model's
    /// card says; where it says nothing, pictures must have the model's size]
    #[arg(long, value_name = "RATIO", value_parser = parse_resize)]
    test_resize: Option<f64>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f32,
}

/// One of several outputs.
#[derive(Serialize)]
struct Given {
    name: String,
    /// Channels, height and width.
    shape: [u32; 3],
    /// C×H×W.
    values: Vec<f32>,
}

/// The result for one image.
#[derive(Serialize)]
struct Answer {
    /// The file, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Number in its file, where that holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<usize>,
    /// The result, C×H×W; the first of several.
    logits: Vec<f32>,
    /// Its channels, height and width.
    shape: [u32; 3],
    /// All results, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<Given>,
    /// The likeliest classes; none where the result is values.
    top: Vec<Class>,
}

/// A file that could not be used.
#[derive(Serialize)]
struct Failed {
    file: PathBuf,
    reason: String,
}

/// One answer stands by itself; several are listed.
#[derive(Serialize)]
#[serde(untagged)]
enum Document {
    One(Answer),
    Several {
        images: Vec<Answer>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        failed: Vec<Failed>,
    },
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let inputs: Vec<&Path> = args.input.iter().chain(&args.inputs).map(PathBuf::as_path).collect();
    let csv: Vec<&Path> = args.csv.iter().map(PathBuf::as_path).collect();
    outputs::check(&csv, &[&[args.model.as_path()], &inputs[..]].concat())?;
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let name = || args.model.display().to_string();
    let test_resize = args.test_resize.or_else(|| test_images::card_number(&model, test_images::TEST_RESIZE));
    let mut files = Vec::new();
    for input in args.input.iter().chain(&args.inputs) {
        files.extend(input::input_files(input)?);
    }
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| anyhow::anyhow!("{error}"));
    let mut arena = AlignedBytes::zeroed(plan.with_context(name)?.arena_bytes);
    let session = Session::new(&model, arena.as_mut_slice()).map_err(|error| anyhow::anyhow!("{error}"));
    let mut session = session.with_context(name)?;
    let header = model.program().header();
    let shape = header.input;
    // A result of values has no classes, and may be long.
    let (labels, top) = match header.result {
        OutputKind::Classes => (labels(&model), args.top),
        OutputKind::Values => (Vec::new(), 0),
    };
    ensure!(
        args.csv.is_none() || header.result == OutputKind::Classes,
        "{}: its result is values, and --csv is a table of classes: --json prints values",
        name()
    );

    let names = output_names(&model);
    let alone = files.len() == 1;
    let mut results = Vec::with_capacity(files.len());
    let mut logits = vec![0.0; session.classes()];
    for part in files.chunks(AT_ONCE) {
        let read: Vec<Result<Input, InputError>> =
            part.par_iter().map(|file| input::read_input(file, header.kind, shape, test_resize)).collect();
        for (file, input) in part.iter().zip(read) {
            let found = input.map_err(anyhow::Error::from).and_then(|input| {
                let mut infer = |images: Vec<Image>| -> Result<Vec<Answer>> {
                    let several = images.len() > 1;
                    let mut found = Vec::with_capacity(images.len());
                    for (number, image) in images.iter().enumerate() {
                        match image {
                            Image::Pixels(pixels) => session.run_image(pixels, &mut logits, &mut ())?,
                            Image::Values(values) => session.run_values(values, &mut logits, &mut ())?,
                        }
                        found.push(Answer {
                            file: (!alone).then(|| file.clone()),
                            image: several.then_some(number),
                            ..answer(&model, &logits, &names, &labels, top)
                        });
                    }
                    Ok(found)
                };
                infer(images(input)).with_context(|| file.display().to_string())
            });
            match found {
                Err(error) if alone => return Err(error),
                found => results.push((file.clone(), found.map_err(|error| reason(&error, file)))),
            }
        }
    }
    let table = || table(&results, args.top.min(labels.len()));
    let written = args.csv.as_deref().map_or(Ok(()), |csv| outputs::write(csv, table()));
    let document = Document::of(results, alone);
    output.print(&document, text)?;
    written?;
    match document {
        Document::Several { failed, .. } if !failed.is_empty() => {
            bail!("{} of {} could not be used", failed.len(), units::things(files.len() as u64, "file"))
        }
        _ => Ok(()),
    }
}

/// One image of a file.
enum Image {
    Pixels(Vec<u8>),
    Values(Vec<f32>),
}

fn images(input: Input) -> Vec<Image> {
    match input {
        Input::Images(images) => images.into_iter().map(Image::Pixels).collect(),
        Input::Values(images) => images.into_iter().map(Image::Values).collect(),
    }
}

/// What came of each file.
type Results = Vec<(PathBuf, Result<Vec<Answer>, String>)>;

impl Document {
    fn of(results: Results, alone: bool) -> Document {
        let (mut images, mut failed) = (Vec::new(), Vec::new());
        for (file, found) in results {
            match found {
                Ok(found) => images.extend(found),
                Err(reason) => failed.push(Failed { file, reason }),
            }
        }
        match images.len() {
            1 if alone => Document::One(images.remove(0)),
            _ => Document::Several { images, failed },
        }
    }
}

/// What is wrong with `file`, without its name.
fn reason(error: &anyhow::Error, file: &Path) -> String {
    let whole = format!("{error:#}");
    let name = format!("{}: ", file.display());
    whole.strip_prefix(&name).map(str::to_owned).unwrap_or(whole)
}

/// The result of `model` for one image, as its outputs; `names` are theirs.
fn answer(model: &Model<'_>, result: &[f32], names: &[String], labels: &[String], top: usize) -> Answer {
    let given = |((shape, values), name): ((Shape, &[f32]), &String)| Given {
        name: name.clone(),
        shape: shape.axes(),
        values: values.to_vec(),
    };
    let mut outputs: Vec<Given> = model.program().split(result).zip(names).map(given).collect();
    let (shape, logits) = match &outputs[..] {
        [first, _, ..] => (first.shape, &result[..first.values.len()]),
        _ => (model.program().header().output.axes(), result),
    };
    if outputs.len() < 2 {
        outputs.clear();
    }
    let probabilities = if top > 0 { softmax(logits) } else { Vec::new() };
    let class =
        |class: usize| Class { class, label: labels[class].clone(), probability: probabilities[class] };
    let top = top_k(logits, top).into_iter().map(class).collect();
    Answer { file: None, image: None, logits: logits.to_vec(), shape, outputs, top }
}

/// Values that are shown of a result; `--json` has all.
const SHOWN: usize = 16;

/// The first values of a result, and its shape; of several each in a line.
fn values(answer: &Answer) -> String {
    let one = |[c, h, w]: [u32; 3], values: &[f32]| {
        let first: Vec<String> = values.iter().take(SHOWN).map(|value| format!("{value:.6}")).collect();
        let more = if values.len() > SHOWN { ", … (--json has all)" } else { "" };
        format!("{c}×{h}×{w}: {}{more}", first.join(", "))
    };
    if answer.outputs.is_empty() {
        return one(answer.shape, &answer.logits);
    }
    let named = |output: &Given| format!("{} {}", visible(&output.name), one(output.shape, &output.values));
    answer.outputs.iter().map(named).collect::<Vec<_>>().join("\n")
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    match document {
        Document::One(answer) if answer.top.is_empty() => {
            let _ = writeln!(text, "{}", values(answer));
        }
        Document::One(answer) => {
            for Class { class, label, probability } in &answer.top {
                let _ = writeln!(
                    text,
                    "{:>7.2} %  {} (class {class}, logit {:.4})",
                    100.0 * probability,
                    visible(label),
                    answer.logits[*class]
                );
            }
        }
        Document::Several { images, failed } => {
            for answer in images {
                let Answer { file, image, top, .. } = answer;
                let file = file.as_ref().map(|file| visible_path(file));
                let number = image.map(|number| format!("image {number}"));
                let name: Vec<String> = file.into_iter().chain(number).collect();
                let class =
                    |class: &Class| format!("{} {:.2} %", visible(&class.label), 100.0 * class.probability);
                let classes: Vec<String> = top.iter().map(class).collect();
                let shown = if top.is_empty() { values(answer) } else { classes.join(", ") };
                let _ = writeln!(text, "{}: {shown}", name.join(" "));
            }
            for Failed { file, reason } in failed {
                let _ = writeln!(text, "{}: {}", visible_path(file), visible(reason));
            }
        }
    }
    text
}

/// The rows of a CSV file (RFC 4180), in order of the files.
fn table(results: &Results, top: usize) -> String {
    let mut head: Vec<String> = vec!["file".into(), "image".into()];
    for place in 1..=top {
        let behind = if place == 1 { String::new() } else { format!("_{place}") };
        head.extend(["class", "label", "probability"].map(|name| format!("{name}{behind}")));
    }
    head.push("error".into());
    let mut rows = vec![head];
    for (file, found) in results {
        let row = |image: String, classes: Vec<String>, error: &str| {
            let mut row = vec![file.display().to_string(), image];
            row.extend(classes);
            row.resize(2 + 3 * top, String::new());
            row.push(error.to_owned());
            row
        };
        match found {
            Ok(answers) => rows.extend(answers.iter().map(|answer| {
                let values =
                    |of: &Class| [of.class.to_string(), of.label.clone(), format!("{:.6}", of.probability)];
                let image = answer.image.map_or(String::new(), |number| number.to_string());
                row(image, answer.top.iter().flat_map(values).collect(), "")
            })),
            Err(reason) => rows.push(row(String::new(), Vec::new(), reason)),
        }
    }
    rows.into_iter().map(csv::line).collect()
}
