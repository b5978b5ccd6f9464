//! The section on memory: what fills the flash and the RAM of each board.

use maud::{Markup, html};

use super::chart::bar;
use super::table::{boards, on_board};
use super::units;
use crate::schema::{Board, Report};

/// The section; `colours` has the class of each model's colour.
pub(super) fn section(report: &Report, colours: &[String]) -> Markup {
    let known = |board: &Board| board.flash_bytes.is_some() || board.ram().is_some();
    let mut names: Vec<_> = boards(report)
        .into_iter()
        .filter(|board| report.models.iter().any(|model| on_board(model, *board).is_some_and(known)))
        .collect();
    // one board that counted both instructions and cycles holds the same bytes
    names.dedup_by_key(|(name, _)| *name);
    html! {
        section #memory {
            h2 { "Flash and RAM" }
            @if names.is_empty() {
                p.absent { "No memory figures: this report has no `boards` part with `flash_bytes` or `ram_bytes`." }
            }
            @for board in names {
                @let held = report.models.iter().zip(colours)
                    .filter_map(|(model, colour)| Some((model.name.as_str(), colour.as_str(), on_board(model, board)?)))
                    .collect::<Vec<_>>();
                h3 { (board.0) }
                div.memory {
                    (kind("Flash", &held, flash))
                    (kind("RAM", &held, ram))
                }
            }
        }
    }
}

/// A total and its parts, each with a name; `None` where the total is unknown.
type Parts = Option<(u64, Vec<(&'static str, u64)>)>;

fn flash(board: &Board) -> Parts {
    let total = board.flash_bytes?;
    let parts = [("code", board.text_bytes), ("model", board.model_bytes)];
    Some(with_rest(total, parts.into_iter()))
}

fn ram(board: &Board) -> Parts {
    let total = board.ram()?;
    let parts =
        [("arena", board.arena_bytes), ("static data", board.static_bytes), ("stack", board.stack_bytes)];
    Some(with_rest(total, parts.into_iter()))
}

/// The known parts, and what is left of the total as the last.
fn with_rest(
    total: u64,
    parts: impl Iterator<Item = (&'static str, Option<u64>)>,
) -> (u64, Vec<(&'static str, u64)>) {
    let mut parts: Vec<_> = parts.filter_map(|(name, bytes)| Some((name, bytes?))).collect();
    let known = parts.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    if known < total {
        parts.push(("other", total - known));
    }
    (total, parts)
}

/// Classes of the parts, from full colour to faint.
const SHADES: [&str; 4] = ["s0", "s1", "s2", "s3"];

fn kind(name: &str, held: &[(&str, &str, &Board)], parts: fn(&Board) -> Parts) -> Markup {
    let rows: Vec<_> =
        held.iter().filter_map(|(model, colour, board)| Some((*model, *colour, parts(board)?))).collect();
    let largest = rows.iter().map(|(_, _, (total, _))| *total).max().unwrap_or(0).max(1) as f64;
    html! {
        @if !rows.is_empty() {
            figure {
                figcaption { b { (name) } }
                @for (model, colour, (total, parts)) in &rows {
                    div.stack {
                        span.name { (model) }
                        span.total title=(format!("{} bytes", units::grouped(*total as f64))) { (units::bytes(*total as f64)) }
                        (bar(colour, &parts.iter().zip(SHADES).map(|((part, bytes), shade)| {
                            let title = format!("{model}, {name}: {part} {} bytes", units::grouped(*bytes as f64));
                            (*bytes as f64 / largest, shade, title)
                        }).collect::<Vec<_>>()))
                        span.parts {
                            @for ((part, bytes), shade) in parts.iter().zip(SHADES) {
                                span title=(format!("{} bytes", units::grouped(*bytes as f64))) {
                                    i class={ "key " (colour) " " (shade) } {} (part) " " (units::bytes(*bytes as f64))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
