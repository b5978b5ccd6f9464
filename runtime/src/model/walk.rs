//! One pass over a program: decodes each operation, follows the shapes and finds each value's last use.

use super::cost;
use super::header::OutputKind;
use super::inputs::MAX_INPUTS;
use super::needs::{FEW_LIVE, GENERAL, MANY};
use super::program::{Op, Value};
use super::read::take;
use super::shape::{Shape, Window};
use super::{Program, ProgramError};

/// Most values that may be alive at once (a value lives from the operation that makes it to the last that reads it): 128 in
/// builds with the feature `many` (and `std`), else [`FEW_LIVE`].
pub const MAX_LIVE: usize = if MANY { 128 } else { FEW_LIVE };

/// Values whose last uses are looked up together, in one pass over the operations that follow.
const LOOK_AHEAD: usize = 64;

/// One operation of a program with its shapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerInfo<'a> {
    /// Index of the operation; it makes value `index + 1`.
    pub index: usize,
    /// The operation.
    pub op: Op<&'a str>,
    /// Where its record begins, in bytes behind the program's header.
    pub record: usize,
    /// Shape of the value that it reads first.
    pub input: Shape,
    /// Shape of its result.
    pub output: Shape,
    /// Index of the last operation that reads the result; `None` for the logits.
    pub last_use: Option<usize>,
    /// Shape of each value that it reads (empty behind the last).
    pub input_shapes: [Shape; MAX_INPUTS],
    /// Of each value that it reads: whether this is the last operation that reads it.
    pub last_read: [bool; MAX_INPUTS],
}

impl<'a> LayerInfo<'a> {
    /// What a report says of it.
    pub fn facts(&self) -> LayerFacts<'a> {
        LayerFacts {
            name: op_name(&self.op),
            rank: self.op.weights().map_or(0, cost::rank_of) as u32,
            output: self.output,
            macs: cost::stored(&self.op, self.input).macs,
        }
    }
}

/// What a report says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerFacts<'a> {
    /// Name of the layer, or what it does.
    pub name: &'a str,
    /// Rank of a pair, 0 otherwise.
    pub rank: u32,
    /// Shape of its result.
    pub output: Shape,
    /// Multiply-adds of one inference.
    pub macs: u64,
}

/// Decodes operations one after another.
#[derive(Clone, Copy)]
pub(super) struct Ops<'a> {
    pub(super) rest: &'a [u8],
    left: u16,
    index: usize,
}

impl<'a> Ops<'a> {
    pub(super) fn new(program: &Program<'a>) -> Self {
        Self { rest: program.ops, left: program.header.ops, index: 0 }
    }

    // Kept a function, for size.
    #[inline(never)]
    fn next_op(&mut self) -> Result<Option<Op<&'a str>>, ProgramError<'a>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (op, rest) = take(self.rest).ok_or(ProgramError::Decode { index: self.index })?;
        self.rest = rest;
        self.left -= 1;
        self.index += 1;
        Ok(Some(op))
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<&'a str>;

    /// Ends early where a record is invalid.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_op().ok()?
    }
}

/// A value that is alive, or the room for one.
#[derive(Clone, Copy)]
struct Live {
    shape: Shape,
    /// [`Live::NONE`] where the room is free.
    value: Value,
    last_use: u16,
}

// Each copy of a walk has MAX_LIVE of them on the stack.
const _: () = assert!(size_of::<Live>() == 16);

impl Live {
    /// No value: programs have fewer ([`MAX_OPS`](super::MAX_OPS)).
    const NONE: Value = Value::MAX;

    const FREE: Live = Live { shape: Shape::new(0, 0, 0), value: Live::NONE, last_use: 0 };

    fn is_free(&self) -> bool {
        self.value == Live::NONE
    }
}

/// Goes through a program, checking it on the way. After [`Program::new_checked`] it never fails. Planning copies it to look ahead,
/// on a device's stack: so it is small.
#[derive(Clone)]
pub(crate) struct Walk<'a> {
    ops: Ops<'a>,
    /// Bytes of all records.
    length: usize,
    /// What the header states: operations, and the result.
    count: u16,
    result: OutputKind,
    output: Shape,
    classes: u32,
    live: [Live; MAX_LIVE],
    last_uses: LastUses,
}

/// The last operations that read the values from `first` on; 0 where none does, or only the first operation.
#[derive(Clone)]
struct LastUses {
    first: usize,
    indices: [u16; LOOK_AHEAD],
}

impl LastUses {
    /// Looks up the values from `first` on, which is the newest that was made before `ops`.
    #[inline(never)]
    fn new(ops: Ops<'_>, first: usize) -> Self {
        let mut indices = [0; LOOK_AHEAD];
        for (index, op) in (ops.index as u16..).zip(ops) {
            for &value in op.inputs().values() {
                let slot = usize::from(value).checked_sub(first).and_then(|at| indices.get_mut(at));
                // A value that is read before it is made is an error, once the walk gets there.
                if let Some(slot) = slot.filter(|_| value <= index) {
                    *slot = index;
                }
            }
        }
        Self { first, indices }
    }

    /// Index of the last operation that reads `value`; `None` where it lies beyond those that were looked up.
    fn of(&self, value: usize) -> Option<u16> {
        self.indices.get(value.checked_sub(self.first)?).copied()
    }
}

impl<'a> Walk<'a> {
    pub(crate) fn new(program: &Program<'a>) -> Self {
        let ops = Ops::new(program);
        let header = &program.header;
        let mut walk = Self {
            ops,
            length: program.ops.len(),
            count: header.ops,
            result: header.result,
            output: header.output,
            classes: header.classes,
            live: [Live::FREE; MAX_LIVE],
            last_uses: LastUses::new(ops, 0),
        };
        let last_use = walk.last_uses.of(0).unwrap_or(0);
        walk.live[0] = Live { value: 0, shape: header.input, last_use };
        walk
    }

    /// Index of the last operation that reads `value`, which the current one makes.
    fn last_use(&mut self, value: usize) -> Option<u16> {
        let index = match self.last_uses.of(value) {
            Some(index) => index,
            None => {
                self.last_uses = LastUses::new(self.ops, value);
                self.last_uses.of(value)?
            }
        };
        // Only the image can be read by the first operation.
        (index > 0).then_some(index)
    }

    /// Bytes that follow the records read so far.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.ops.rest
    }

    /// How many values are alive: made by now and read by a later operation.
    pub(super) fn alive(&self) -> usize {
        self.live.iter().filter(|live| !live.is_free()).count()
    }

    fn live(&self, value: Value) -> Option<&Live> {
        self.live.iter().find(|live| live.value == value).filter(|live| !live.is_free())
    }

    /// The next operation.
    pub(crate) fn next_layer(&mut self) -> Result<Option<LayerInfo<'a>>, ProgramError<'a>> {
        let (before, index) = (self.ops.rest.len(), self.ops.index);
        let Some(op) = self.ops.next_op()? else { return Ok(None) };
        let record = self.length.saturating_sub(before);
        let layer = op_name(&op);
        let values = op.inputs();
        let mut shapes = [Shape::new(0, 0, 0); MAX_INPUTS];
        let mut last_read = [false; MAX_INPUTS];
        let slots = shapes.iter_mut().zip(&mut last_read);
        for ((shape, last_read), &value) in slots.zip(values.values()) {
            let live = self.live(value).ok_or(ProgramError::UnknownValue { index, layer, value })?;
            (*shape, *last_read) = (live.shape, usize::from(live.last_use) == index);
        }
        let [input, second, ..] = shapes;
        if let Op::Conv(super::Conv { window, .. }) | Op::Pool(super::Pool { window, .. }) = &op
            && padding_exceeds_kernel(window)
        {
            return Err(ProgramError::Padding { index, layer });
        }
        let output = op.result_shape(input).map_err(|reason| match op.is_general() {
            true => ProgramError::Operation { index, layer, input, reason },
            false => ProgramError::Shapes { index, layer, input },
        })?;
        if !op.joins(output, shapes.get(..values.values().len()).unwrap_or_default()) {
            return Err(match op {
                Op::Concat(_) => ProgramError::Concat { index, layer, output },
                Op::Binary(_) | Op::Join(_) | Op::Outputs(_) if GENERAL => {
                    ProgramError::Concat { index, layer, output }
                }
                _ => ProgramError::Summands { index, layer, output, second },
            });
        }
        for live in &mut self.live {
            if usize::from(live.last_use) <= index {
                *live = Live::FREE;
            }
        }
        let last = index + 1 == usize::from(self.count);
        let last_use = if last { None } else { self.last_use(index + 1) };
        if let Some(last_use) = last_use {
            let free = self.live.iter_mut().find(|live| live.is_free());
            let free = free.ok_or(ProgramError::TooManyLive { index, layer })?;
            *free = Live { value: (index + 1) as Value, shape: output, last_use };
        } else if !last {
            // The reader may be behind an operation that cannot be decoded: that is the error then.
            let mut following = self.ops;
            while following.next_op()?.is_some() {}
            return Err(ProgramError::Unused { index, layer });
        } else if output != self.output {
            return Err(match self.result {
                OutputKind::Classes => ProgramError::Logits { index, layer, output, classes: self.classes },
                OutputKind::Values => ProgramError::Result { index, layer, output, stated: self.output },
            });
        }
        let last_use = last_use.map(usize::from);
        Ok(Some(LayerInfo { index, op, record, input, output, last_use, input_shapes: shapes, last_read }))
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = LayerInfo<'a>;

    /// Ends early where the program is invalid, which a checked one never is.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_layer().ok()?
    }
}

/// [`Op::name`] with the lifetime of the model's bytes.
pub(crate) fn op_name<'a>(op: &Op<&'a str>) -> &'a str {
    op.layer().copied().unwrap_or_else(|| op.kind())
}

/// A window that lies wholly in the padding would be empty; so every padding must be smaller than the kernel.
fn padding_exceeds_kernel(window: &Window) -> bool {
    let [top, left, bottom, right] = window.padding;
    let [height, width] = window.kernel;
    top.max(bottom) >= height || left.max(right) >= width
}
