//! `lrpet report`: one page of what was measured, or is measured for it: of reports, trainings and model files, or of a sweep.

mod own;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use lrpet_study::boards::{Board, HOST};
use lrpet_study::report::{self, Report};
use lrpet_study::schema::sweep::Sweep;

use self::own::{Trained, Wanted};
use super::Output;
use super::eval::TestArgs;
use super::outputs;

#[derive(clap::Args)]
pub struct Args {
    /// Any number of: model files, which are measured now; folders of trainings (`lrpet train --out`), with the model files made of
    /// them that lie there, beside them or here; `report.json` files and folders that hold one; what `lrpet bench --json`,
    /// `lrpet flash --port … --json` and `lrpet-run bench --json` printed. They are merged; models of the same bytes become one. Or
    /// the folder of one `lrpet sweep`
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// Test the model files on this data set or folder of images per class
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    #[command(flatten)]
    test: TestArgs,
    /// Where the model files are measured: this machine (host) and emulated boards [default: host]
    #[arg(long, value_name = "B,…", value_delimiter = ',', value_parser = boards())]
    boards: Option<Vec<String>>,
    /// File to write; a sweep's charts go beside it as SVG [default: report.html beside the first source]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a sweep's charts as PNG too, with this system's fonts
    #[arg(long)]
    png: bool,
    /// Print the table as markdown
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| {
        let first = &args.sources[0];
        if first.is_dir() { first.join("report.html") } else { first.with_file_name("report.html") }
    });
    if let Some(sweep) = sweep(&args.sources)? {
        return of_sweep(&sweep, &args, &out, output);
    }
    ensure!(!args.png, "--png is for the charts of a sweep: name the folder of one");
    args.check(&[&out])?;
    let report = measured(&args)?;
    let written = write(&out, report::html(&report));
    output.print(
        &report,
        |report| if args.markdown { report::markdown(report) } else { report::text(report) },
    )?;
    written
}

impl Args {
    /// Looks at the outputs. A source that is not there is another error than a folder that is not there beside it.
    fn check(&self, written: &[&Path]) -> Result<()> {
        let data = self.data.as_deref().map(Path::new);
        let read: Vec<&Path> = self.sources.iter().map(PathBuf::as_path).chain(data).collect();
        if self.sources.iter().all(|source| source.exists()) {
            outputs::check(written, &read)
        } else {
            Ok(())
        }
    }
}

fn boards() -> PossibleValuesParser {
    Board::measurable_names().into()
}

/// All that is named, as one report; model files are measured for it.
fn measured(args: &Args) -> Result<Report> {
    let is_model =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors") && !path.is_dir();
    let (mut files, others): (Vec<PathBuf>, Vec<PathBuf>) = args.sources.iter().cloned().partition(is_model);
    let is_training = |path: &PathBuf| !path.join(report::FILE_NAME).exists() && report::is_run(path);
    let (folders, others): (Vec<PathBuf>, Vec<PathBuf>) = others.into_iter().partition(is_training);
    let mut trainings = Vec::new();
    for folder in &folders {
        let training = report::run_folder(folder)?;
        // Whoever names model files has named those that are meant.
        if args.sources.iter().all(|path| !is_model(path)) {
            let found = own::models_of(folder, &training)?;
            found.iter().for_each(|file| eprintln!("{}: its model is {}", folder.display(), file.display()));
            if found.is_empty() && !training.models.iter().all(|model| model.eval.is_none()) {
                let weights = folder.join(lrpet_train::FINAL);
                tracing::warn!(
                    "{}: no model file of this training is there, beside it or here, so its costs are not known; make one with `lrpet \
                     factorize {} --out MODEL.safetensors`",
                    folder.display(),
                    weights.display()
                );
            }
            files.extend(found);
        }
        trainings.push(Trained { as_trained: report::trained_as(folder)?, report: training });
    }
    let asked = args.data.is_some() || args.boards.is_some();
    ensure!(!files.is_empty() || !asked, "--data and --boards measure model files: name one");
    if files.is_empty() && trainings.len() < 2 && others.is_empty() {
        return Ok(trainings.pop().map(|training| training.report).unwrap_or_default());
    }
    let mut reports = Vec::new();
    if !files.is_empty() || !trainings.is_empty() {
        let host = [HOST.to_owned()];
        let wanted = Wanted {
            files: &files,
            data: args.data.as_deref(),
            test: &args.test,
            boards: args.boards.as_deref().unwrap_or(&host),
            trainings,
        };
        reports.push(("measured here".to_owned(), own::measure(wanted)?));
    }
    Ok(report::load_with(reports, &others)?)
}

/// The sweep that is named; none where these are other reports.
fn sweep(sources: &[PathBuf]) -> Result<Option<Sweep>> {
    for source in sources {
        let named = source.file_name().is_some_and(|name| name == lrpet_study::schema::sweep::FILE_NAME);
        let folder = if named { source.parent().unwrap_or(Path::new("")) } else { source };
        if let Some(sweep) = Sweep::read(folder)? {
            ensure!(sources.len() == 1, "{}: a sweep is shown alone", source.display());
            return Ok(Some(sweep));
        }
    }
    Ok(None)
}

fn of_sweep(sweep: &Sweep, args: &Args, out: &Path, output: &Output) -> Result<()> {
    use report::sweep::{html, markdown, png, svg, text};
    ensure!(!sweep.rows.is_empty(), "{}: no run of the sweep is finished yet", args.sources[0].display());
    let (vector, pixels) = (out.with_extension("svg"), out.with_extension("png"));
    args.check(&[out, &vector])?;
    let all = [out, vector.as_path(), pixels.as_path()];
    outputs::check(if args.png { &all } else { &all[..2] }, &[])?;
    let written = || {
        write(out, html(sweep))?;
        write(&vector, svg(sweep))?;
        if args.png { write(&pixels, png(sweep)?) } else { Ok(()) }
    };
    let written = written();
    output.print(sweep, |sweep| if args.markdown { markdown(sweep) } else { text(sweep) })?;
    written
}

fn write(file: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    outputs::write(file, bytes)?;
    tracing::info!("wrote {}", file.display());
    Ok(())
}
