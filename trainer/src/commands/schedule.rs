//! `lrpet schedule`: how little memory a model can run in, and what that costs; writes the schedule into the model.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use lrpet_network::export::schedule::with_schedule;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::{Choice, Plan, curve};
use lrpet_study::report::columns;
use serde::Serialize;

use super::Output;
use super::model_file::ModelFile;
use super::outputs;

/// Cores that a schedule is chosen for: the instruction sets of boards.
const CORES: [Isa; 4] = [Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Portable];

#[derive(clap::Args)]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// The kernels of the core that the model is to run on
    #[arg(long, default_value = "cortex-m", value_parser = CORES.map(Isa::name))]
    isa: String,
    /// The arena that there is, such as 32KB; `least` for the smallest, `fastest` for layer by layer
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
    /// Write the model with this schedule (with --ram)
    #[arg(long, value_name = "FILE", requires = "ram")]
    out: Option<PathBuf>,
}

/// How much memory there is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ram {
    Least,
    Fastest,
    Bytes(u64),
}

impl FromStr for Ram {
    type Err = String;

    fn from_str(text: &str) -> Result<Ram, String> {
        let lower = text.trim().to_ascii_lowercase();
        let failed = || format!("{text}: it is a size such as 32KB or 1.5MB, or `least`, or `fastest`");
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &lower[digits.len()..] {
            "least" if digits.is_empty() => return Ok(Ram::Least),
            "fastest" if digits.is_empty() => return Ok(Ram::Fastest),
            "" | "b" => 1.0,
            "kb" | "k" | "kib" => 1024.0,
            "mb" | "m" | "mib" => 1024.0 * 1024.0,
            _ => return Err(failed()),
        };
        let number: f64 = digits.trim().parse().map_err(|_| failed())?;
        if number.is_finite() && number > 0.0 {
            Ok(Ram::Bytes((number * factor) as u64))
        } else {
            Err(failed())
        }
    }
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
    /// Operations and rows of a strip of each stretch; 0 rows are layers. Operations behind the last are layers.
    stretches: Vec<[u16; 2]>,
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
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    if let Some(out) = &args.out {
        outputs::check(&[out], &[&args.model])?;
    }
    let file = ModelFile::open(&args.model)?;
    let model = file.model()?;
    let isa = CORES.into_iter().find(|isa| isa.name() == args.isa).unwrap_or(Isa::CortexM);
    let name = args.model.display();
    let choices = curve(model.program(), isa).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    let chosen = args.ram.map(|ram| choose(&choices, ram)).transpose()?;
    if let (Some(out), Some(chosen)) = (&args.out, chosen) {
        let bytes = with_schedule(file.bytes(), &choices[chosen].bytes())?;
        check(&bytes, isa, &choices[chosen].plan)?;
        outputs::write(out, bytes)?;
    }
    let layers = choices.first().map_or(1, |choice| choice.cost).max(1);
    let row = |(index, choice): (usize, &Choice)| Row {
        arena_bytes: choice.plan.arena_bytes,
        table_bytes: choice.plan.table_bytes,
        activation_bytes: choice.plan.activation_bytes,
        scratch_bytes: choice.plan.scratch_bytes,
        cost: choice.cost as f64 / layers as f64,
        stretches: choice.stretches.iter().map(|stretch| [stretch.ops, stretch.strip]).collect(),
        chosen: chosen == Some(index),
    };
    let schedules = choices.iter().enumerate().map(row).collect();
    output.print(&Document { file: args.model, isa: isa.name(), schedules, out: args.out }, text)
}

/// The index of the cheapest schedule that fits.
fn choose(choices: &[Choice], ram: Ram) -> Result<usize> {
    let arena = |index: usize| choices[index].plan.arena_bytes;
    let Some(least) = (0..choices.len()).min_by_key(|&index| arena(index)) else { bail!("no schedule") };
    let most = match ram {
        Ram::Fastest => return Ok(0),
        Ram::Least => return Ok(least),
        Ram::Bytes(most) => most,
    };
    ensure!(
        arena(least) as u64 <= most,
        "no schedule of this model needs less than {} bytes of arena; {most} were given. Lower ranks do not change that: \
         a smaller image or narrower layers do",
        arena(least)
    );
    let fits = (0..choices.len()).filter(|&index| arena(index) as u64 <= most);
    Ok(fits.min_by_key(|&index| choices[index].cost).unwrap_or(least))
}

/// Holds what is about to be written against what was planned.
fn check(bytes: &[u8], isa: Isa, planned: &Plan) -> Result<()> {
    let bytes = lrpet_runtime::host::AlignedBytes::copy_of(bytes);
    let model = lrpet_network::export::checked(bytes.as_slice(), "the new model")?;
    let plan = Plan::new(model.program(), isa).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(
        plan == *planned,
        "the new model needs {} bytes and not {}",
        plan.arena_bytes,
        planned.arena_bytes
    );
    Ok(())
}

/// A schedule as words: 9/1 is nine operations as a stream of one row at a time, 3 are three layers.
fn stretches(stretches: &[[u16; 2]]) -> String {
    let one = |[ops, strip]: &[u16; 2]| match strip {
        0 => ops.to_string(),
        strip => format!("{ops}/{strip}"),
    };
    match stretches {
        [] => "layer by layer".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(" "),
    }
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
            stretches(&row.stretches),
        ]
    };
    let rows: Vec<Vec<String>> =
        std::iter::once(head.to_vec()).chain(document.schedules.iter().map(row)).collect();
    let mut text = format!("{} on {}\n\n{}", document.file.display(), document.isa, columns(&rows, 1));
    text.push_str(
        "\nInstructions are estimates, as a share of layer by layer: measure with `lrpet bench --board`. A stretch 9/1 is nine\n\
         operations that advance one row at a time; a plain number are layers, and so is what follows the last.\n",
    );
    if let Some(out) = &document.out {
        text.push_str(&format!("\nwritten: {}\n", out.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, ram) in [
            ("32KB", Ram::Bytes(32 << 10)),
            ("1.5 MB", Ram::Bytes(3 << 19)),
            ("70448", Ram::Bytes(70_448)),
            ("least", Ram::Least),
            ("Fastest", Ram::Fastest),
        ] {
            assert_eq!(text.parse(), Ok(ram), "{text}");
        }
        for wrong in ["", "KB", "0", "-1KB", "nan", "32XB", "1least", "least1"] {
            assert!(wrong.parse::<Ram>().unwrap_err().contains("32KB"), "{wrong}");
        }
    }
}
