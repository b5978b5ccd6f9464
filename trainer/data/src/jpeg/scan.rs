//! The scans of a JPEG, read without decoding them: how much of the picture their codes hold.
//!
//! Sequential and progressive Huffman coding, 8 bits a value (ITU-T T.81, annexes F and G).

use super::huffman::{Bits, Stop, Table};
use super::markers::{Component, Frame, Header, Tables};

/// Bytes of data that may be left behind a scan's last block: some cameras write a few.
const LEFT: usize = 32;
/// Of so many units one may be missing at the end of a scan, at least one: a file that lacks its last bytes.
const MISSING: usize = 64;
/// Of so many units no more than one may be missing in any case.
const MOST: usize = 4;
/// So many blocks of a scan, one behind the other, whose bits are all zero and yet tell coefficients are a hole: all told
/// coefficients of such a block are alike, up to the last one, which no picture is.
const HOLLOW: usize = 2;
/// Fewest coefficients of a band in which that tells anything.
const BAND: usize = 32;
/// A coefficient that no scan has told.
const UNTOLD: u8 = u8::MAX;

/// What the scans have told of a component so far.
struct State {
    /// For each coefficient the bits that are still to come.
    lacking: [u8; 64],
    /// For each block of a progressive picture the coefficients that are not zero.
    nonzero: Vec<u64>,
    /// Blocks in a row, with those that fill the last unit.
    stride: usize,
}

/// The scans of one frame.
pub(super) struct Scans<'f> {
    frame: &'f Frame,
    states: Vec<State>,
    /// Blocks of zeros that tell coefficients, without another such block between.
    hollow: usize,
}

/// What one unit of a scan is made of: a block's component, tables, and place in the unit.
struct Block<'t> {
    component: usize,
    dc: Option<&'t Table>,
    ac: Option<&'t Table>,
    row: usize,
    column: usize,
}

impl<'f> Scans<'f> {
    pub(super) fn new(frame: &'f Frame) -> Self {
        let state = |component: &Component| {
            let [rows, columns] = [0, 1].map(|axis| frame.units[axis] * component.sampling[axis]);
            let blocks = if frame.progressive { rows * columns } else { 0 };
            State { lacking: [UNTOLD; 64], nonzero: vec![0; blocks], stride: columns }
        };
        Scans { frame, states: frame.components.iter().map(state).collect(), hollow: 0 }
    }

    /// Whether every coefficient is told to its last bit.
    pub(super) fn complete(&self) -> bool {
        self.states.iter().all(|state| state.lacking.iter().all(|&bits| bits == 0))
    }

    /// Whether every component's mean values are told.
    pub(super) fn begun(&self) -> bool {
        self.states.iter().all(|state| state.lacking[0] != UNTOLD)
    }

    /// Reads the scan whose data begin at `at`; where they end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        &mut self,
        header: &Header,
        tables: &Tables,
        bytes: &[u8],
        at: usize,
    ) -> Result<usize, String> {
        let [first, last] = header.band;
        for &[component, ..] in &header.components {
            self.states[component].lacking[first..=last].fill(header.approximation[1]);
        }
        let (blocks, [rows, columns]) = self.unit(header, tables);
        let total = rows * columns;
        let mut bits = Bits::new(bytes, at);
        let mut runs = 0;
        let mut restarts = 0;
        self.hollow = 0;
        for number in 0..total {
            if tables.restart > 0 && number > 0 && number % tables.restart == 0 {
                let (at, _) = bits.finish();
                match restart(bytes, at) {
                    Some((behind, code)) if code == restarts % 8 => bits = Bits::new(bytes, behind),
                    Some(_) => return Err(damaged(number, total)),
                    // Another marker or the end of the file.
                    None => return lacking(number, total).map(|()| at),
                }
                (runs, restarts) = (0, restarts + 1);
            }
            let (row, column) = (number / columns, number % columns);
            for block in &blocks {
                match self.block(header, block, [row, column], &mut bits, &mut runs) {
                    Ok(()) => {}
                    Err(Stop::Wrong) => return Err(damaged(number, total)),
                    Err(Stop::End) => {
                        lacking(number, total)?;
                        return Ok(bits.finish().0);
                    }
                }
            }
        }
        match bits.finish() {
            (end, left) if left <= LEFT => Ok(end),
            (_, left) => Err(format!(
                "damaged JPEG (behind its last block {left} bytes of data are left: some of its data are wrong)"
            )),
        }
    }

    /// The blocks of one unit of a scan, and its units by rows and columns (T.81, section A.2).
    fn unit<'t>(&self, header: &Header, tables: &'t Tables) -> (Vec<Block<'t>>, [usize; 2]) {
        let block = |[component, dc, ac]: [usize; 3], row, column| Block {
            component,
            dc: tables.dc[dc].as_ref(),
            ac: tables.ac[ac].as_ref(),
            row,
            column,
        };
        if let [alone] = header.components[..] {
            return (vec![block(alone, 0, 0)], self.frame.blocks(alone[0]));
        }
        let mut blocks = Vec::new();
        for &of in &header.components {
            let [rows, columns] = self.frame.components[of[0]].sampling;
            blocks.extend((0..rows * columns).map(|at| block(of, at / columns, at % columns)));
        }
        (blocks, self.frame.units)
    }

    /// Reads one block of the unit at row and column `unit`. `runs` counts the blocks without coefficients that follow.
    fn block(
        &mut self,
        header: &Header,
        block: &Block<'_>,
        unit: [usize; 2],
        bits: &mut Bits<'_>,
        runs: &mut u32,
    ) -> Result<(), Stop> {
        if !self.frame.progressive {
            bits.mark();
            dc(bits, block.dc)?;
            let told = sequential(bits, block.ac)?;
            return self.refuse_hole(bits, told);
        }
        let refines = header.approximation[0] > 0;
        if header.band[0] == 0 {
            return if refines { bits.skip(1) } else { dc(bits, block.dc) };
        }
        // The data of one component are not in units of several blocks.
        let [rows, columns] = match header.components.len() {
            1 => [1, 1],
            _ => self.frame.components[block.component].sampling,
        };
        let state = &mut self.states[block.component];
        let place = (unit[0] * rows + block.row) * state.stride + unit[1] * columns + block.column;
        let nonzero = state.nonzero.get_mut(place).ok_or(Stop::Wrong)?;
        let table = block.ac.ok_or(Stop::Wrong)?;
        if refines {
            refine(bits, table, header.band, nonzero, runs)
        } else {
            bits.mark();
            let before = *nonzero;
            first(bits, table, header.band, nonzero, runs)?;
            let told = *nonzero != before && header.band[1] - header.band[0] >= BAND - 1;
            self.refuse_hole(bits, told)
        }
    }

    /// Refuses zeros that fill a hole: data whose bits are all zero are those of a smooth part, or of none.
    fn refuse_hole(&mut self, bits: &Bits<'_>, told: bool) -> Result<(), Stop> {
        if told {
            self.hollow = if bits.all_zero() { self.hollow + 1 } else { 0 };
        }
        if self.hollow < HOLLOW { Ok(()) } else { Err(Stop::Wrong) }
    }
}

/// The difference of a mean value.
fn dc(bits: &mut Bits<'_>, table: Option<&Table>) -> Result<(), Stop> {
    let size = bits.symbol(table.ok_or(Stop::Wrong)?)?;
    if size > 15 {
        return Err(Stop::Wrong);
    }
    bits.skip(size.into())
}

/// The other coefficients of a block (T.81, section F.2.2.2); whether one is not zero.
fn sequential(bits: &mut Bits<'_>, table: Option<&Table>) -> Result<bool, Stop> {
    let table = table.ok_or(Stop::Wrong)?;
    let mut told = false;
    let mut at = 1;
    while at < 64 {
        let symbol = bits.symbol(table)?;
        let (run, size) = (usize::from(symbol >> 4), symbol & 15);
        at += run;
        match size {
            0 if run < 15 => break,
            0 => {}
            _ if at > 63 => return Err(Stop::Wrong),
            _ => {
                bits.skip(size.into())?;
                told = true;
            }
        }
        at += 1;
    }
    Ok(told)
}

/// Coefficients of a band, told for the first time (T.81, section G.1.2.2).
fn first(
    bits: &mut Bits<'_>,
    table: &Table,
    [mut at, last]: [usize; 2],
    nonzero: &mut u64,
    runs: &mut u32,
) -> Result<(), Stop> {
    if *runs > 0 {
        *runs -= 1;
        return Ok(());
    }
    while at <= last {
        let symbol = bits.symbol(table)?;
        let (run, size) = (symbol >> 4, symbol & 15);
        if size == 0 && run < 15 {
            *runs = (1 << run) - 1 + bits.number(run.into())?;
            break;
        }
        at += usize::from(run);
        if size > 0 {
            if at > last {
                return Err(Stop::Wrong);
            }
            bits.skip(size.into())?;
            *nonzero |= 1 << at;
        }
        at += 1;
    }
    Ok(())
}

/// One bit more of coefficients of a band (T.81, section G.1.2.3).
fn refine(
    bits: &mut Bits<'_>,
    table: &Table,
    [mut at, last]: [usize; 2],
    nonzero: &mut u64,
    runs: &mut u32,
) -> Result<(), Stop> {
    let known = *nonzero;
    let is_known = |at: usize| known >> at & 1 == 1;
    while *runs == 0 && at <= last {
        let symbol = bits.symbol(table)?;
        let (mut run, size) = (symbol >> 4, symbol & 15);
        match size {
            0 if run < 15 => {
                *runs = (1 << run) + bits.number(run.into())?;
                break;
            }
            0 => {}
            1 => bits.skip(1)?,
            _ => return Err(Stop::Wrong),
        }
        // `run` zeros are passed over, and a bit is read for each coefficient between them.
        while at <= last {
            if is_known(at) {
                bits.skip(1)?;
            } else if run == 0 {
                break;
            } else {
                run -= 1;
            }
            at += 1;
        }
        if size == 1 {
            if at > last {
                return Err(Stop::Wrong);
            }
            *nonzero |= 1 << at;
        }
        at += 1;
    }
    if *runs > 0 {
        let rest = (at..=last).filter(|&at| is_known(at)).count();
        (0..rest).try_for_each(|_| bits.skip(1))?;
        *runs -= 1;
    }
    Ok(())
}

/// The restart marker at `at`: what is behind it, and its number.
fn restart(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let fill = rest.iter().position(|&byte| byte != 0xff)?;
    let code = rest[fill];
    (fill > 0 && matches!(code, 0xd0..=0xd7)).then(|| (at + fill + 1, usize::from(code - 0xd0)))
}

/// Refuses a scan that ends before unit `number` of `total`, unless hardly anything is missing.
fn lacking(number: usize, total: usize) -> Result<(), String> {
    let missing = total - number;
    if missing <= total.div_ceil(MISSING) && missing * MOST <= total {
        return Ok(());
    }
    Err(format!("truncated JPEG (its data end after {:.0} % of the picture)", percent(number, total)))
}

fn damaged(number: usize, total: usize) -> String {
    format!("damaged JPEG (its data are wrong after {:.0} % of the picture)", percent(number, total))
}

/// Rounded down, so that all is not there where anything is missing.
fn percent(number: usize, total: usize) -> f64 {
    (100.0 * number as f64 / total as f64).floor()
}
