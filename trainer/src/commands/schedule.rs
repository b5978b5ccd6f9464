//! `lrpet schedule`: how little memory a model can run in, and what that costs; writes the schedule into the model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lrpet_network::draw::draw_rows;
use lrpet_network::export::schedule::{choices, in_file, share};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::{Choice, Ram};
use lrpet_study::report::columns;
use serde::Serialize;

use super::Output;
use super::model_file::ModelFile;
use super::outputs;
use super::ram::{numbers, words};

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// The kernels of the core that the model is to run on
    #[arg(long, default_value = "cortex-m", value_parser = Isa::ALL.map(Isa::name))]
    isa: String,
    /// The arena that there is, such as 32KB; `least` for the smallest, `fastest` for layer by layer
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Write the model with this schedule (with --ram)
    #[arg(long, value_name = "FILE", requires = "ram")]
    out: Option<PathBuf>,
    /// Draw an inference in its memory: the rows of each value that there are, where they lie, and what less memory costs; of the
    /// schedule that --ram chooses, or else of the model's own
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One schedule.
#[derive(Serialize)]
struct Row {
    arena_bytes: usize,
    table_bytes: usize,
    activation_bytes: usize,
    scratch_bytes: usize,
    /// Estimated instructions, as a share of layer by layer.
    cost: f64,
    /// Of each stretch: operations, rows of a strip (0 for layers), pixels that an operation waits for, bytes of scratch (0 for what
    /// layers have). Operations behind the last are layers.
    stretches: Vec<[u16; 4]>,
    /// True of the schedule that was chosen.
    chosen: bool,
}

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    isa: &'static str,
    /// From layer by layer to the least memory.
    schedules: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    svg: Option<PathBuf>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let written: Vec<&Path> = args.out.iter().chain(&args.svg).map(PathBuf::as_path).collect();
    outputs::check(&written, &[&args.model])?;
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let isa = Isa::ALL.into_iter().find(|isa| isa.name() == args.isa).unwrap_or(Isa::CortexM);
    let choices = choices(&model, isa, &args.model.display().to_string())?;
    let chosen = args.ram.map(|ram| ram.choose(&choices)).transpose();
    let chosen = chosen.with_context(|| args.model.display().to_string())?;
    if let (Some(out), Some(chosen)) = (&args.out, chosen) {
        outputs::write(out, in_file(file.bytes(), isa, &choices[chosen])?)?;
    }
    if let Some(svg) = &args.svg {
        let chosen = chosen.map(|chosen| choices[chosen].bytes());
        let program = match &chosen {
            Some(schedule) => {
                let refused = |error| anyhow::anyhow!("{}: {error}", args.model.display());
                model.program().with_schedule(schedule).map_err(refused)?
            }
            None => *model.program(),
        };
        let name = args.model.file_stem().unwrap_or_default().to_string_lossy();
        let picture = draw_rows(&name, &program, isa, &choices);
        let picture = picture.map_err(|error| anyhow::anyhow!("{}: {error}", args.model.display()))?;
        outputs::write(svg, picture.as_bytes())?;
    }
    let row = |(index, choice): (usize, &Choice)| Row {
        arena_bytes: choice.plan.arena_bytes,
        table_bytes: choice.plan.table_bytes,
        activation_bytes: choice.plan.activation_bytes,
        scratch_bytes: choice.plan.scratch_bytes,
        cost: share(&choices, choice),
        stretches: numbers(choice),
        chosen: chosen == Some(index),
    };
    let schedules = choices.iter().enumerate().map(row).collect();
    output
        .print(&Document { file: args.model, isa: isa.name(), schedules, out: args.out, svg: args.svg }, text)
}

fn text(document: &Document) -> String {
    let head = ["", "arena bytes", "of it table", "scratch", "instructions", "stretches"].map(str::to_owned);
    let row = |row: &Row| {
        vec![
            if row.chosen { "*".to_owned() } else { String::new() },
            row.arena_bytes.to_string(),
            row.table_bytes.to_string(),
            row.scratch_bytes.to_string(),
            format!("{:.2}×", row.cost),
            words(&row.stretches),
        ]
    };
    let rows: Vec<Vec<String>> =
        std::iter::once(head.to_vec()).chain(document.schedules.iter().map(row)).collect();
    let mut text = format!("{} on {}\n\n{}", document.file.display(), document.isa, columns(&rows, 1));
    text.push_str(
        "\nInstructions are estimates, as a share of layer by layer: measure with `lrpet bench --ram`. A stretch 9/1 is nine\n\
         operations that advance one row at a time, 9/1 16px has them wait for 16 pixels, 9/1 6KB in scratch of that size; a plain\n\
         number are layers, and so is what follows the last. Where scratch is stated, sums may round as by Winograd's tiles.\n",
    );
    for written in document.out.iter().chain(&document.svg) {
        text.push_str(&format!("\nwritten: {}\n", written.display()));
    }
    text
}
