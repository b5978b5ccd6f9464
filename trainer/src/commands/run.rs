//! `lrpet run`: one inference on a picture or a file of values, with the runtime.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lrpet_runtime::host::{AlignedBytes, softmax, top_k};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_trainer::measure::{self, Input};
use serde::Serialize;

use super::Output;
use super::model_file::{ModelFile, labels};
use super::test_images::TEST_RESIZE;

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// PNG or JPEG of the model's size (of any size where the network was trained on a folder of images: it is resized
    /// and cropped as for testing), or `.npy` of f32 N×C×H×W that is normalised already
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Number of classes to show
    #[arg(long, default_value_t = 5)]
    top: usize,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f32,
}

/// The result for one image.
#[derive(Serialize)]
struct Answer {
    logits: Vec<f32>,
    top: Vec<Class>,
}

/// One answer stands by itself; those of an array of several images are listed.
#[derive(Serialize)]
#[serde(untagged)]
enum Document {
    One(Answer),
    Several { images: Vec<Answer> },
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let name = || args.model.display().to_string();
    let test_resize = model.container().metadata_value(TEST_RESIZE);
    let test_resize = test_resize.and_then(|value| value.to_string().parse().ok());
    let input = measure::read_input(&args.input, model.program().header().input, test_resize)?;
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| anyhow::anyhow!("{error}"));
    let mut arena = AlignedBytes::zeroed(plan.with_context(name)?.arena_bytes);
    let session = Session::new(&model, arena.as_mut_slice()).map_err(|error| anyhow::anyhow!("{error}"));
    let mut session = session.with_context(name)?;
    let labels = labels(&model);

    let mut logits = vec![0.0; session.classes()];
    let one = match input {
        Input::Image(pixels) => {
            session.run_image(&pixels, &mut logits, &mut ())?;
            Document::One(answer(&logits, &labels, args.top))
        }
        Input::Values(images) => {
            let mut answers = Vec::with_capacity(images.len());
            for values in &images {
                let done = session.run_values(values, &mut logits, &mut ());
                done.with_context(|| args.input.display().to_string())?;
                answers.push(answer(&logits, &labels, args.top));
            }
            match answers.len() {
                1 => Document::One(answers.remove(0)),
                _ => Document::Several { images: answers },
            }
        }
    };
    output.print(&one, text)
}

fn answer(logits: &[f32], labels: &[String], top: usize) -> Answer {
    let probabilities = softmax(logits);
    let class =
        |class: usize| Class { class, label: labels[class].clone(), probability: probabilities[class] };
    Answer { logits: logits.to_vec(), top: top_k(logits, top).into_iter().map(class).collect() }
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let answers = match document {
        Document::One(answer) => std::slice::from_ref(answer),
        Document::Several { images } => images,
    };
    for (index, answer) in answers.iter().enumerate() {
        if answers.len() > 1 {
            let _ = writeln!(text, "image {index}");
        }
        for Class { class, label, probability } in &answer.top {
            let _ = writeln!(
                text,
                "{:>7.2} %  {label} (class {class}, logit {:.4})",
                100.0 * probability,
                answer.logits[*class]
            );
        }
    }
    text
}
