//! A page of facts and tables, as markdown and as HTML.

use maud::{Markup, html};

use crate::report::frame::frame;

/// A page.
pub(super) struct Document {
    pub title: String,
    pub blocks: Vec<Block>,
}

/// A part of a page.
pub(super) enum Block {
    Heading(&'static str),
    /// Something to type.
    Command(String),
    /// Names with their values.
    Facts(Vec<(String, String)>),
    Table {
        head: Vec<&'static str>,
        rows: Vec<Vec<String>>,
    },
    /// A file beside the page, and what it shows.
    Picture {
        file: &'static str,
        text: &'static str,
    },
    /// Files beside the page, and what they are.
    Files(Vec<(String, &'static str)>),
}

impl Document {
    /// As markdown (with tables, as GitHub reads it).
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n", self.title);
        for block in &self.blocks {
            out += "\n";
            match block {
                Block::Heading(text) => out += &format!("## {text}\n"),
                Block::Command(text) => out += &format!("```sh\n{text}\n```\n"),
                Block::Facts(facts) => {
                    out += "| | |\n|---|---|\n";
                    for (name, value) in facts {
                        out += &row(&[name.clone(), value.clone()]);
                    }
                }
                Block::Table { head, rows } => {
                    out += &row(&head.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
                    out += &format!("|---{}|\n", "|---:".repeat(head.len() - 1));
                    rows.iter().for_each(|cells| out += &row(cells));
                }
                Block::Picture { file, text } => out += &format!("![{text}]({file})\n"),
                Block::Files(files) => {
                    for (file, what) in files {
                        out += &format!("- [{file}]({file}): {what}\n");
                    }
                }
            }
        }
        out
    }

    /// As one HTML page that loads nothing but the pictures beside it and runs no script.
    pub fn html(&self) -> String {
        let body = html! {
            header { h1 { (self.title) } }
            main { section { @for block in &self.blocks { (block.html()) } } }
        };
        frame(&self.title, None, &[], body)
    }
}

impl Block {
    fn html(&self) -> Markup {
        html! {
            @match self {
                Block::Heading(text) => h2 { (text) },
                Block::Command(text) => p { code.command { (text) } },
                Block::Facts(facts) => dl.wide { @for (name, value) in facts { dt { (name) } dd { (value) } } },
                Block::Table { head, rows } => div.scroll {
                    table.plain {
                        thead { tr { @for name in head { th { (name) } } } }
                        tbody {
                            @for cells in rows {
                                tr {
                                    @for (index, cell) in cells.iter().enumerate() {
                                        @if index == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                                    }
                                }
                            }
                        }
                    }
                },
                Block::Picture { file, text } => figure { img src=(file) alt=(text); },
                Block::Files(files) => ul {
                    @for (file, what) in files { li { a href=(file) { (file) } ": " (what) } }
                },
            }
        }
    }
}

/// A line of a markdown table.
fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |\n", cells.join(" | "))
}
