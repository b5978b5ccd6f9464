//! What fits which board.

use lrpet_runtime::kernel::Isa;

use crate::boards::Board;
use crate::schema::sweep::{Row, Sweep};

/// Flash and RAM of a run on a board against what the board has. Bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    /// Code, constants and model file.
    pub flash: u64,
    pub flash_has: u64,
    /// Arena, other variables and stack.
    pub ram: u64,
    pub ram_has: u64,
    /// RAM with the least arena in rows instead of layers, where the run has other measurements and the board's kernels are those that
    /// it is planned for.
    pub ram_in_rows: Option<u64>,
    /// The board on which code, variables and stack were measured; none where nothing but the model and its arena is
    /// counted.
    pub measured_on: Option<String>,
}

impl Fit {
    pub fn fits(&self) -> bool {
        self.flash <= self.flash_has && self.ram <= self.ram_has
    }

    /// True where it fits in rows instead of layers alone.
    pub fn fits_in_rows(&self) -> bool {
        !self.fits()
            && self.flash <= self.flash_has
            && self.ram_in_rows.is_some_and(|ram| ram <= self.ram_has)
    }
}

/// The boards that have limits, and whether each run fits: in the order of the rows.
pub(super) fn fits(sweep: &Sweep) -> Vec<(Board, Vec<Option<Fit>>)> {
    let boards = Board::all().filter(|board| board.memory.is_some());
    boards.map(|board| (board, sweep.rows.iter().map(|row| fit(row, &board)).collect())).collect()
}

/// Code, variables and stack are those that the board measured, else another board of its core, else another one.
fn fit(row: &Row, board: &Board) -> Option<Fit> {
    let memory = board.memory?;
    let arena = row.arenas.iter().find(|(name, _)| name == board.name)?.1;
    let measured = &row.model.boards;
    let same_core = || measured.iter().find(|of| of.core.as_deref() == Some(board.core));
    let other = row.board(board.name).or_else(same_core).or(measured.first());
    let of = |bytes: fn(&crate::schema::Board) -> Option<u64>| other.and_then(bytes).unwrap_or(0);
    let beside = of(|board| board.static_bytes) + of(|board| board.stack_bytes);
    let rows = row.schedule.as_ref().filter(|schedule| !schedule.written && board.isa == Isa::CortexM);
    Some(Fit {
        flash: row.file_bytes + of(|board| board.text_bytes),
        flash_has: memory.flash,
        ram: arena + beside,
        ram_has: memory.ram,
        ram_in_rows: rows.map(|schedule| schedule.arena_bytes + beside),
        measured_on: other.filter(|of| of.text_bytes.is_some()).map(|of| of.board.clone()),
    })
}
