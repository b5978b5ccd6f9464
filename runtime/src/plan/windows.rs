//! The windows of a stream: which operations are in it, how many rows of each value are needed at once, where they lie.

use super::place::{Place, Side, Space};
use super::stream::{BELOW, Node, OUTSIDE, Stream};
use super::{ALIGNMENT, PlanError, StreamError};
use crate::kernel::{self, Isa};
use crate::model::{
    FEW_INPUTS, LayerInfo, MAX_INPUTS, MAX_LIVE, MAX_STREAM, Op, Shape, Stretch, Value, Walk, op_name,
};

/// Key of the windows among the live values.
const WINDOWS: usize = usize::MAX;

/// A stream whose values have their places.
pub(crate) struct Windows {
    nodes: [Node; MAX_STREAM],
    count: usize,
    /// Index of the first operation, and of the one behind the last.
    first: usize,
    end: usize,
    strip: u16,
    /// 1 where the first node is the image.
    image: usize,
    /// Where each value begins in the windows, bytes; of those that are stored whole, anything.
    offsets: [usize; MAX_STREAM],
    windows: Place,
    scratch: Place,
    /// Extent that the stream needs.
    need: usize,
    /// The value over which the last result could be written, and its place where it is.
    below: Option<usize>,
    over: Option<Place>,
}

/// The value over which the result of the last of `ops` operations, of shape `output`, may be written, as far as shapes and uses tell.
#[inline(never)]
fn below(walk: &Walk<'_>, first: usize, ops: usize, (last, output): (usize, Shape)) -> Option<usize> {
    let (mut walk, mut candidate) = (walk.clone(), None);
    for _ in 0..ops {
        let Some(layer) = walk.next() else { break };
        let slots = layer.last_read.iter().zip(&layer.input_shapes);
        for (&value, (dies, shape)) in layer.op.inputs().values().iter().zip(slots) {
            let value = usize::from(value);
            if value <= first && *dies && *shape == output {
                // Best what is added anyway.
                let added = layer.index == last;
                candidate = candidate.filter(|_| !added).or(Some(value));
            }
        }
    }
    candidate
}

/// Index of the last of `ops` operations, and the shape of its result.
#[inline(never)]
fn last(walk: &Walk<'_>, ops: usize) -> Option<(usize, Shape)> {
    let (mut walk, mut last) = (walk.clone(), None);
    for _ in 0..ops {
        let layer = walk.next()?;
        last = Some((layer.index, layer.output));
    }
    last
}

/// The stream whose first operation comes next never gets to its end.
#[cold]
#[inline(never)]
fn endless<'a>(walk: &Walk<'a>, index: usize) -> PlanError<'a> {
    let layer = walk.clone().next().map_or("stream", |layer| op_name(&layer.op));
    PlanError::Stream { index, layer, reason: StreamError::NotByRows }
}

/// The values that an operation of a stream reads, in the order in which its kernel takes them: of an addition that is written
/// over its first summand, that one is second.
fn values(layer: &LayerInfo<'_>, last: usize, below: Option<usize>) -> [Option<usize>; FEW_INPUTS] {
    let mut values = [None; FEW_INPUTS];
    for (to, &value) in values.iter_mut().zip(layer.op.inputs().values()) {
        *to = Some(usize::from(value));
    }
    let [first, ..] = values;
    if matches!(layer.op, Op::Add { .. }) && layer.index == last && first == below {
        values.swap(0, 1);
    }
    values
}

/// Bytes of the sums of a mean, one f32 a channel.
fn sums(layer: &LayerInfo<'_>) -> usize {
    (layer.output.len() * size_of::<f32>()).next_multiple_of(ALIGNMENT)
}

impl Windows {
    /// Those of no stream.
    pub(crate) const EMPTY: Windows = Windows {
        nodes: [Node::EMPTY; MAX_STREAM],
        count: 0,
        first: 0,
        end: 0,
        strip: 0,
        image: 0,
        offsets: [0; MAX_STREAM],
        windows: Place::EMPTY,
        scratch: Place::EMPTY,
        need: 0,
        below: None,
        over: None,
    };

    /// Places the values of the stream that begins at `first`, where `walk` is; the image, value 0, arrives in rows where `image`.
    pub(super) fn begin<'a>(
        &mut self,
        walk: &Walk<'a>,
        first: usize,
        stretch: Stretch,
        image: bool,
        (isa, space): (Isa, &mut Space),
    ) -> Result<(), PlanError<'a>> {
        let ops = usize::from(stretch.ops);
        let end = first + ops;
        // Each of these copies the walk, in a function of its own: so no two copies are on the stack.
        let below = last(walk, ops)
            .and_then(|last| below(walk, first, ops, last))
            .filter(|&value| !(image && value == 0));
        (self.count, self.first, self.end, self.strip) = (0, first, end, stretch.strip);
        (self.image, self.below, self.over) = (image.into(), below, None);
        self.link(walk, stretch)?;
        let mut rows = [0u16; MAX_STREAM];
        let safe = self.count_rows(&mut rows).ok_or_else(|| endless(walk, first))?;
        self.place(walk, &rows, safe, (isa, stretch.scratch, space))
    }

    /// A node for each operation, and for the image, each with those that it reads.
    #[inline(never)]
    fn link<'a>(&mut self, walk: &Walk<'a>, stretch: Stretch) -> Result<(), PlanError<'a>> {
        let (windows, mut walk) = (self, walk.clone());
        let (image, end, below) = (windows.image == 1, windows.end, windows.below);
        for at in 0..stretch.ops {
            let Some(layer) = walk.next() else { break };
            let name = op_name(&layer.op);
            let refused = |reason| PlanError::Stream { index: layer.index, layer: name, reason };
            if at == 0 && image {
                let rows = u16::try_from(layer.input.height).map_err(|_| refused(StreamError::NotByRows))?;
                windows.push(Node::image(rows)).ok_or(refused(StreamError::TooManyLive))?;
            }
            let last_use = layer.last_use.ok_or(refused(StreamError::Logits))?;
            let mut sources = [OUTSIDE; FEW_INPUTS];
            for (source, value) in sources.iter_mut().zip(values(&layer, end - 1, below)) {
                let Some(value) = value else { continue };
                *source = match windows.node(value) {
                    // It is there when all rows are.
                    Some(node) if windows.nodes.get(node).is_some_and(Node::is_mean) => {
                        return Err(refused(StreamError::NotByRows));
                    }
                    Some(node) => {
                        let back = u8::try_from(windows.count - node).unwrap_or(OUTSIDE);
                        windows.nodes.get_mut(node).into_iter().for_each(|node| node.read_by(back));
                        back
                    }
                    None if Some(value) == below => BELOW,
                    None => OUTSIDE,
                };
            }
            let node = Node::new(&layer, sources, last_use >= end).ok_or(refused(StreamError::NotByRows))?;
            let node = node.with_batch(stretch.pixels, layer.output.width, stretch.scratch > 0);
            windows.push(node).ok_or(refused(StreamError::TooManyLive))?;
        }
        Ok(())
    }

    /// Goes through the stream as [`Stream::plan`] does, and notes the most rows that each node makes at a time.
    #[inline(never)]
    fn count_rows(&mut self, rows: &mut [u16; MAX_STREAM]) -> Option<bool> {
        let nodes = self.nodes.get_mut(..self.count).unwrap_or_default();
        Stream::new(nodes, self.strip).plan(|at, strip| {
            rows.get_mut(at).into_iter().for_each(|rows| *rows = ((strip.to - strip.from) as u16).max(*rows));
        })
    }

    fn push(&mut self, node: Node) -> Option<()> {
        *self.nodes.get_mut(self.count)? = node;
        self.count += 1;
        Some(())
    }

    /// The node that makes `value`.
    fn node(&self, value: usize) -> Option<usize> {
        match value.checked_sub(self.first + 1) {
            None if value == 0 && self.image == 1 && self.count > 0 => Some(0),
            None => None,
            Some(op) => Some(op + self.image).filter(|&node| node < self.count),
        }
    }

    /// Finds a place for all of it.
    #[inline(never)]
    fn place<'a>(
        &mut self,
        walk: &Walk<'a>,
        rows: &[u16],
        safe: bool,
        (isa, given, space): (Isa, u16, &mut Space),
    ) -> Result<(), PlanError<'a>> {
        let (mut bytes, mut scratch) = (0usize, 0);
        let (mut walk, mut read) = (walk.clone(), 0);
        for _ in self.first..self.end {
            let Some(layer) = walk.next() else { break };
            if layer.index == self.first {
                read = usize::from(layer.op.inputs().first());
            }
            let name = op_name(&layer.op);
            let too_large = PlanError::TooLarge { index: layer.index, layer: name };
            let full =
                PlanError::Stream { index: layer.index, layer: name, reason: StreamError::TooManyLive };
            if layer.index == self.first && self.image == 1 {
                let values = layer.input.len() / (layer.input.height as usize).max(1);
                bytes = self.window(0, values, bytes).ok_or(too_large)?;
            }
            let at = self.node(layer.index + 1).ok_or(full)?;
            let needs =
                kernel::strip_scratch(isa, &layer, rows.get(at).copied().unwrap_or(0).into(), given.into());
            scratch = needs.checked_mul(4).ok_or(too_large)?.max(scratch);
            if self.nodes.get(at).is_some_and(Node::is_mean) {
                self.offsets.get_mut(at).into_iter().for_each(|offset| *offset = bytes);
                bytes = bytes.checked_add(sums(&layer)).ok_or(too_large)?;
            }
            if self.nodes.get(at).is_some_and(|node| !node.is_whole()) {
                let values = layer.output.len() / (layer.output.height as usize).max(1);
                bytes = self.window(at, values, bytes).ok_or(too_large)?;
            } else if let Some(value) = self.below.filter(|_| safe && layer.index + 1 == self.end) {
                self.over = Some(space.get(value));
            } else {
                // At the end that what the stream reads does not lie at: it may be gone before the result is, and leave a gap.
                let side = if self.image == 1 { Side::High } else { space.get(read).side.other() };
                let place = layer.output.len().checked_mul(2).and_then(|bytes| space.place(bytes, side));
                let kept = space.keep(layer.index + 1, place.ok_or(too_large)?);
                kept.then_some(()).ok_or(full)?;
            }
            if layer.index + 1 == self.end {
                self.windows = space.place(bytes, Side::Low).ok_or(too_large)?;
                space.keep(WINDOWS, self.windows).then_some(()).ok_or(full)?;
                self.scratch = space.place(scratch, Side::Low).ok_or(too_large)?;
                self.need = space.extent_with(self.scratch).ok_or(too_large)?;
            }
        }
        Ok(())
    }

    /// Lays out the window of node `at`, whose rows have `values` values, behind `bytes` of others.
    fn window(&mut self, at: usize, values: usize, bytes: usize) -> Option<usize> {
        *self.offsets.get_mut(at)? = bytes;
        bytes.checked_add(self.window_bytes(at, values)?.checked_next_multiple_of(ALIGNMENT)?)
    }

    fn window_bytes(&self, at: usize, values: usize) -> Option<usize> {
        values.checked_mul(self.nodes.get(at)?.capacity())?.checked_mul(2)
    }

    /// The nodes, in the order of the operations, behind that of the image where it arrives in rows.
    pub(super) fn nodes(&self) -> &[Node] {
        self.nodes.get(..self.count).unwrap_or_default()
    }

    /// How many operations.
    pub(super) fn ops(&self) -> usize {
        self.end - self.first
    }

    /// Rows that arrive with each pass.
    pub(super) fn strip(&self) -> u16 {
        self.strip
    }

    /// Index of the operation behind the last.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Extent that the stream needs.
    pub(super) fn need(&self) -> usize {
        self.need
    }

    /// The work of the stream.
    #[cfg(feature = "std")]
    pub(super) fn work(&self, walk: &Walk<'_>) -> Work {
        let layers: std::vec::Vec<LayerInfo<'_>> = walk.clone().take(self.end - self.first).collect();
        let row = |shape: crate::model::Shape| shape.len() / (shape.height as usize).max(1);
        let (mut nodes, mut work) = (self.nodes, Work::default());
        let mut stream = Stream::new(nodes.get_mut(..self.count).unwrap_or_default(), self.strip);
        while stream.next_pass() {
            // Looks which rows are there and needed.
            work.own += 120 * self.count as u64;
            for at in 0..self.count {
                let Some(strip) = stream.advance(at) else { continue };
                let op = at.checked_sub(self.image);
                let layer = op.and_then(|op| layers.get(op));
                let values = layer.map(|layer| row(layer.output));
                let values = values.unwrap_or(layers.first().map_or(0, |layer| row(layer.input)));
                // Rows that move, and the call; for the image a division for each byte.
                work.own += (strip.stay * values) as u64 / 2 + 700;
                if op.is_none() {
                    work.own += 60 * ((strip.to - strip.from) * values) as u64;
                }
                if let Some(op) = op {
                    *work.calls.entry((op, strip.to - strip.from)).or_insert(0) += 1;
                }
            }
        }
        work
    }

    /// Bytes of the scratch of all operations.
    #[cfg(feature = "std")]
    pub(super) fn scratch_bytes(&self) -> usize {
        self.scratch.bytes
    }

    /// Scratch of an operation: that of all; of a mean the sums of the rows that came, which stay.
    pub(super) fn scratch(&self, layer: &LayerInfo<'_>) -> Place {
        match self.node(layer.index + 1).filter(|&node| self.nodes.get(node).is_some_and(Node::is_mean)) {
            Some(node) => self.windows.part(self.offsets.get(node).copied().unwrap_or(0), sums(layer)),
            None => self.scratch,
        }
    }

    /// Place of the image's window, where rows have `values` values.
    pub(super) fn image(&self, values: usize) -> Option<Place> {
        let bytes = self.window_bytes(0, values)?;
        (self.image == 1).then(|| self.windows.part(0, bytes))
    }

    /// Where a value of shape `shape` lies that an operation of the stream reads or makes.
    fn value(&self, value: usize, row: usize, space: &Space) -> Place {
        match self.node(value).filter(|&node| self.nodes.get(node).is_some_and(|node| !node.is_whole())) {
            Some(node) => {
                let offset = self.offsets.get(node).copied().unwrap_or(0);
                self.windows.part(offset, self.window_bytes(node, row).unwrap_or(0))
            }
            None => self.over.filter(|_| value == self.end).unwrap_or_else(|| space.get(value)),
        }
    }

    /// Places of what `layer` reads and makes.
    pub(super) fn places(
        &self,
        layer: &LayerInfo<'_>,
        space: &Space,
    ) -> ([Option<Place>; MAX_INPUTS], Place) {
        let row = |shape: crate::model::Shape| shape.len() / (shape.height as usize).max(1);
        let values = values(layer, self.end - 1, self.below);
        let mut inputs = [None; MAX_INPUTS];
        for ((place, value), shape) in inputs.iter_mut().zip(values).zip(layer.input_shapes) {
            *place = value.map(|value| self.value(value, row(shape), space));
        }
        (inputs, self.value(layer.index + 1, row(layer.output), space))
    }

    /// Lets go of all that nothing behind the stream reads.
    pub(super) fn finish(&self, space: &mut Space, dying: &[Value]) {
        space.release(WINDOWS);
        dying.iter().for_each(|&value| space.release(value.into()));
        if let Some(place) = self.over {
            // Its room was that of the value below.
            space.keep(self.end, place);
        }
    }
}

/// What a stream computes.
#[cfg(feature = "std")]
#[derive(Default)]
pub(super) struct Work {
    /// How often each operation computes so many rows.
    pub(super) calls: std::collections::BTreeMap<(usize, usize), u64>,
    /// Estimate of the instructions for the rest.
    pub(super) own: u64,
}

/// Values from outside that a stream reads last.
pub(super) struct Dying {
    values: [Value; MAX_LIVE],
    count: usize,
}

impl Default for Dying {
    fn default() -> Self {
        Self { values: [0; MAX_LIVE], count: 0 }
    }
}

impl Dying {
    pub(super) fn push(&mut self, value: Value) {
        if let Some(free) = self.values.get_mut(self.count) {
            *free = value;
            self.count += 1;
        }
    }

    pub(super) fn values(&self) -> &[Value] {
        self.values.get(..self.count).unwrap_or_default()
    }
}
