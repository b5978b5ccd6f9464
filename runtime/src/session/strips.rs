//! Runs a stream: its operations in turns, each the rows that it can compute.

use core::ops::Range;

use crate::kernel::{self, Any, Buffers, Cut, Isa, Layer, Operations, Output, Planes, Second, Set, f16};
use crate::model::{FEW_INPUTS, Shape, Window};
use crate::plan::{Node, Step, Stream, Strip, Tensors};

use super::Hook;

/// A map, or the rows of it that are there.
#[derive(Clone, Copy, Debug)]
struct Rows {
    /// Offset in the space, bytes.
    at: usize,
    shape: Shape,
    /// Rows from one plane to the next, and the row that lies first.
    capacity: usize,
    first: usize,
}

impl Rows {
    fn width(&self) -> usize {
        self.shape.width as usize
    }

    /// Values from one plane to the next.
    fn plane(&self) -> usize {
        self.capacity * self.width()
    }

    /// Where it lies in the space, bytes.
    fn range(&self) -> Range<usize> {
        self.at..self.at + self.shape.channels as usize * self.plane() * 2
    }

    /// Index of the first value of `row`.
    fn index(&self, row: usize) -> usize {
        row.saturating_sub(self.first) * self.width()
    }
}

/// A stream under way.
pub(super) struct Run<'s> {
    pub(super) isa: Isa,
    pub(super) tensors: Tensors<'s>,
    pub(super) steps: &'s [Step],
    /// Index of the first operation.
    pub(super) first: usize,
    pub(super) space: &'s mut [u8],
    /// Where the image's window lies, and the image's shape, where it arrives in rows.
    pub(super) image: Option<(usize, Shape)>,
}

impl Run<'_> {
    /// Executes the stream while the rows `given` of what it reads first arrive, and to its end where `more` is false. `rows` writes the rows of an image, from the first to before the second, to a window: it is
    /// given the window, and the values from one plane to the next. `None` where something does not fit, which planning rules
    /// out; the index of the operation is then in the error.
    #[inline(never)]
    pub(super) fn all<U: Operations>(
        &mut self,
        nodes: &mut [Node],
        strip: u16,
        (given, more): (Range<u16>, bool),
        mut rows: impl FnMut(Range<usize>, &mut [u16], usize),
        hook: &mut impl Hook,
    ) -> Result<(), usize> {
        let image = usize::from(self.image.is_some());
        let mut stream = Stream::resume(nodes, strip, given.start);
        while (!more || stream.arrived() < given.end) && stream.next_pass() {
            for at in 0..image + self.steps.len() {
                let before = self.rows(stream.nodes(), at).ok_or(self.first)?;
                let Some(strip) = stream.advance(at) else { continue };
                self.shift(&before, &strip);
                let now = self.rows(stream.nodes(), at).ok_or(self.first)?;
                let Some(op) = at.checked_sub(image) else {
                    let window = self.space.get_mut(now.range()).unwrap_or_default();
                    let window: &mut [u16] = bytemuck::try_cast_slice_mut(window).unwrap_or_default();
                    let to = window.get_mut(now.index(strip.from)..).unwrap_or_default();
                    rows(strip.from..strip.to, to, now.plane());
                    continue;
                };
                let layer = self.first + op;
                let mut cut = *stream.node(at).ok_or(layer)?.cut();
                hook.before(layer);
                let done = match U::ALL {
                    true => self.execute_any(stream.nodes(), at, (op, &mut cut), &strip),
                    false => self.execute::<U>(stream.nodes(), at, (op, &mut cut), &strip),
                };
                done.ok_or(layer)?;
                hook.after(layer);
                *stream.node(at).ok_or(layer)?.cut() = cut;
            }
        }
        Ok(())
    }

    /// The rows that are there of what node `at` makes.
    fn rows(&self, nodes: &[Node], at: usize) -> Option<Rows> {
        let node = nodes.get(at)?;
        let (offset, shape) = match (self.image, at) {
            (Some(image), 0) => image,
            (image, at) => {
                let step = self.steps.get(at - usize::from(image.is_some()))?;
                (step.output_offset()?, step.output_shape())
            }
        };
        Some(match node.is_whole() {
            true => Rows { at: offset, shape, capacity: shape.height as usize, first: 0 },
            false => Rows { at: offset, shape, capacity: node.capacity(), first: node.first() },
        })
    }

    /// Moves the rows that stay to the front of their window.
    fn shift(&mut self, rows: &Rows, strip: &Strip) {
        if strip.stay == 0 || strip.shift == 0 {
            return;
        }
        let window = self.space.get_mut(rows.range()).unwrap_or_default();
        let window: &mut [u16] = bytemuck::try_cast_slice_mut(window).unwrap_or_default();
        kernel::move_rows(window, rows.plane(), strip.shift * rows.width(), strip.stay * rows.width());
    }

    /// What the operation of node `at` reads in `slot`.
    fn source(&self, nodes: &[Node], at: usize, op: usize, slot: usize) -> Option<Rows> {
        let step = self.steps.get(op)?;
        let (offset, shape) = step.source(slot)?;
        match nodes.get(at)?.source(slot) {
            Some(back) => self.rows(nodes, at.checked_sub(back)?),
            None => Some(Rows { at: offset, shape, capacity: shape.height as usize, first: 0 }),
        }
    }

    /// As [`Run::execute`], of a model that is known at run time: compiled with the runtime, not with the program that calls it.
    fn execute_any(
        &mut self,
        nodes: &[Node],
        at: usize,
        which: (usize, &mut Cut),
        strip: &Strip,
    ) -> Option<()> {
        self.execute::<Any>(nodes, at, which, strip)
    }

    /// Computes the rows of a strip.
    fn execute<U: Operations>(
        &mut self,
        nodes: &[Node],
        at: usize,
        (op, cut): (usize, &mut Cut),
        strip: &Strip,
    ) -> Option<()> {
        let step = self.steps.get(op)?;
        let output = self.rows(nodes, at)?;
        if U::USED.has(Set::CONCAT) && step.parts().is_some() {
            return self.join(nodes, at, op, strip, &output);
        }
        let input = self.source(nodes, at, op, 0)?;
        let layer = step.layer_of::<U>(self.tensors)?;
        if let Layer::GlobalAverage { .. } = layer {
            return self.mean(step, strip, &input);
        }
        let second = match self.source(nodes, at, op, 1) {
            None => Second::None,
            Some(second) => {
                // Unless it lies where the result goes.
                if second.at != output.at {
                    self.copy(&second, &output, 0, strip)?;
                }
                Second::InPlace
            }
        };
        let (layer, top) = strip_of(&layer, strip, input.shape)?;
        let ranges = [input.range(), output.range(), step.scratch()];
        let [from, to, scratch] = self.space.get_disjoint_mut(ranges).ok()?;
        let from: &[u16] = bytemuck::try_cast_slice(from).ok()?;
        let to: &mut [u16] = bytemuck::try_cast_slice_mut(to).ok()?;
        let (from, to) = (from.get(input.index(top)..)?, to.get_mut(output.index(strip.from)..)?);
        if let Layer::Add { .. } = layer {
            // Plane by plane, each of which is a run of values.
            let count = (strip.to - strip.from) * output.width();
            for plane in 0..output.shape.channels as usize {
                let [from_plane, to_plane] = [&input, &output].map(|map| plane * map.plane());
                let input = from.get(from_plane..from_plane + count)?;
                let output = Output::Half(to.get_mut(to_plane..to_plane + count)?);
                let planes = Planes::default();
                let buffers = Buffers { input, second, output, scratch: &mut [], planes };
                kernel::run_of::<U>(self.isa, &layer, buffers);
            }
            return Some(());
        }
        let scratch = bytemuck::try_cast_slice_mut(scratch).ok()?;
        let planes = Planes { input: input.plane(), output: output.plane() };
        let buffers = Buffers { input: from, second, output: Output::Half(to), scratch, planes };
        kernel::run_strip::<U>(self.isa, &layer, buffers, cut);
        Some(())
    }

    /// Adds the rows of a strip to the sums of the planes; makes means of them behind the last.
    fn mean(&mut self, step: &Step, strip: &Strip, input: &Rows) -> Option<()> {
        let ranges = [input.range(), step.output()?, step.scratch()];
        let [from, to, sums] = self.space.get_disjoint_mut(ranges).ok()?;
        let from: &[u16] = bytemuck::try_cast_slice(from).ok()?;
        let to: &mut [u16] = bytemuck::try_cast_slice_mut(to).ok()?;
        let sums: &mut [f32] = bytemuck::try_cast_slice_mut(sums).ok()?;
        let sums = sums.get_mut(..to.len())?;
        if strip.from == 0 {
            sums.fill(0.0);
        }
        let rows = strip.to - strip.from;
        let from = from.get(input.index(strip.from)..)?;
        kernel::add_rows(self.isa, [rows, input.width(), input.plane()], from, sums);
        if strip.to == input.shape.height as usize {
            let pixels = input.shape.pixels() as f32;
            to.iter_mut().zip(&*sums).for_each(|(to, sum)| *to = f16::narrow(*sum / pixels));
        }
        Some(())
    }

    /// Copies the rows of a strip from one map to another, whose channels begin at `channel`.
    fn copy(&mut self, from: &Rows, to: &Rows, channel: usize, strip: &Strip) -> Option<()> {
        let strides = [from.plane(), to.plane()];
        let [source, target] = self.space.get_disjoint_mut([from.range(), to.range()]).ok()?;
        let source: &[u16] = bytemuck::try_cast_slice(source).ok()?;
        let target: &mut [u16] = bytemuck::try_cast_slice_mut(target).ok()?;
        let source = source.get(from.index(strip.from)..)?;
        let target = target.get_mut(channel * to.plane() + to.index(strip.from)..)?;
        let count = (strip.to - strip.from) * to.width();
        kernel::copy_rows(source, target, strides, from.shape.channels as usize, count)
    }

    /// Joins the rows of a strip of several maps.
    fn join(&mut self, nodes: &[Node], at: usize, op: usize, strip: &Strip, output: &Rows) -> Option<()> {
        let mut channel = 0;
        for slot in 0..FEW_INPUTS {
            let Some(part) = self.source(nodes, at, op, slot) else { break };
            self.copy(&part, output, channel, strip)?;
            channel += part.shape.channels as usize;
        }
        Some(())
    }
}

/// The layer that computes the rows of a strip, and the first row of its input that it reads.
fn strip_of<'a>(layer: &Layer<'a>, strip: &Strip, whole: Shape) -> Option<(Layer<'a>, usize)> {
    let rows = |window: &Window| {
        let [kernel, stride, above] =
            [window.kernel[0], window.stride[0], window.padding[0]].map(usize::from);
        let height = whole.height as usize;
        let (begin, end) = (strip.from * stride, (strip.to - 1) * stride + kernel);
        let (first, last) = (begin.saturating_sub(above), end.saturating_sub(above).min(height));
        let [_, left, _, right] = window.padding;
        let (above, below) = (above.saturating_sub(begin), end.saturating_sub(above + height));
        let padding = [u16::try_from(above).ok()?, left, u16::try_from(below).ok()?, right];
        Some((first, last.checked_sub(first)?, Window { padding, ..*window }))
    };
    let height = u32::try_from(strip.to - strip.from).ok()?;
    let of = |shape: Shape, height: usize| Some(Shape { height: u32::try_from(height).ok()?, ..shape });
    Some(match *layer {
        Layer::Conv { input, output, window, weights, bias, activation } => {
            let (first, under, window) = rows(&window)?;
            let (input, output) = (of(input, under)?, Shape { height, ..output });
            (Layer::Conv { input, output, window, weights, bias, activation }, first)
        }
        Layer::Pool { input, output, window, kind } => {
            let (first, under, window) = rows(&window)?;
            let (input, output) = (of(input, under)?, Shape { height, ..output });
            (Layer::Pool { input, output, window, kind }, first)
        }
        Layer::PadShortcut { input, output, stride } => {
            let (first, under, _) = rows(&Window::square(1, stride, 0))?;
            let (input, output) = (of(input, under)?, Shape { height, ..output });
            (Layer::PadShortcut { input, output, stride }, first)
        }
        Layer::Add { .. } => (*layer, strip.from),
        Layer::Linear { .. } | Layer::GlobalAverage { .. } | Layer::Copy => return None,
    })
}
