//! A stretch of operations that advance together, strip of rows by strip of rows.
//!
//! Each value of a stream is a window of its rows: those that some reader still needs. A pass lets some more rows of what the
//! stream reads arrive. Then each operation, in the order of the program, computes all rows that it can from the rows that are
//! there, and nothing twice. Rows that no reader needs any more leave the window before new ones enter it: the others move to its
//! front, so that the rows of a plane always lie side by side and kernels know of no ring.
//!
//! What happens depends on shapes and the height of a strip alone: the same code plans, and later leads the way.

use bytemuck::{Pod, Zeroable};

use crate::kernel::Cut;
use crate::model::{FEW_INPUTS, LayerInfo, MAX_STREAM, Op, Shape, Window};

/// The value comes from outside the stream, where it lies whole.
pub(super) const OUTSIDE: u8 = 0;
/// So does the one over which the stream's last result is written.
pub(super) const BELOW: u8 = u8::MAX;

/// The result is the mean of each plane: its rows are those of the map, which are added up as they come.
const MEAN: u16 = 2;

/// One operation of a stream, and how far it got. Plain data, so that it can lie in the arena.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
#[doc(hidden)]
pub struct Node {
    /// For each value read, how many operations before this one makes it; [`OUTSIDE`], [`BELOW`].
    sources: [u8; FEW_INPUTS],
    /// Rows of the first value read: kernel, stride, padding above, height.
    kernel: u16,
    stride: u16,
    above: u16,
    input_height: u16,
    /// Rows of the result.
    height: u16,
    /// 1 where the result is stored whole, since something behind the stream reads it; [`MEAN`].
    whole: u16,
    /// Rows in the window, at most.
    capacity: u16,
    /// First row in the window.
    first: u16,
    /// Rows computed so far, and with those that would follow below the map if it were higher: so that the last rows, for which
    /// padding stands in, come at the pace of all others and not at once.
    done: u16,
    pace: u16,
    /// Rows that are computed at a time, or what is left.
    batch: u16,
    /// How many operations behind this one the last one is that reads its result in the stream.
    far: u16,
    /// How its strips are cut up.
    cut: Cut,
}

/// Rows that an operation computes in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strip {
    /// First row.
    pub(crate) from: usize,
    /// First row behind it.
    pub(crate) to: usize,
    /// Rows that stay in the window and move to its front, and by how many rows.
    pub(crate) stay: usize,
    pub(crate) shift: usize,
}

impl Node {
    /// Its size.
    pub const WORDS: usize = size_of::<Node>() / size_of::<u16>();

    /// Of the words that it is made of, in a constant.
    pub const fn of_words(words: [u16; Node::WORDS]) -> Node {
        let [
            s,
            t,
            kernel,
            stride,
            above,
            input_height,
            height,
            whole,
            capacity,
            first,
            done,
            pace,
            batch,
            far,
            cut @ ..,
        ] = words;
        let ([a, b], [c, d]) = (s.to_ne_bytes(), t.to_ne_bytes());
        Node {
            sources: [a, b, c, d],
            kernel,
            stride,
            above,
            input_height,
            height,
            whole,
            capacity,
            first,
            done,
            pace,
            batch,
            far,
            cut: Cut::of_words(cut),
        }
    }

    pub(super) const EMPTY: Node = Node {
        sources: [OUTSIDE; FEW_INPUTS],
        kernel: 1,
        stride: 1,
        above: 0,
        input_height: 0,
        height: 0,
        whole: 0,
        capacity: 0,
        first: 0,
        done: 0,
        pace: 0,
        batch: 1,
        far: 0,
        cut: Cut::NEW,
    };

    /// An image of `height` rows that arrive one after another.
    pub(crate) fn image(height: u16) -> Node {
        Node { input_height: height, height, ..Node::EMPTY }
    }

    /// The operation of `layer`; `sources` as in the node. `None` where it needs more of its input than some rows at a time, or
    /// where a map is too high.
    pub(crate) fn new(layer: &LayerInfo<'_>, sources: [u8; FEW_INPUTS], whole: bool) -> Option<Node> {
        if let Op::GlobalAveragePool { .. } = layer.op {
            return Some(Node { sources, whole: MEAN, ..Node::image(rows(layer.input)?) });
        }
        let [kernel, stride, above] = reach(&layer.op)?;
        Some(Node {
            sources,
            kernel,
            stride,
            above,
            input_height: rows(layer.input)?,
            height: rows(layer.output)?,
            whole: whole.into(),
            ..Node::EMPTY
        })
    }

    /// The same where `pixels` of a plane of `width` columns are computed at a time, and by tiles of 2×2 pixels too where `squares`.
    pub(super) fn with_batch(mut self, pixels: u16, width: u32, squares: bool) -> Node {
        let rows = u32::from(pixels).div_ceil(width.max(1)).clamp(1, u32::from(self.height).max(1));
        // A mean keeps no rows for later.
        self.batch = if self.is_mean() { 1 } else { rows as u16 };
        self.cut = if squares { Cut::SQUARES } else { Cut::NEW };
        self
    }

    /// Notes that the operation `back` behind it reads its result.
    pub(super) fn read_by(&mut self, back: u8) {
        self.far = self.far.max(back.into());
    }

    /// How its strips are cut up.
    pub(crate) fn cut(&mut self) -> &mut Cut {
        &mut self.cut
    }

    /// True where the result is stored whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole > 0
    }

    /// True where the result is the mean of each plane, which nothing in the stream can read.
    pub(super) fn is_mean(&self) -> bool {
        self.whole == MEAN
    }

    /// Rows in the window, at most.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity.into()
    }

    /// First row in the window.
    pub(crate) fn first(&self) -> usize {
        self.first.into()
    }

    /// How many operations before this one makes the value in `slot`; `None` where it comes from outside.
    pub(crate) fn source(&self, slot: usize) -> Option<usize> {
        self.sources.get(slot).copied().filter(|back| !matches!(*back, OUTSIDE | BELOW)).map(usize::from)
    }

    /// Rows of the result that `rows` rows of the first value read allow, those below either map included.
    fn allows(&self, rows: u16) -> u16 {
        let rows = (u32::from(rows) + u32::from(self.above)).checked_sub(self.kernel.into());
        let rows = rows.map_or(0, |rows| rows / u32::from(self.stride.max(1)) + 1);
        rows.min(u16::MAX.into()) as u16
    }

    /// First row of value `slot` that is still needed; `None` where none is.
    fn still_needs(&self, slot: usize) -> Option<u16> {
        if self.done >= self.height {
            return None;
        }
        if slot > 0 {
            return Some(self.done);
        }
        let row = u32::from(self.done) * u32::from(self.stride);
        Some(row.saturating_sub(self.above.into()).min(u32::from(u16::MAX)) as u16)
    }
}

/// Rows of a map.
fn rows(shape: Shape) -> Option<u16> {
    u16::try_from(shape.height).ok()
}

/// Kernel, stride and padding above of the rows that an operation reads; `None` where it reads all at once.
fn reach(op: &Op<&str>) -> Option<[u16; 3]> {
    let window = |window: &Window| [window.kernel[0], window.stride[0], window.padding[0]];
    Some(match op {
        Op::Conv(conv) => window(&conv.window),
        Op::Pool(pool) => window(&pool.window),
        Op::PadShortcut(shortcut) => [1, shortcut.stride, 0],
        Op::Add { .. } | Op::Concat(_) => [1, 1, 0],
        _ => return None,
    })
}

/// The operations of a stream.
pub(crate) struct Stream<'n> {
    nodes: &'n mut [Node],
    /// Rows of the first value read that arrive with each pass, that have arrived (with some below it in the end), and that there are.
    strip: u16,
    arrived: u16,
    height: u16,
}

impl<'n> Stream<'n> {
    /// At its beginning.
    pub(crate) fn new(nodes: &'n mut [Node], strip: u16) -> Self {
        for node in nodes.iter_mut() {
            (node.first, node.done, node.pace) = (0, 0, 0);
        }
        let height = nodes.first().map_or(0, |node| node.input_height);
        Self { nodes, strip: strip.max(1), arrived: 0, height }
    }

    /// Where it stopped when so many rows had arrived: at its beginning where these are none.
    pub(crate) fn resume(nodes: &'n mut [Node], strip: u16, arrived: u16) -> Self {
        if arrived == 0 {
            return Self::new(nodes, strip);
        }
        let height = nodes.first().map_or(0, |node| node.input_height);
        Self { nodes, strip: strip.max(1), arrived, height }
    }

    /// Rows that have arrived.
    pub(crate) fn arrived(&self) -> u16 {
        self.arrived
    }

    /// The operations.
    pub(crate) fn nodes(&self) -> &[Node] {
        self.nodes
    }

    /// An operation, to keep how its strips are cut up.
    pub(crate) fn node(&mut self, at: usize) -> Option<&mut Node> {
        self.nodes.get_mut(at)
    }

    /// Lets the next rows arrive; false where all results are there, or never will be.
    pub(crate) fn next_pass(&mut self) -> bool {
        let all = self.arrived == u16::MAX;
        self.arrived = self.arrived.saturating_add(self.strip);
        !all && !self.is_done()
    }

    fn is_done(&self) -> bool {
        self.nodes.iter().all(|node| node.done >= node.height)
    }

    /// Rows of the result of node `at` that can be computed by now, those below the map included.
    fn allowed(&self, at: usize) -> Option<u16> {
        let node = self.nodes.get(at)?;
        let mut allowed = u16::MAX;
        for (slot, back) in node.sources.iter().enumerate() {
            let height = if slot == 0 { node.input_height } else { node.height };
            let rows = match *back {
                // Other values from outside keep pace with the first.
                OUTSIDE | BELOW => {
                    let rows = u32::from(self.arrived) * u32::from(height);
                    rows.div_ceil(self.height.max(1).into()).min(u16::MAX.into()) as u16
                }
                back => at.checked_sub(back.into()).and_then(|at| self.nodes.get(at))?.pace,
            };
            allowed = if slot == 0 { node.allows(rows) } else { rows }.min(allowed);
        }
        Some(allowed)
    }

    /// First row of the value of node `at` that a reader still needs; all that were made where none does.
    fn still_needed(&self, at: usize) -> u16 {
        let (made, far) = self.nodes.get(at).map_or((0, 0), |node| (node.done, node.far));
        let mut needed = made;
        for (distance, reader) in (1..=far).zip(self.nodes.get(at + 1..).unwrap_or_default()) {
            for (slot, back) in reader.sources.iter().enumerate() {
                if u16::from(*back) == distance {
                    needed = reader.still_needs(slot).unwrap_or(made).min(needed);
                }
            }
        }
        needed
    }

    /// The rows that operation `at` computes in this pass, after all before it; `None` where there are none.
    pub(crate) fn advance(&mut self, at: usize) -> Option<Strip> {
        let allowed = self.allowed(at)?;
        let node = self.nodes.get_mut(at)?;
        node.pace = allowed - allowed % node.batch.max(1);
        let (from, to) = (node.done, node.pace.min(node.height));
        if to <= from {
            return None;
        }
        let mut strip = Strip { from: from.into(), to: to.into(), stay: 0, shift: 0 };
        // Only as seldom as the window allows: while it is planned, it allows nothing.
        if node.whole == 0 && to.saturating_sub(node.first) > node.capacity {
            let needed = self.still_needed(at);
            let node = self.nodes.get_mut(at)?;
            (strip.stay, strip.shift) = ((from - needed).into(), (needed - node.first).into());
            node.first = needed;
        }
        self.nodes.get_mut(at)?.done = to;
        Some(strip)
    }

    /// Goes through all passes to find how large each window must be, and whether the last result may be written over the
    /// value from outside that is marked as lying below it. For each strip, `visit` is told the operation and its rows. `None` where
    /// more rows would have to arrive than are counted.
    pub(crate) fn plan(&mut self, mut visit: impl FnMut(usize, Strip)) -> Option<bool> {
        let (mut safe, last) = (true, self.nodes.len().saturating_sub(1));
        self.nodes.iter_mut().for_each(|node| node.capacity = 0);
        // Windows grow to what was in them at any time; each pass begins with windows that move whenever they can.
        let mut largest = [0u16; MAX_STREAM];
        while self.next_pass() {
            for at in 0..self.nodes.len() {
                let Some(strip) = self.advance(at) else { continue };
                visit(at, strip);
                let Some(node) = self.nodes.get(at) else { continue };
                let rows = if node.whole > 0 { node.height } else { node.done - node.first };
                largest.get_mut(at).into_iter().for_each(|largest| *largest = rows.max(*largest));
                if at == last {
                    safe &= self.clears(node.done);
                }
            }
        }
        let done = self.is_done();
        for (node, largest) in self.nodes.iter_mut().zip(largest) {
            (node.capacity, node.first, node.done, node.pace) = (largest, 0, 0, 0);
        }
        done.then_some(safe)
    }

    /// True where nothing needs the first `rows` rows of the value below any more; the last operation may still add those that
    /// it writes, one by one.
    fn clears(&self, rows: u16) -> bool {
        let last = self.nodes.len().saturating_sub(1);
        let mut clear = true;
        for (at, node) in self.nodes.iter().enumerate() {
            for (slot, _) in node.sources.iter().enumerate().filter(|(_, back)| **back == BELOW) {
                let own = at == last && slot > 0;
                clear &= at != last || slot > 0;
                clear &= own || node.still_needs(slot).is_none_or(|first| first >= rows);
            }
        }
        clear
    }
}
