//! `lrpet new`: a program of one's own with a model built in.

use std::path::PathBuf;

use anyhow::Result;
use lrpet_board::boards::Board;
use lrpet_board::project;
use lrpet_runtime::built::Room;
use lrpet_runtime::plan::Ram;

use super::Output;
use super::bench::board_names;
use super::ram::copy_for;

#[derive(clap::Args)]
pub struct Args {
    /// Folder of the program, which gets its name
    folder: PathBuf,
    /// Board
    #[arg(long, value_parser = board_names())]
    board: String,
    /// Model file: a classifier of pictures. Its schedule (`lrpet schedule`) is followed
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// RAM that the network may take, such as 64KB, `least` or `fastest`: its schedule is written anew for it. Unless given, the
    /// file's own in the least arena
    #[arg(long, value_name = "BYTES|least|fastest")]
    ram: Option<Ram>,
}

pub fn run(args: Args, output: &Output) -> Result<()> {
    let board = Board::named(&args.board)?;
    let room = match args.ram {
        None | Some(Ram::Least) => Room::Least,
        Some(Ram::Fastest) => Room::Fastest,
        Some(Ram::Bytes(bytes)) => Room::Within(bytes as usize),
    };
    // Its folder goes at the end.
    let rewritten = args.ram.map(|ram| copy_for(&args.model, board.isa, ram)).transpose()?;
    let model = rewritten.as_ref().map_or(&args.model, |(_, file)| file);
    let project = project::create(&args.folder, board, model, room)?;
    output.print(&project, |project| {
        format!(
            "{} for {}\n  RAM of the network  {} bytes\n  weights and tables  {} bytes of flash\n  there               \
             cargo run --release; cargo host-test tests it on this machine",
            project.folder.display(),
            project.board,
            project.arena_bytes,
            project.flash_bytes,
        )
    })
}
