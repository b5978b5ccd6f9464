//! `lrpet report`: one page of one or several `report.json`, or of a sweep.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lrpet_trainer::atomic;
use lrpet_trainer::report;
use lrpet_trainer::sweep::Sweep;

use super::Output;

#[derive(clap::Args)]
pub struct Args {
    /// Any number of: `report.json` files, folders that hold one, and what `lrpet bench --json`, `lrpet flash --port … --json` and
    /// `lrpet-run bench --json` printed. They are merged; models of the same bytes become one. Or the folder of one `lrpet sweep`
    #[arg(required = true)]
    sources: Vec<PathBuf>,
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
    let report = report::load_all(&args.sources)?;
    write(&out, report::html(&report))?;
    output
        .print(&report, |report| if args.markdown { report::markdown(report) } else { report::text(report) })
}

/// The sweep that is named; none where these are other reports.
fn sweep(sources: &[PathBuf]) -> Result<Option<Sweep>> {
    for source in sources {
        let named = source.file_name().is_some_and(|name| name == lrpet_trainer::sweep::FILE_NAME);
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
    write(out, html(sweep))?;
    write(&out.with_extension("svg"), svg(sweep))?;
    if args.png {
        write(&out.with_extension("png"), png(sweep)?)?;
    }
    output.print(sweep, |sweep| if args.markdown { markdown(sweep) } else { text(sweep) })
}

fn write(file: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    atomic::write(file, bytes.as_ref()).with_context(|| format!("cannot write {}", file.display()))?;
    tracing::info!("wrote {}", file.display());
    Ok(())
}
