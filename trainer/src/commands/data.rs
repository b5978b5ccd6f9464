//! `lrpet data`: list, get and describe data sets.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use lrpet_trainer::data::get::{self, Counts, Summary};

use super::Output;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages].
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// The data sets that are known, and where they are on this machine.
    List,
    /// Make a data set available: find its files, or fetch them, and check them.
    Get {
        /// Name from `lrpet data list`.
        name: String,
    },
    /// Shape, classes, counts and statistics of a data set.
    Info {
        /// Name from `lrpet data list`.
        name: String,
    },
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let dir = args.data_dir.as_deref();
    match args.action {
        Action::List => output.print(&get::list(dir), |sets| list_text(sets)),
        Action::Get { name } => output.print(&get::get(&name, dir)?, info_text),
        Action::Info { name } => output.print(&get::info(&name, dir)?, info_text),
    }
}

fn list_text(sets: &[Summary]) -> String {
    let mut text = String::new();
    for set in sets {
        let place = match &set.folder {
            Some(folder) => folder.display().to_string(),
            None => format!("not here: lrpet data get {}", set.name),
        };
        let _ = writeln!(text, "{:<16}{}\n{:<16}{place}", set.name, set.about, "");
    }
    text
}

fn info_text(counts: &Counts) -> String {
    let set = &counts.summary;
    let [c, h, w] = set.shape;
    let mut text = format!("{}: {}\n", set.name, set.about);
    if let Some(folder) = &set.folder {
        let _ = writeln!(text, "in       {}", folder.display());
    }
    let _ = writeln!(text, "images   {} training, {} test, {c}×{h}×{w}", counts.train, counts.test);
    let _ = writeln!(text, "mean     {:?}\nstd      {:?}", set.mean, set.std);
    for (class, name) in set.classes.iter().enumerate() {
        let (train, test) = (counts.train_by_class[class], counts.test_by_class[class]);
        let _ = writeln!(text, "class {class:<3}{name:<14}{train:>7} training{test:>7} test");
    }
    text
}
