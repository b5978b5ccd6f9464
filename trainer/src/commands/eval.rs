//! `lrpet eval`: accuracy of a model file on the whole test set, in all and by class.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lrpet_data::Images;
use lrpet_network::export::{Folded, LayerRange, Ranges, range};
use lrpet_runtime::model::Model;
use lrpet_study::csv;
use lrpet_study::measure::{Tally, check_data, ranged_logits};
use lrpet_study::report::accuracy::{self, Tested};
use lrpet_study::report::units;
use lrpet_study::schema::Accuracy;
use lrpet_train::device::DeviceName;
use lrpet_train::folded::Engine;
use serde::Serialize;

use super::Output;
use super::bar::bar;
use super::device::DeviceArgs;
use super::folder_args;
use super::model_file::ModelFile;
use super::numbers::count;
use super::numbers::parse_resize;
use super::outputs;
use super::test_images::{self, SourceArgs, Trained};

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Data set from `lrpet data list`, or a folder of images per class: its test (or val) part, or the images that the
    /// training held back, or else all; of a folder of values (docs/data.md) the same
    #[arg(long, value_name = "NAME|DIR")]
    data: String,
    #[command(flatten)]
    test: TestArgs,
    /// What computes: the no_std runtime in f16, or candle in f32 with the same weights
    #[arg(long, value_enum, default_value = "runtime")]
    engine: EngineName,
    /// Write a page about the accuracy: by class, with the confusion matrix
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
    /// Write a table of the images that are classified wrong: file (or index in the data set), class, class said, its probability
    #[arg(long, value_name = "FILE.csv")]
    wrong: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What images a model is tested on, besides the name of their data set.
#[derive(clap::Args)]
pub struct TestArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only so many images of the test set: the first ones, or of a folder some of every class
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    limit: Option<u32>,
    /// Resize the short side of a folder's pictures to this many times the model's size, then take the centre [default: what
    /// the model's card says; where it says nothing, pictures must have the model's size]
    #[arg(long, value_name = "RATIO", value_parser = parse_resize)]
    test_resize: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum EngineName {
    Runtime,
    Candle,
}

#[derive(Serialize)]
struct Document {
    engine: EngineName,
    model: PathBuf,
    data: String,
    correct: u64,
    #[serde(flatten)]
    accuracy: Accuracy,
    seconds: f64,
    /// How far the values of each layer go in the runtime; empty for candle, whose f32 has no such end.
    ranges: Vec<LayerRange>,
}

/// The images of a test.
pub struct Test {
    /// The images that are taken.
    pub images: Images,
    /// How many there are in all.
    pub all: usize,
}

impl Test {
    /// What a tally of these images says.
    pub fn accuracy(&self, tally: &Tally) -> Accuracy {
        let of = (self.images.len() < self.all).then_some(self.all as u64);
        Accuracy { of, ..tally.accuracy(self.images.classes()) }
    }
}

impl TestArgs {
    /// The test images of `data` for `model`, which is the file `file`.
    pub fn images(&self, data: &str, model: &Model<'_>, file: &Path) -> Result<Test> {
        let card = Trained::of_model(model, file);
        let test_resize = self.test_resize.or(card.test_resize);
        let trained = Trained { other_classes: self.source.other_classes, test_resize, ..card };
        let test = match folder_args::values_folder(data, self.source.data_dir.as_deref())? {
            Some(folder) => {
                ensure!(
                    self.test_resize.is_none(),
                    "--test-resize is about pictures, and {} holds values",
                    folder.display()
                );
                let classes = model.program().header().classes as usize;
                test_images::values(&folder, &self.source, classes, trained.test_share)?.into()
            }
            None => test_images::load(data, &self.source, &trained)?,
        };
        let all = test.len();
        let images = match self.limit {
            Some(limit) => test.limited(limit as usize),
            None => test,
        };
        ensure!(!images.is_empty(), "{data}: no test image");
        Ok(Test { images, all })
    }
}

/// What `model`, which is the file `file`, says of the images `test`; `engine` computes, or else the runtime, whose values are watched.
pub fn tally(
    model: &Model<'_>,
    file: &Path,
    test: &Images,
    engine: Option<&Engine<'_>>,
) -> Result<(Tally, Ranges)> {
    let bar = bar(test.len(), "images");
    let mut tally = Tally::new(model.program().header().classes as usize);
    let mut ranges = Ranges::default();
    test.try_for_each_part(|part, indices| -> Result<()> {
        check_data(model, part).with_context(|| file.display().to_string())?;
        let logits = match engine {
            None => {
                let (logits, seen) = ranged_logits(model, part, |images| bar.inc(images as u64))?;
                ranges.join(&seen);
                logits
            }
            Some(engine) => engine.logits(part.clone())?,
        };
        tally.add(&logits, part.labels(), indices);
        Ok(())
    })?;
    bar.finish_and_clear();
    ensure!(tally.images() > 0, "none of the {} test images can be read", test.len());
    Ok((tally, ranges))
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    ensure!(
        matches!((args.engine, args.device.device), (EngineName::Candle, _) | (_, DeviceName::Cpu)),
        "the runtime runs on the CPU alone: give --engine candle with --device {}",
        args.device.device
    );
    let written: Vec<&Path> = args.page.iter().chain(&args.wrong).map(PathBuf::as_path).collect();
    outputs::check(&written, &[&args.model, Path::new(&args.data)])?;
    let device = args.device.open()?;
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let test = args.test.images(&args.data, &model, &args.model)?;
    let start = Instant::now();
    let folded = match args.engine {
        EngineName::Runtime => None,
        EngineName::Candle => Some(Folded::from_model(&model)?),
    };
    let engine = folded.as_ref().map(|folded| Engine::new(folded, &device)).transpose()?;
    let (tally, ranges) = tally(&model, &args.model, &test.images, engine.as_ref())?;
    let document = Document {
        engine: args.engine,
        model: args.model,
        data: args.data,
        correct: tally.correct(),
        accuracy: test.accuracy(&tally),
        seconds: start.elapsed().as_secs_f64(),
        ranges: ranges.of(&model),
    };
    // The figures took long: they are printed even where a file cannot be written after all.
    let page = args.page.as_deref().map_or(Ok(()), |path| outputs::write(path, document.page()));
    let wrong =
        args.wrong.as_deref().map_or(Ok(()), |path| outputs::write(path, wrong(&tally, &test.images)));
    output.print(&document, text)?;
    page.and(wrong)
}

/// The images that were classified wrong, a line each.
fn wrong(tally: &Tally, test: &Images) -> String {
    let class = |class: u32| test.classes().get(class as usize).cloned().unwrap_or_default();
    let mut table = csv::line(["image", "class", "said", "probability"]);
    for wrong in tally.wrong() {
        let image = match test.path(wrong.index) {
            Some(path) => path.display().to_string(),
            None => wrong.index.to_string(),
        };
        let probability = format!("{:.4}", wrong.probability);
        table += &csv::line([image, class(wrong.class), class(wrong.said), probability]);
    }
    table
}

impl Document {
    fn page(&self) -> String {
        let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let tested = Tested {
            model: &name(&self.model),
            data: &name(Path::new(&self.data)),
            engine: match self.engine {
                EngineName::Runtime => "runtime, f16",
                EngineName::Candle => "candle, f32",
            },
            command: &super::command_line(),
        };
        accuracy::page(&tested, &self.accuracy)
    }
}

fn text(done: &Document) -> String {
    let percent = 100.0 * done.accuracy.accuracy;
    let top5 = done.accuracy.top5.map(|share| format!(", {} among the first five", units::percent(share)));
    format!(
        "{percent:.2} % of {} ({} right{}), {:.1} s\n{}\n{}",
        done.accuracy.tested(),
        done.correct,
        top5.unwrap_or_default(),
        done.seconds,
        range::warnings(&done.ranges),
        accuracy::text(&done.accuracy)
    )
}
