//! `lrpet network list`: the networks that are known by name.

use anyhow::Result;
use lrpet_network::network::{KNOWN, Known};
use lrpet_study::report::{columns, units};
use serde::Serialize;

use super::summary::{Axes, spelt};
use crate::commands::Output;

#[derive(Serialize)]
struct Document {
    networks: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    about: &'static str,
    /// The input that it is known for, C×H×W; it takes others too.
    input: Axes,
    classes: u32,
    /// Weights, without biases and normalisations.
    params: u64,
    macs: u64,
}

pub fn run(output: &Output) -> Result<()> {
    let row = |known: &Known| {
        let cost = known.network(known.input, known.classes)?.cost();
        Ok(Row {
            name: known.name,
            about: known.about,
            input: known.input.axes(),
            classes: known.classes,
            params: cost.params,
            macs: cost.macs,
        })
    };
    let networks = KNOWN.iter().map(row).collect::<Result<Vec<_>>>()?;
    output.print(&Document { networks }, text)
}

fn text(document: &Document) -> String {
    let head = ["name", "input", "classes", "parameters", "MACs"].map(str::to_owned).to_vec();
    let row = |row: &Row| {
        let figures = [row.params, row.macs].map(|count| units::count(count as f64));
        let words = [row.name.to_owned(), spelt(row.input), row.classes.to_string()];
        words.into_iter().chain(figures).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(document.networks.iter().map(row)).collect();
    let abouts = std::iter::once("about").chain(document.networks.iter().map(|row| row.about));
    columns(&rows, 2).lines().zip(abouts).map(|(line, about)| format!("{line}  {about}\n")).collect()
}
