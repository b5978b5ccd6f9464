//! `lrpet data`: list, get, describe and check data sets.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Subcommand;
use lrpet_data::Folder;
use lrpet_data::check::{self, PartReport, Report};
use lrpet_data::folder::names;
use lrpet_data::get::{self, Counts, Summary};
use lrpet_data::values;
use lrpet_report::{visible, visible_path};
use lrpet_study::report::{columns, units};

use super::Output;
use super::bar::bar;
use super::folder_args::{PlaceArgs, values_folder};
use super::numbers::part;

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
    /// Decode every image of a folder with a folder per class: classes, counts, sizes, and files that cannot be read.
    Check {
        /// Folder with train/CLASS and test/CLASS (or val), or with class folders alone.
        dir: PathBuf,
        #[command(flatten)]
        places: PlaceArgs,
        /// Share of each class that is held back for testing where there is no folder for it [default: 0.2].
        #[arg(long, value_name = "SHARE", conflicts_with = "test_data", value_parser = part)]
        test_share: Option<f64>,
    },
    /// Shape, classes, counts and statistics of a data set, or of a folder of values.
    Info {
        /// Name from `lrpet data list`, or a folder with train_x.npy and train_y.npy (docs/data.md).
        name: String,
    },
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let dir = args.data_dir.as_deref();
    match args.action {
        Action::List => output.print(&get::list(dir), |sets| list_text(sets)),
        Action::Check { dir: folder, places, test_share } => {
            check(&Folder::find(&places.ask(&folder, test_share))?, &folder, output)
        }
        Action::Get { name } => output.print(&get::get(&name, dir)?, info_text),
        Action::Info { name } => match values_folder(&name, dir).ok().flatten() {
            Some(folder) => info_of_values(&folder, output),
            None => output.print(&get::info(&name, dir)?, info_text),
        },
    }
}

/// Reports on `found`, the images below `folder`; files that cannot be read are an error, after the report.
fn check(found: &Folder, folder: &Path, output: &Output) -> Result<()> {
    for (what, part) in found.parts() {
        eprintln!("{}", part.line(what));
    }
    let bar = bar(found.parts().map(|(_, part)| part.files.len()).sum(), "images decoded");
    let report = check::check(found, || bar.inc(1));
    bar.finish_and_clear();
    output.print(&report, check_text)?;
    match report.bad() {
        0 => Ok(()),
        bad => {
            anyhow::bail!("{}: {} cannot be read", visible_path(folder), units::things(bad as u64, "image"))
        }
    }
}

fn check_text(report: &Report) -> String {
    let mut text =
        format!("{}: {}\n", visible(&report.name), units::things(report.classes.len() as u64, "class"));
    if let Some(share) = report.test_share {
        let _ = writeln!(text, "no test folder: {share} of each class is held back for testing");
    }
    report.parts.iter().for_each(|part| part_text(part, report, &mut text));
    let class = |(class, name): (usize, &String)| {
        let counts = report.parts.iter().map(|part| format!("{} {}", part.by_class[class], part.part));
        [format!("class {class}"), names::shown(name)].into_iter().chain(counts).collect()
    };
    text += &columns(&report.classes.iter().enumerate().map(class).collect::<Vec<_>>(), 2);
    if report.unequal > 1.0 {
        let _ = writeln!(
            text,
            "the largest class has {:.1} times the training images of the smallest",
            report.unequal
        );
    }
    for [a, b] in &report.alike {
        let _ = writeln!(text, "names alike: {a} and {b}");
    }
    for warning in report.copies.warnings() {
        let _ = writeln!(text, "copies: {warning}");
    }
    if report.copies.training.count > 0 {
        let copies = match report.copies.training.count {
            1 => "1 training image is a copy of another".to_owned(),
            many => format!("{many} training images are copies of others"),
        };
        let _ = writeln!(text, "copies: {copies}");
    }
    text
}

fn part_text(part: &PartReport, report: &Report, text: &mut String) {
    let ([h, w], [height, width]) = (part.smallest, part.largest);
    let _ = writeln!(
        text,
        "{:<11}{} in {} from {h}×{w} to {height}×{width} (height × width), {} of them grey, of {}",
        part.part,
        units::things(part.images as u64, "image"),
        units::things(part.sizes as u64, "size"),
        part.grey,
        part.source
    );
    for bad in &part.bad {
        let _ = writeln!(text, "  bad      {}: {}", visible_path(&bad.file), visible(&bad.reason));
    }
    for ignored in &part.ignored {
        let _ = writeln!(text, "  ignored  {}", visible_path(&ignored.file));
    }
    for (class, count) in part.ignored_by_class.iter().enumerate().filter(|(_, count)| **count > 0) {
        let _ = writeln!(
            text,
            "  ignored  {} of class {}",
            units::things(*count as u64, "file"),
            names::shown(&report.classes[class])
        );
    }
    for (ending, count) in &part.not_read {
        let _ = writeln!(
            text,
            "  not read {} with the ending .{ending}: to be converted first",
            units::things(*count as u64, "picture")
        );
    }
    for folder in &part.left_out {
        let _ = writeln!(text, "  left out {}", visible(folder));
    }
}

/// What a folder of values holds.
fn info_of_values(folder: &Path, output: &Output) -> Result<()> {
    let ask = values::Ask { folder, classes: None, test_share: values::TEST_SHARE };
    let found = values::find(&ask)?.summary();
    output.print(&found, |found| values_text(folder, found))
}

fn values_text(folder: &Path, found: &values::Summary) -> String {
    let [c, h, w] = found.shape;
    let mut text = format!(
        "{}: values, {} training, {} test, {c}×{h}×{w}\n",
        visible_path(folder),
        found.train,
        found.test
    );
    if let Some(share) = found.test_share {
        let _ = writeln!(text, "no test_x.npy: {share} of each class is held back for testing");
    }
    let channel = |(at, of): (usize, &values::Channel)| {
        let values::Channel { mean, std, least, largest } = of;
        vec![
            format!("channel {at}"),
            format!("mean {mean:.4}"),
            format!("std {std:.4}"),
            format!("from {least} to {largest}"),
        ]
    };
    text += &columns(&found.channels.iter().enumerate().map(channel).collect::<Vec<_>>(), 1);
    let counts = found.train_by_class.iter().zip(&found.test_by_class).enumerate();
    let class = |(class, (train, test)): (usize, (&usize, &usize))| {
        vec![format!("class {class}"), format!("{train} training"), format!("{test} test")]
    };
    text + &columns(&counts.map(class).collect::<Vec<_>>(), 1)
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
    let class = |(class, name): (usize, &&str)| {
        let (train, test) = (counts.train_by_class[class], counts.test_by_class[class]);
        vec![
            format!("class {class}"),
            (*name).to_owned(),
            format!("{train} training"),
            format!("{test} test"),
        ]
    };
    text + &columns(&set.classes.iter().enumerate().map(class).collect::<Vec<_>>(), 2)
}
