//! `lrpet search`: ranks for one board.

mod budget;
mod training;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use lrpet_network::Checkpoint;
use lrpet_network::export::{self, Card, Precision, Request as Export, folded};
use lrpet_network::lrpet::{RankPlan, Scope};
use lrpet_network::network::Network;
use lrpet_study::boards::{Bench, Board, HOST, Measured, count_text};
use lrpet_study::report::{columns, units};
use lrpet_study::search::{
    Base, CostTable, Found, LayerShape, Limits, Request, SearchError, Values, arena_bytes, find, table, worth,
};
use serde::Serialize;

use super::Output;
use super::checkpoint;
use super::epsilon::EpsilonArgs;
use super::images::{ImageArgs, Images};
use super::numbers::below_one;
use super::outputs;

/// Ratio of the model that shows what a network costs besides its layers: small, so that it fits everywhere.
const REFERENCE: f64 = 0.75;
/// Times that a budget is tightened where the board counts more than was predicted.
const TURNS: usize = 4;
/// Share by which a time on this machine may exceed its budget.
const SLACK: f64 = 0.05;

#[derive(clap::Args)]
pub struct Args {
    /// Dense checkpoint whose layers are weighed, such as the final.safetensors of a run
    #[arg(long, value_name = "CHECKPOINT")]
    from: PathBuf,
    /// Board on which layers are measured
    #[arg(long, value_parser = Board::measurable_names())]
    board: String,
    /// Most flash for code and model file with weights of f16, such as 128KB (1 KB is 1024 bytes)
    #[arg(long, value_name = "KB", value_parser = budget::bytes)]
    flash: Option<u64>,
    /// Most RAM for arena, other variables and stack, such as 64KB; on this machine, for the arena
    #[arg(long, value_name = "KB", value_parser = budget::bytes)]
    ram: Option<u64>,
    /// Most time of one inference on this machine, such as 0.3ms, or most instructions on an emulated board, such as 12M
    #[arg(long, value_name = "MS|INSTRUCTIONS", value_parser = budget::latency)]
    latency: Option<u64>,
    /// Allow what uniform ranks of this pruning ratio take on the board, and compare with them
    #[arg(long, value_name = "G", conflicts_with = "latency", value_parser = below_one)]
    like: Option<f64>,
    /// Factor linear layers too
    #[arg(long)]
    factor_linear: bool,
    /// Table of costs measured so far [default: BOARD.json in lrpet/costs of the user's cache]
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Network, one of `lrpet train --help` [default: the one that the checkpoint names]
    #[arg(long)]
    net: Option<String>,
    #[command(flatten)]
    epsilon: EpsilonArgs,
    #[command(flatten)]
    images: ImageArgs,
    /// File of ranks to write, for `lrpet train --ranks FILE --init CHECKPOINT`
    #[arg(long, value_name = "RANKS.toml")]
    out: PathBuf,
    #[command(flatten)]
    training: training::Args,
}

#[derive(Serialize)]
struct Document {
    out: PathBuf,
    board: String,
    counter: String,
    limits: Limits,
    #[serde(flatten)]
    found: Found,
    /// What the board counted for the ranks found, with the checkpoint's weights.
    measured: Figures,
    /// Uniform ranks of the ratio that `--like` names.
    uniform: Option<Uniform>,
    /// Multiply-adds at the ranks found.
    macs: u64,
    macs_dense: u64,
    /// Layers whose cost lies between two measured ranks.
    interpolated: usize,
    /// What `lrpet train` said, where the ranks were trained at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    training: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Serialize)]
struct Figures {
    latency: u64,
    flash: u64,
    ram: u64,
}

#[derive(Serialize)]
struct Uniform {
    prune: f64,
    latency: u64,
    value: f64,
    macs: u64,
    /// Whether these ranks are the answer.
    kept: bool,
    #[serde(skip)]
    plan: RankPlan,
    #[serde(skip)]
    figures: Figures,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let limited = args.latency.is_some() || args.flash.is_some() || args.ram.is_some() || args.like.is_some();
    ensure!(limited, "nothing is limited: give --latency, --flash, --ram or --like");
    let board = Board::find(&args.board).with_context(|| format!("no board {}", args.board))?;
    let costs = args.costs.as_deref();
    outputs::check(&[&args.out], &[&[args.from.as_path()], costs.as_slice()].concat())?;
    let (checkpoint, net) = checkpoint::open(&args.from, args.net.as_deref())?;
    let images = args.images.find(&net, &checkpoint, &args.from)?;
    let network = net.network(images.shape, images.classes.len() as u32)?;
    let network = args.epsilon.of(network, &checkpoint.metadata, &args.from)?;
    let checkpoint = checkpoint::fit(checkpoint, &args.from, &network)?;
    let scope = if args.factor_linear { Scope::All } else { Scope::Convolutions };

    let told = [args.images.words(&images), args.epsilon.words()].concat();
    let words = training::words(&net.argument(), &told, &args.from, &args.out);
    let training = args.training.behind(&words)?;

    let mut bench = board.bench()?;
    let file = args.costs.clone().unwrap_or_else(|| table::folder().join(format!("{}.json", board.name)));
    let mut table = CostTable::open(&file, &*bench)?;
    let values = worth(&network, scope, &folded::spectra(&network, &checkpoint)?);
    let shapes: Vec<LayerShape> = (LayerShape::all(&network).into_iter())
        .filter(|(name, _)| values.contains_key(name))
        .map(|(_, shape)| shape)
        .collect();
    let bar = bar("layers measured on", board.name);
    table.measure(&mut *bench, &shapes, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();

    let trial = Trial { network: &network, checkpoint: &checkpoint, images: &images };
    let reference = RankPlan::uniform_in(&network, REFERENCE, scope)?;
    let (measured, file_bytes) = trial.measure(&mut *bench, &reference)?;
    let base = base(&measured, &reference, &values, file_bytes);
    let mut request = Request {
        network: &network,
        isa: board.isa,
        values: &values,
        table: &table,
        base,
        limits: Limits { latency: args.latency, flash: args.flash, ram: args.ram },
    };
    let mut uniform = args.like.map(|g| uniform(&request, g, scope, &trial, &mut *bench)).transpose()?;
    if let Some(uniform) = &uniform {
        request.limits.latency = Some(uniform.latency);
    }
    let verified = verified(&mut request, &trial, &mut *bench);
    let (found, measured) = match &mut uniform {
        Some(uniform) => uniform.or_better(verified, &request, &args)?,
        None => verified?,
    };
    ensure!(
        found.layers.iter().any(|layer| layer.rank.is_some()),
        "the dense network meets this budget on {} ({}): train it with --prune 0",
        board.name,
        count_text(measured.latency as f64, table.counter())
    );
    let limits = Limits { latency: args.latency.or(uniform.as_ref().map(|of| of.latency)), ..request.limits };
    let mut document = Document {
        out: args.out,
        board: board.name.to_owned(),
        counter: table.counter().to_owned(),
        limits,
        macs: found.plan.cost().macs,
        macs_dense: network.cost().macs,
        interpolated: found.layers.iter().filter(|layer| layer.interpolated).count(),
        found,
        measured,
        uniform,
        training: None,
    };
    let remarks = [super::command_line(), summary(&document)];
    outputs::write(&document.out, document.found.toml(&remarks))?;
    let Some(training) = training else {
        return output.print(&document, |done| format!("{}next: {} …\n", text(done), training::line(&words)));
    };
    if output.json {
        document.training = Some(training.quietly()?);
        return output.print(&document, text);
    }
    output.print(&document, text)?;
    training.aloud()
}

/// Puts the checkpoint's weights on the board at some ranks.
struct Trial<'a> {
    network: &'a Network,
    checkpoint: &'a Checkpoint,
    images: &'a Images,
}

impl Trial<'_> {
    /// What the board says of a model at these ranks, and the bytes of its file without weights and biases.
    fn measure(&self, bench: &mut dyn Bench, plan: &RankPlan) -> Result<(Measured, u64)> {
        let card = Card {
            dataset: self.images.dataset.clone(),
            classes: self.images.classes.clone(),
            prune: "listed".to_owned(),
            accuracy: Some(0.5),
            training: self.checkpoint.metadata.get("command").cloned(),
            command: super::command_line(),
            ..Card::default()
        };
        let tried = self.images.tried()?;
        let exported = export::export(&Export {
            network: self.network,
            checkpoint: self.checkpoint,
            plan,
            energy_transfer: true,
            normalization: &self.images.normalization,
            card: &card,
            precision: Precision::Half,
            samples: Some(tried.samples()),
        })?;
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let file = folder.path().join("model.safetensors");
        let bytes = exported.to_bytes()?;
        std::fs::write(&file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
        let measured = bench.measure(&file)?;
        Ok((measured, (bytes.len() as u64).saturating_sub(plan.cost().weight_bytes)))
    }
}

/// What the reference costs besides the layers that are searched.
fn base(measured: &Measured, plan: &RankPlan, values: &Values, file_bytes: u64) -> Base {
    let names: Vec<&str> = (plan.layers.iter())
        .map(|layer| layer.name.as_str())
        .filter(|name| values.contains_key(*name))
        .collect();
    let searched = measured.layers.iter().filter(|layer| names.contains(&layer.name.as_str()));
    Base {
        latency: measured.total.saturating_sub(searched.map(|layer| layer.ticks).sum()),
        flash: measured.text_bytes.unwrap_or(0) + file_bytes,
        ram: measured.static_bytes.unwrap_or(0) + measured.stack_bytes.unwrap_or(0),
    }
}

fn uniform(
    request: &Request<'_>,
    g: f64,
    scope: Scope,
    trial: &Trial<'_>,
    bench: &mut dyn Bench,
) -> Result<Uniform> {
    let plan = RankPlan::uniform_in(request.network, g, scope)?;
    let (measured, file_bytes) = trial.measure(bench, &plan)?;
    let arena = arena_bytes(request.network, &plan, request.isa)?;
    Ok(Uniform {
        prune: g,
        latency: measured.total,
        value: Found::value_of(request.values, &plan),
        macs: plan.cost().macs,
        kept: false,
        figures: Figures::of(&measured, file_bytes, &plan, request.base.ram + arena),
        plan,
    })
}

impl Uniform {
    /// What was found, or these ranks themselves where nothing that is worth as much was seen within their own time: noise of a
    /// clock, or the difference between a layer alone and in a network, can take the search below what is known to be possible.
    fn or_better(
        &mut self,
        verified: Result<(Found, Figures)>,
        request: &Request<'_>,
        args: &Args,
    ) -> Result<(Found, Figures)> {
        let within = |limit: Option<u64>, figure: u64| limit.is_none_or(|limit| figure <= limit);
        let possible = within(args.flash, self.figures.flash) && within(args.ram, self.figures.ram);
        let keep = match &verified {
            Ok((found, _)) => found.value < self.value,
            Err(error) => matches!(error.downcast_ref(), Some(SearchError::Budget(_))),
        };
        self.kept = keep && possible;
        if !self.kept {
            return verified;
        }
        tracing::warn!(
            "no ranks were measured to be worth more than uniform ones at g = {} in their time: these are kept; on a quiet machine \
             the search may find better ones",
            self.prune
        );
        let found = Found::of_plan(request, &self.plan)?;
        Ok((Found { latency: self.latency, ..found }, self.figures))
    }
}

impl Figures {
    /// Of a model with a file of `file_bytes` without weights and biases; `ram` where the board does not say what it takes.
    fn of(measured: &Measured, file_bytes: u64, plan: &RankPlan, ram: u64) -> Self {
        Self {
            latency: measured.total,
            flash: measured.text_bytes.unwrap_or(0) + file_bytes + plan.cost().weight_bytes,
            ram: measured.ram().unwrap_or(ram),
        }
    }
}

/// Searches, puts what is found on the board, and searches again with a tighter budget where the board says that it is over.
/// The clock of this machine is no count: there [`SLACK`] is allowed, and after some turns more, with a warning.
fn verified(request: &mut Request<'_>, trial: &Trial<'_>, bench: &mut dyn Bench) -> Result<(Found, Figures)> {
    let limits = request.limits;
    let board = bench.board().name;
    let slack = if board == HOST { SLACK } else { 0.0 };
    let over = |limit: Option<u64>, figure: u64| limit.map_or(0, |limit| figure.saturating_sub(limit));
    let mut turn = 1;
    loop {
        let found = find(request)?;
        let (measured, file_bytes) = trial.measure(bench, &found.plan)?;
        let figures = Figures::of(&measured, file_bytes, &found.plan, found.ram);
        let allowed = limits.latency.map(|limit| limit + (limit as f64 * slack) as u64);
        let latency =
            if over(allowed, figures.latency) > 0 { over(limits.latency, figures.latency) } else { 0 };
        let (flash, ram) = (over(limits.flash, figures.flash), over(limits.ram, figures.ram));
        if latency + flash + ram == 0 {
            return Ok((found, figures));
        }
        if turn == TURNS {
            if board != HOST || flash + ram > 0 {
                let reason =
                    format!("what is predicted to be within it exceeds it on {board} again and again");
                return Err(SearchError::Budget(reason).into());
            }
            tracing::warn!("the time that was measured exceeds the budget; measure again on a quiet machine");
            return Ok((found, figures));
        }
        let less = |limit: Option<u64>, over: u64| limit.map(|limit| limit.saturating_sub(over));
        request.limits = Limits {
            latency: less(request.limits.latency, latency),
            flash: less(request.limits.flash, flash),
            ram: less(request.limits.ram, ram),
        };
        turn += 1;
    }
}

fn bar(what: &str, of: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(format!("{what} {of}"));
    bar
}

/// What was asked and found, in one line for each.
fn summary(done: &Document) -> String {
    let count = |count: u64| count_text(count as f64, &done.counter);
    let bytes = |bytes: u64| units::bytes(bytes as f64);
    let mut text = String::new();
    let rows = [
        ("latency", done.limits.latency, done.found.latency, done.measured.latency),
        ("flash", done.limits.flash, done.found.flash, done.measured.flash),
        ("RAM", done.limits.ram, done.found.ram, done.measured.ram),
    ];
    for (name, limit, predicted, measured) in rows {
        let text_of: &dyn Fn(u64) -> String = if name == "latency" { &count } else { &bytes };
        let limit = limit.map_or("no limit".to_owned(), |limit| format!("at most {}", text_of(limit)));
        let _ = writeln!(
            text,
            "{name} on {}: {limit}; predicted {}, measured {}",
            done.board,
            text_of(predicted),
            text_of(measured)
        );
    }
    let _ = write!(text, "sum of ln(share of energy kept): {:.4}", done.found.value);
    if let Some(Uniform { kept: true, prune, .. }) = done.uniform {
        let _ = write!(text, ", that of uniform ranks at g = {prune}, which are kept");
    } else if done.found.bound - done.found.value > 1e-9 {
        let _ = write!(text, " (no ranks within the budget have more than {:.4})", done.found.bound);
    } else {
        text.push_str(" (no ranks within the budget have more)");
    }
    if let Some(Uniform { kept: false, prune, value, latency, .. }) = done.uniform {
        let _ = write!(text, "; uniform g = {prune}: {value:.4} at {}", count(latency));
    }
    if done.interpolated > 0 {
        let layers = units::things(done.interpolated as u64, "layer");
        let _ = write!(text, "\nbetween two measured ranks lie the costs of {layers}");
    }
    text
}

fn text(done: &Document) -> String {
    let mut rows = Vec::new();
    for layer in &done.found.layers {
        let rank = layer.rank.map_or("dense".to_owned(), |rank| format!("{rank} of {}", layer.max_rank));
        let latency = count_text(layer.latency as f64, &done.counter);
        let dense = format!("dense {}", count_text(layer.latency_dense as f64, &done.counter));
        rows.push(vec![layer.name.clone(), rank, latency, dense]);
    }
    let mut text = columns(&rows, 1);
    let by_name: BTreeMap<_, _> = done.found.layers.iter().map(|layer| (&layer.name, layer.rank)).collect();
    let pairs = by_name.values().flatten().count();
    let _ = writeln!(
        text,
        "{pairs} of {} as pairs; {} of {} multiply-adds",
        units::things(by_name.len() as u64, "layer"),
        units::count(done.macs as f64),
        units::count(done.macs_dense as f64)
    );
    let _ = writeln!(text, "{}", summary(done));
    text
}
