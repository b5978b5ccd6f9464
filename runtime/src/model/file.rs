//! A whole model: container, program, and every tensor that the program needs.

use core::ops::Range;

use super::embed::MODEL_ALIGNMENT;
use super::error::{ModelError, ProgramError};
use super::header::{Header, InputKind};
use super::needs::{EIGHTS, GENERAL, Needs};
use super::program::{
    Op, PROGRAM_TENSOR, SCHEDULE_TENSOR, SELF_CHECK_IMAGES, SELF_CHECK_LOGITS, SELF_CHECK_TOLERANCE,
    SELF_CHECK_VALUES, Weights,
};
use super::schedule::{STREAMS, ScheduleError};
use super::shape::Shape;
use super::view::Program;
use super::walk::op_name;
use crate::format::{Dims, Dtype, Finder, RawStr, SafeTensors, TensorView};

/// A checked model: the program holds, and every tensor that it names is there with the right dtype, shape and
/// alignment and without NaN or infinity. Everything is read in place.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    bytes: &'a [u8],
    container: SafeTensors<'a>,
    program: Program<'a>,
    self_check: Option<SelfCheck<'a>>,
}

/// Offsets of a layer's tensors from the beginning of the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TensorOffsets {
    /// Dense or depthwise weight, or the thin half of a pair.
    pub(crate) weight: usize,
    /// The expanding half of a pair.
    pub(crate) expand: usize,
    pub(crate) bias: usize,
    /// Whether the weights have 8 bits each, and their scales lie behind the bias.
    pub(crate) eights: bool,
}

impl<'a> Model<'a> {
    /// Checks `bytes`, the whole file. They must begin at a multiple of [`MODEL_ALIGNMENT`] bytes in memory, as those of
    /// [`include_model!`](crate::include_model) and of a memory map do.
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, ModelError<'a>> {
        let container = SafeTensors::new_checked(bytes)?;
        let program = container.tensor(PROGRAM_TENSOR).ok_or(ModelError::NoProgram)?;
        if program.dtype != Dtype::U8 {
            let (found, needed) = (program.dtype, Dtype::U8);
            return Err(ModelError::Dtype { layer: PROGRAM_TENSOR, suffix: "", found, needed });
        }
        let mut program = Program::new_checked(program.data)?;
        if STREAMS && let Some(schedule) = container.tensor(SCHEDULE_TENSOR) {
            if schedule.dtype != Dtype::U8 {
                let (found, needed) = (schedule.dtype, Dtype::U8);
                return Err(ModelError::Dtype { layer: SCHEDULE_TENSOR, suffix: "", found, needed });
            }
            program = program.with_schedule(schedule.data).map_err(ModelError::Schedule)?;
        }
        if !bytes.as_ptr().addr().is_multiple_of(MODEL_ALIGNMENT) {
            return Err(ModelError::Address);
        }
        let mut finder = container.finder();
        for layer in program.layers() {
            let eights = tensors(&mut finder, &layer.op, layer.input, true)?.eights;
            if EIGHTS && eights && !Needs::EIGHTS.without(program.header().needs).is_none() {
                let (index, layer, missing) = (layer.index, op_name(&layer.op), Needs::EIGHTS);
                return Err(ModelError::Program(ProgramError::Unstated { index, layer, missing }));
            }
        }
        let self_check = SelfCheck::find(&container, &program)?;
        Ok(Self { bytes, container, program, self_check })
    }

    /// The layer program.
    pub fn program(&self) -> &Program<'a> {
        &self.program
    }

    /// The same model in the stretches of another schedule: see [`Program::with_schedule`].
    pub fn with_schedule(self, schedule: &'a [u8]) -> Result<Self, ScheduleError> {
        Ok(Self { program: self.program.with_schedule(schedule)?, ..self })
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The tensors.
    pub fn container(&self) -> &SafeTensors<'a> {
        &self.container
    }

    /// The model card: keys and values of `__metadata__`.
    pub fn metadata(&self) -> impl Iterator<Item = (RawStr<'a>, RawStr<'a>)> + use<'a> {
        self.container.metadata()
    }

    /// Images with the logits that they must give, where the file has some.
    pub fn self_check(&self) -> Option<SelfCheck<'a>> {
        self.self_check
    }

    /// The offsets of each layer's tensors, asked for in the order of the layers.
    pub(crate) fn offsets(
        &self,
    ) -> impl FnMut(&Op<&'a str>, Shape) -> Result<TensorOffsets, ModelError<'a>> + use<'a> {
        let mut finder = self.container.finder();
        move |op, input| tensors(&mut finder, op, input, false)
    }
}

/// The kinds of a layer's tensors.
const WEIGHT: usize = 0;
const EXPAND: usize = 1;
const BIAS: usize = 2;

/// Finds the tensors of `op` and checks dtype, shape and alignment, and with `values` also that all are finite.
fn tensors<'a>(
    finder: &mut Finder<'a>,
    op: &Op<&'a str>,
    input: Shape,
    values: bool,
) -> Result<TensorOffsets, ModelError<'a>> {
    let (layer, weights, n, columns, kernel) = match op {
        Op::Conv(conv) => {
            (conv.name, conv.weights, conv.out_channels, input.channels, Some(conv.window.kernel))
        }
        Op::Linear(linear) => {
            let features = input.len() as u32;
            (linear.name, linear.weights, linear.out_features, features, None)
        }
        Op::GeneralConv(conv) if GENERAL => {
            let columns = input.channels / conv.groups.max(1);
            (conv.name, conv.weights, conv.out_channels, columns, Some(conv.window.kernel))
        }
        general if GENERAL => return parameters(finder, general, input.channels, values),
        _ => return Ok(TensorOffsets::default()),
    };
    let kernel = kernel.map(|kernel| kernel.map(u32::from));
    let first = if matches!(weights, Weights::Pair { .. }) { ".thin.weight" } else { ".weight" };
    let may = EIGHTS && matches!(op, Op::Conv(_) | Op::Linear(_)) && weights != Weights::Depthwise;
    let mut search = Search { finder, layer, values, eights: may.then_some(false) };
    let mut weight = |kind, suffix, rows: u32, columns: u32, kernel: Option<[u32; 2]>| match kernel {
        Some([height, width]) => search.find(kind, suffix, Dtype::F16, &[rows, columns, height, width]),
        None => search.find(kind, suffix, Dtype::F16, &[rows, columns]),
    };
    let (weight, expand, suffix) = match weights {
        Weights::Dense | Weights::Depthwise => {
            let columns = if weights == Weights::Depthwise { 1 } else { columns };
            (weight(WEIGHT, first, n, columns, kernel)?, 0, ".bias")
        }
        Weights::Pair { rank } => (
            weight(WEIGHT, first, rank, columns, kernel)?,
            weight(EXPAND, ".expand.weight", n, rank, kernel.map(|_| [1, 1]))?,
            ".expand.bias",
        ),
    };
    let eights = EIGHTS && search.eights == Some(true);
    let bias = if eights {
        search.find_scaled(BIAS, suffix, n)?
    } else {
        search.find(BIAS, suffix, Dtype::F32, &[n])?
    };
    Ok(TensorOffsets { weight, expand, bias, eights })
}

/// True of the scales that weights of 8 bits may have: m·2^e with m from 8 to 15, at least 2^-21 and at most 480. So every weight is
/// an f16, exactly.
pub fn is_scale(scale: f32) -> bool {
    const LEAST: f32 = 1.0 / 2_097_152.0;
    // False of a NaN. Behind the first of its bits, which is not stored, three may be set.
    (LEAST..=480.0).contains(&scale) && scale.to_bits() & 0x000f_ffff == 0
}

/// The tensors of an operation with numbers for each of `channels` channels.
fn parameters<'a>(
    finder: &mut Finder<'a>,
    op: &Op<&'a str>,
    channels: u32,
    values: bool,
) -> Result<TensorOffsets, ModelError<'a>> {
    let Some(layer) = op.layer().copied() else { return Ok(TensorOffsets::default()) };
    let mut search = Search { finder, layer, values, eights: None };
    let mut find = |kind, suffix| search.find(kind, suffix, Dtype::F32, &[channels]);
    Ok(match op {
        Op::Activate(_) => TensorOffsets { weight: find(WEIGHT, ".slope")?, ..TensorOffsets::default() },
        _ => TensorOffsets {
            weight: find(WEIGHT, ".scale")?,
            bias: find(BIAS, ".bias")?,
            ..TensorOffsets::default()
        },
    })
}

/// Looks for the tensors of one layer.
struct Search<'f, 'a> {
    finder: &'f mut Finder<'a>,
    layer: &'a str,
    /// Whether all elements must be finite.
    values: bool,
    /// Whether the weights, which the first tensor says, have 8 bits; `None` where they cannot.
    eights: Option<bool>,
}

impl<'a> Search<'_, 'a> {
    /// The offset of the layer's tensor of this kind, where it is as it must be.
    // Kept a function, for size, as the two below.
    #[inline(never)]
    fn find(
        &mut self,
        kind: usize,
        suffix: &'static str,
        dtype: Dtype,
        shape: &[u32],
    ) -> Result<usize, ModelError<'a>> {
        Ok(self.tensor(kind, suffix, dtype, shape)?.offset)
    }

    /// The same of the biases and scales of `n` rows of weights of 8 bits.
    #[inline(never)]
    fn find_scaled(&mut self, kind: usize, suffix: &'static str, n: u32) -> Result<usize, ModelError<'a>> {
        let (layer, values) = (self.layer, self.values);
        let tensor = self.tensor(kind, suffix, Dtype::F32, &[2, n])?;
        let mut scales = tensor.data.chunks_exact(4).skip(n as usize);
        match scales.position(|scale| !is_scale(f32_le(scale))) {
            Some(row) if values => Err(ModelError::Scale { layer, suffix, row }),
            _ => Ok(tensor.offset),
        }
    }

    fn tensor(
        &mut self,
        kind: usize,
        suffix: &'static str,
        dtype: Dtype,
        shape: &[u32],
    ) -> Result<TensorView<'a>, ModelError<'a>> {
        let layer = self.layer;
        let tensor = self.finder.find(kind, &[layer, suffix]).ok_or(ModelError::Missing { layer, suffix })?;
        if EIGHTS && let (WEIGHT, Some(eights)) = (kind, &mut self.eights) {
            *eights = tensor.dtype == Dtype::I8;
        }
        let eights = EIGHTS && dtype == Dtype::F16 && self.eights == Some(true);
        let dtype = if eights { Dtype::I8 } else { dtype };
        check(&tensor, layer, suffix, dtype, shape)?;
        if !aligned(&tensor) {
            return Err(ModelError::Misaligned { layer, suffix });
        }
        if self.values
            && let Some(element) = first_not_finite(&tensor)
        {
            return Err(ModelError::NotFinite { layer, suffix, element });
        }
        Ok(tensor)
    }
}

#[inline(never)]
fn check<'a>(
    tensor: &TensorView<'a>,
    layer: &'a str,
    suffix: &'static str,
    dtype: Dtype,
    shape: &[u32],
) -> Result<(), ModelError<'a>> {
    if tensor.dtype != dtype {
        return Err(ModelError::Dtype { layer, suffix, found: tensor.dtype, needed: dtype });
    }
    if tensor.shape.as_slice() != shape {
        return Err(ModelError::Shape { layer, suffix, found: tensor.shape, needed: Dims::new(shape) });
    }
    Ok(())
}

/// True where the tensor's data can be used in place.
fn aligned(tensor: &TensorView<'_>) -> bool {
    match tensor.dtype {
        Dtype::F16 => bytemuck::try_cast_slice::<u8, u16>(tensor.data).is_ok(),
        Dtype::F32 => bytemuck::try_cast_slice::<u8, f32>(tensor.data).is_ok(),
        _ => true,
    }
}

/// Index of the first NaN or infinity of an F16, F32 or I8 tensor.
#[inline(never)]
fn first_not_finite(tensor: &TensorView<'_>) -> Option<usize> {
    if let (Dtype::F16, Ok(data)) = (tensor.dtype, bytemuck::try_cast_slice::<u8, u16>(tensor.data)) {
        return data.iter().position(|bits| bits & 0x7c00 == 0x7c00);
    }
    if EIGHTS && tensor.dtype == Dtype::I8 {
        return None;
    }
    tensor.data.chunks_exact(4).position(|value| !f32_le(value).is_finite())
}

fn f32_le(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

/// Images, or values, and the logits that a correct device computes from them.
#[derive(Clone, Copy, Debug)]
pub struct SelfCheck<'a> {
    /// Empty of a model that takes values.
    images: &'a [u8],
    /// Bits of f16; empty of a model that takes pictures.
    values: &'a [u16],
    logits: &'a [u8],
    /// Of each sample; empty in files that state none.
    tolerances: &'a [u8],
    input: Shape,
    classes: usize,
}

impl<'a> SelfCheck<'a> {
    fn find(container: &SafeTensors<'a>, program: &Program<'a>) -> Result<Option<Self>, ModelError<'a>> {
        let taken = program.header().kind == InputKind::Values;
        let name = if taken { SELF_CHECK_VALUES } else { SELF_CHECK_IMAGES };
        let (inputs, logits) = match (container.tensor(name), container.tensor(SELF_CHECK_LOGITS)) {
            (None, None) => return Ok(None),
            (Some(inputs), Some(logits)) => (inputs, logits),
            (None, _) => return Err(ModelError::Missing { layer: name, suffix: "" }),
            (_, None) => return Err(ModelError::Missing { layer: SELF_CHECK_LOGITS, suffix: "" }),
        };
        let (input, classes) = (program.header().input, program.header().classes);
        let samples = inputs.shape.as_slice().first().copied().unwrap_or(0);
        let Shape { channels, height, width } = input;
        let (images, values): (_, &[u16]) = if taken {
            check(&inputs, name, "", Dtype::F16, &[samples, channels, height, width])?;
            if let Some(element) = first_not_finite(&inputs) {
                return Err(ModelError::NotFinite { layer: name, suffix: "", element });
            }
            let misaligned = ModelError::Misaligned { layer: name, suffix: "" };
            (&[][..], bytemuck::try_cast_slice(inputs.data).map_err(|_| misaligned)?)
        } else {
            check(&inputs, name, "", Dtype::U8, &[samples, height, width, channels])?;
            (inputs.data, &[])
        };
        // Not used as slices of f32, so they need no alignment.
        check(&logits, SELF_CHECK_LOGITS, "", Dtype::F32, &[samples, classes])?;
        if let Some(element) = first_not_finite(&logits) {
            return Err(ModelError::NotFinite { layer: SELF_CHECK_LOGITS, suffix: "", element });
        }
        let tolerances = container.tensor(SELF_CHECK_TOLERANCE);
        if let Some(tolerances) = &tolerances {
            check(tolerances, SELF_CHECK_TOLERANCE, "", Dtype::F32, &[samples])?;
        }
        let tolerances = tolerances.map_or(&[][..], |tensor| tensor.data);
        let (logits, classes) = (logits.data, classes as usize);
        let found = Self { images, values, logits, tolerances, input, classes };
        // False for a NaN.
        let sound = |sample: &usize| (0.0..=found.largest(*sample)).contains(&found.tolerance(*sample));
        match (0..found.samples()).find(|sample| !sound(sample)) {
            Some(sample) => Err(ModelError::Tolerance { sample }),
            None => Ok(Some(found)),
        }
    }

    /// Samples whose inputs, logits and tolerances lie in these ranges of `file`, which was checked before. What lies outside of it,
    /// or is not aligned, is empty.
    pub(crate) fn at(
        file: &'a [u8],
        [inputs, logits, tolerances]: [Range<usize>; 3],
        header: &Header,
    ) -> Self {
        let part = |range| file.get(range).unwrap_or_default();
        let (images, values) = match header.kind {
            InputKind::Picture => (part(inputs), &[][..]),
            InputKind::Values => (&[][..], bytemuck::try_cast_slice(part(inputs)).unwrap_or_default()),
        };
        let (input, classes) = (header.input, header.classes as usize);
        Self { images, values, logits: part(logits), tolerances: part(tolerances), input, classes }
    }

    /// Where inputs, logits and tolerances lie in the model's file.
    #[cfg(feature = "std")]
    pub fn ranges(&self, model: &Model<'a>) -> [Range<usize>; 3] {
        let inputs = if self.values.is_empty() { self.images } else { bytemuck::cast_slice(self.values) };
        [inputs, self.logits, self.tolerances].map(|part| {
            let begin = part.as_ptr().addr().wrapping_sub(model.bytes().as_ptr().addr());
            if part.is_empty() { 0..0 } else { begin..begin + part.len() }
        })
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.images.len().max(self.values.len()) / self.input.len().max(1)
    }

    /// Pixels of sample `i`, h·w·c bytes in that order; empty where there is no such sample, and of a model that takes values.
    pub fn image(&self, i: usize) -> &'a [u8] {
        self.images.chunks_exact(self.input.len().max(1)).nth(i).unwrap_or_default()
    }

    /// Values of sample `i`, c·h·w in that order, as bits of f16; empty where there is no such sample, and of a model that takes
    /// pictures.
    pub fn values(&self, i: usize) -> &'a [u16] {
        self.values.chunks_exact(self.input.len().max(1)).nth(i).unwrap_or_default()
    }

    /// Logits of sample `i`, one for each class; empty where there is no such sample.
    pub fn logits(&self, i: usize) -> impl Iterator<Item = f32> + use<'a> {
        let logits = self.logits.chunks_exact((self.classes * 4).max(4)).nth(i).unwrap_or_default();
        logits.chunks_exact(4).map(f32_le)
    }

    /// Difference of a logit of sample `i` that roundings explain: what the file states, or else [`USUAL_TOLERANCE`] of the
    /// sample's largest logit (at least 1), for which see [`SelfCheck::usual_tolerance`].
    ///
    /// [`USUAL_TOLERANCE`]: crate::check::USUAL_TOLERANCE
    pub fn tolerance(&self, i: usize) -> f32 {
        self.tolerances.chunks_exact(4).nth(i).map_or_else(|| self.usual_tolerance(i), f32_le)
    }

    /// The tolerance of sample `i` where a file states none.
    pub fn usual_tolerance(&self, i: usize) -> f32 {
        crate::check::USUAL_TOLERANCE * self.largest(i)
    }

    /// Magnitude of the largest logit of sample `i`, at least 1. No tolerance is above it: within that a machine that computes
    /// nothing but zeros would pass.
    #[inline(never)]
    pub fn largest(&self, i: usize) -> f32 {
        self.logits(i).fold(1.0, |largest, logit| largest.max(logit.abs()))
    }
}
