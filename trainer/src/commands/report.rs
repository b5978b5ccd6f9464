//! `lrpet report`: one page of one or several `report.json`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lrpet_trainer::atomic;
use lrpet_trainer::report;

use super::Output;

#[derive(clap::Args)]
pub struct Args {
    /// Any number of: `report.json` files, folders that hold one, and what `lrpet bench --json`, `lrpet flash --port … --json` and
    /// `lrpet-run bench --json` printed. They are merged; models of the same bytes become one
    #[arg(required = true)]
    sources: Vec<PathBuf>,
    /// File to write [default: report.html beside the first source]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the table as markdown
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let report = report::load_all(&args.sources)?;
    let out = args.out.unwrap_or_else(|| {
        let first = &args.sources[0];
        if first.is_dir() { first.join("report.html") } else { first.with_file_name("report.html") }
    });
    let page = report::html(&report);
    atomic::write(&out, page.as_bytes()).with_context(|| format!("cannot write {}", out.display()))?;
    tracing::info!("wrote {}", out.display());
    output
        .print(&report, |report| if args.markdown { report::markdown(report) } else { report::text(report) })
}
