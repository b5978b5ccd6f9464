//! Lays a model out, on the machine that builds the program.

use std::vec;
use std::vec::Vec;

use super::Built;
use crate::kernel::{self, Buffers, Cut, Isa, Output, Planes, Second, Set};
use crate::model::{Header, Model, PROGRAM_TENSOR};
use crate::plan::{ALIGNMENT, Node, Part, Plan, Step, Tensors, Windows, parts};
use crate::session::{SessionError, Tables, resolve};

/// How much of memory a layout takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The least: [`Plan::arena_bytes`].
    Least,
    /// As much as makes it faster: [`Plan::fastest_bytes`].
    Fastest,
    /// At most these bytes of arena.
    Within(usize),
}

/// A model as it lies in flash.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The plan of an arena without the table of steps.
    pub plan: Plan,
    /// Offset in the space of the input image, or of its window.
    pub image: usize,
    /// True where the image is not stored whole.
    pub streamed: bool,
    /// Rows of an image that are taken together.
    pub rows: usize,
    /// One for each operation.
    pub steps: Vec<Step>,
    /// Of all joins: offset in the space, and size along the axis.
    pub parts: Vec<[u32; 2]>,
    /// How each convolution is cut up, where that is known; empty on machines that find it in no time.
    pub cuts: Vec<Cut>,
    /// The operations of streams as they begin.
    pub nodes: Vec<Node>,
    /// The tensors, and behind them the records.
    pub weights: Vec<u8>,
    /// The kernels that it uses.
    pub used: Set,
}

impl Layout {
    /// Lays `model` out for `isa`.
    ///
    /// # Errors
    /// The model cannot be planned, or not in that room.
    pub fn new<'m>(model: &Model<'m>, isa: Isa, room: Room) -> Result<Self, SessionError<'m>> {
        Self::with(model, isa, room, Weights::new(model))
    }

    /// As [`Layout::new`] with the tensors where they lie in the model's file, which is the weights. Behind it stand weights of 8 bits
    /// as f16 for kernels that do not read them in place.
    ///
    /// # Errors
    /// The same.
    pub fn in_file<'m>(model: &Model<'m>, isa: Isa, room: Room) -> Result<Self, SessionError<'m>> {
        Self::with(model, isa, room, Weights::in_file(model))
    }

    fn with<'m>(
        model: &Model<'m>,
        isa: Isa,
        room: Room,
        mut weights: Weights<'m>,
    ) -> Result<Self, SessionError<'m>> {
        let program = model.program();
        let mut windows = Windows::EMPTY;
        let plan = Plan::within(program, isa, Some(&mut windows))?;
        let joined = program.layers().map(|layer| parts(&layer)).sum::<usize>();
        let table = program.len() * size_of::<Step>() + joined * size_of::<Part>();
        // What is left of the table is the streams', and less than one operation of theirs.
        let length = (plan.table_bytes - table) / size_of::<Node>();
        let nodes_bytes = (length * size_of::<Node>()).next_multiple_of(ALIGNMENT);
        let without = |bytes: usize| bytes - plan.table_bytes;
        let least = without(plan.arena_bytes);
        let space = match room {
            Room::Least => least,
            Room::Fastest => without(plan.fastest_bytes),
            Room::Within(given) => {
                let space = given.saturating_sub(nodes_bytes).min(without(plan.fastest_bytes));
                if space < least {
                    return Err(SessionError::ArenaTooSmall { needed: nodes_bytes + least, given });
                }
                space / ALIGNMENT * ALIGNMENT
            }
        };
        let mut steps = vec![<Step as bytemuck::Zeroable>::zeroed(); program.len()];
        let mut joins = vec![[0; 2]; joined];
        let mut nodes = vec![<Node as bytemuck::Zeroable>::zeroed(); length];
        let mut tables = Tables { steps: &mut steps, parts: &mut joins, nodes: &mut nodes };
        let resolved = resolve(model, isa, Some(&mut windows), &mut tables, space)?;
        let mut used = Set::default();
        for (step, layer) in steps.iter_mut().zip(program.layers()) {
            step.relocate(&layer.op, |offset| weights.tensor(offset));
            if !isa.reads_eights() {
                weights.widen(step);
            }
            used = used.and(step.used());
        }
        weights.records(&mut steps);
        let streams = if length > 0 { Set::STREAMS } else { Set::default() };
        let strip = steps.first().filter(|_| resolved.streamed).and_then(Step::stream);
        let rows = strip.map_or(1, |(_, strip)| strip.into());
        let (cuts, of_cuts) = cuts(isa, &steps, &weights.bytes);
        let plan = Plan {
            arena_bytes: nodes_bytes + space,
            fastest_bytes: nodes_bytes + space,
            table_bytes: nodes_bytes,
            ..plan
        };
        Ok(Self {
            plan,
            image: resolved.input(program.header()).start,
            streamed: resolved.streamed,
            rows,
            steps,
            parts: joins,
            cuts,
            nodes,
            weights: weights.bytes,
            used: used.and(streams).and(of_cuts),
        })
    }

    /// Bytes of flash that weights and tables take: [`Built::flash_bytes`].
    pub fn flash_bytes(&self) -> usize {
        let tables =
            size_of_val(&self.steps[..]) + size_of_val(&self.parts[..]) + size_of_val(&self.cuts[..]);
        self.weights.len() + tables + size_of_val(&self.nodes[..])
    }

    /// The model itself, in memory that is never given back: what a program has that was built with this layout.
    pub fn leak(self, header: &Header, isa: Isa) -> Built {
        Built {
            header: *header,
            isa,
            plan: self.plan,
            image: self.image,
            streamed: self.streamed,
            rows: self.rows,
            steps: self.steps.leak(),
            parts: self.parts.leak(),
            cuts: self.cuts.leak(),
            nodes: self.nodes.leak(),
            weights: bytemuck::cast_slice(aligned(&self.weights))
                .get(..self.weights.len())
                .unwrap_or_default(),
        }
    }
}

/// How the convolutions of `steps` that run whole are cut up, and what that uses: whether some are cut up when they run, and their forms.
fn cuts(isa: Isa, steps: &[Step], weights: &[u8]) -> (Vec<Cut>, Set) {
    let weights = aligned_copy(weights);
    let (mut cuts, mut used, mut left) = (Vec::new(), Set::default(), 0);
    for step in steps {
        left = step.stream().map_or(left, |(ops, _)| ops);
        let streamed = left > 0;
        left = left.saturating_sub(1);
        let layer = step.layer(Tensors { model: bytemuck::cast_slice(&weights), widened: &[] });
        let scratch = step.scratch().len() / size_of::<f32>();
        let cut = layer.as_ref().filter(|_| !streamed);
        let cut = cut.and_then(|layer| kernel::cut(isa, layer, scratch, step.output().is_some()));
        used = used.and(match (&layer, cut) {
            (Some(layer), Some(cut)) => forms(isa, step, layer, cut),
            (Some(kernel::Layer::Conv { .. }), None) => Set::TILING.and(Set::FORMS),
            _ => Set::default(),
        });
        cuts.push(cut.unwrap_or(Cut::NEW));
    }
    if cuts.iter().all(|cut| !cut.is_known()) {
        cuts.clear();
    }
    (cuts, used)
}

/// What `layer` of `step`, which runs whole and is so cut up, takes of [`Set::FORMS`].
fn forms(isa: Isa, step: &Step, layer: &kernel::Layer<'_>, cut: Cut) -> Set {
    let values = |range: core::ops::Range<usize>| vec![0u16; range.len() / size_of::<u16>()];
    let (input, mut half, mut full) = (values(step.input()), step.output().map(values), Vec::new());
    let second = step.second().filter(|second| Some(second) != step.output().as_ref()).map(values);
    let second = match &second {
        Some(second) => Second::Other(second),
        None if step.second().is_some() => Second::InPlace,
        None => Second::None,
    };
    let output = match &mut half {
        Some(values) => Output::Half(values),
        None => {
            full.resize(step.output_shape().len(), 0.0);
            Output::Full(&mut full)
        }
    };
    let scratch = &mut vec![0.0; step.scratch().len() / size_of::<f32>()];
    kernel::forms(
        isa,
        layer,
        Buffers { input: &input, second, output, scratch, planes: Planes::default() },
        cut,
    )
}

/// A copy of `bytes` at a multiple of 4, which is never given back.
fn aligned(bytes: &[u8]) -> &'static [u32] {
    aligned_copy(bytes).leak()
}

fn aligned_copy(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u32::from_ne_bytes(word)
    });
    words.collect()
}

/// The tensors that steps read, one behind the other, or the file with all of them.
struct Weights<'m> {
    model: &'m [u8],
    whole: bool,
    /// Of each tensor its offset in the file, its bytes, and where it lies now.
    tensors: Vec<(usize, usize, Option<usize>)>,
    /// The records, in the file.
    program: core::ops::Range<usize>,
    bytes: Vec<u8>,
}

impl<'m> Weights<'m> {
    fn new(model: &Model<'m>) -> Self {
        let tensors = model.container().tensors().map(|tensor| (tensor.offset, tensor.data.len(), None));
        let program = model
            .container()
            .tensor(PROGRAM_TENSOR)
            .map(|tensor| tensor.offset..tensor.offset + tensor.data.len());
        let program = program.unwrap_or_default();
        Self { model: model.bytes(), whole: false, tensors: tensors.collect(), program, bytes: Vec::new() }
    }

    fn in_file(model: &Model<'m>) -> Self {
        Self { whole: true, bytes: model.bytes().to_vec(), ..Self::new(model) }
    }

    /// Where the tensor at this offset of the file lies; it is copied when it is first asked for.
    fn tensor(&mut self, offset: usize) -> usize {
        if self.whole {
            return offset;
        }
        let Some((offset, length, place)) = self.tensors.iter_mut().find(|(at, ..)| *at == offset) else {
            // Of an operation without it.
            return 0;
        };
        if place.is_none() {
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
            *place = Some(self.bytes.len());
            self.bytes.extend(self.model.get(*offset..*offset + *length).unwrap_or_default());
        }
        place.unwrap_or(0)
    }

    /// Puts f16 in the place of weights of 8 bits.
    fn widen(&mut self, step: &mut Step) {
        let mut widened = Vec::new();
        step.widen(bytemuck::cast_slice(&aligned_copy(&self.bytes)), &mut widened);
        if !widened.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
            step.widened_at(self.bytes.len());
            self.bytes.extend(widened.iter().flat_map(|half| half.to_ne_bytes()));
        }
    }

    /// Appends the records, where a step reads its own.
    fn records(&mut self, steps: &mut [Step]) {
        if self.whole {
            return;
        }
        let base = self.bytes.len();
        let mut any = false;
        for step in steps.iter_mut().filter(|step| step.has_record()) {
            step.move_record(|offset| base + offset.saturating_sub(self.program.start));
            any = true;
        }
        if any {
            self.bytes.extend(self.model.get(self.program.clone()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::kernel::Operations;
    use crate::session::Session;

    /// Every byte is another one.
    fn counted<T: bytemuck::Pod>() -> T {
        let mut value = T::zeroed();
        bytemuck::bytes_of_mut(&mut value).iter_mut().zip(1..).for_each(|(to, byte)| *to = byte);
        value
    }

    /// All that the models use: of a program that knows its model.
    struct Known;

    impl Operations for Known {
        const USED: Set = Set(Set::ALL.0 >> 1);
    }

    /// The forms of a program that is built in are those that an inference takes, no fewer and no more.
    #[test]
    fn forms_are_those_that_an_inference_takes() {
        let models = ["g0.6", "g0.6-i8", "dense"].map(|name| format!("fashion-mnist-resnet8-{name}"));
        for name in models.iter().map(String::as_str).chain(["cifar10-resnet20-g0.70"]) {
            let file = format!("{}/../models/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
            let bytes = crate::host::AlignedBytes::copy_of(&std::fs::read(file).unwrap());
            let model = Model::new_checked(bytes.as_slice()).unwrap();
            for room in [Room::Least, Room::Fastest] {
                let layout = Layout::new(&model, Isa::CortexM, room).unwrap();
                let forms = Set(layout.used.0 & Set::FORMS.0);
                assert!(!layout.used.has(Set::TILING) && forms != Set::FORMS);
                let built = layout.leak(model.program().header(), Isa::CortexM);
                let mut arena = crate::host::AlignedBytes::copy_of(&vec![0; built.arena_bytes()]);
                let mut session = Session::<Known>::built(&built, arena.as_mut_slice()).unwrap();
                let (image, mut logits) = (vec![77; built.header.input.len()], vec![0.0; session.classes()]);
                let taken = kernel::taken(|| session.run_image(&image, &mut logits, &mut ()).unwrap());
                assert_eq!(taken, forms, "{name} {room:?}");
            }
        }
    }

    #[test]
    fn tables_are_the_words_that_they_are_made_of() {
        let (step, node, cut) = (counted::<Step>(), counted::<Node>(), counted::<Cut>());
        let words = |bytes: &[u8]| {
            bytes.chunks(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).collect::<Vec<_>>()
        };
        let steps: Vec<u32> = bytemuck::bytes_of(&step)
            .chunks(4)
            .map(|four| u32::from_ne_bytes(four.try_into().unwrap()))
            .collect();
        let same = |a: &[u8], b: &[u8]| assert_eq!(a, b);
        same(bytemuck::bytes_of(&Step::of_words(steps.try_into().unwrap())), bytemuck::bytes_of(&step));
        let nodes = words(bytemuck::bytes_of(&node)).try_into().unwrap();
        same(bytemuck::bytes_of(&Node::of_words(nodes)), bytemuck::bytes_of(&node));
        let cuts = words(bytemuck::bytes_of(&cut)).try_into().unwrap();
        same(bytemuck::bytes_of(&Cut::of_words(cuts)), bytemuck::bytes_of(&cut));
    }
}
