//! A whole model: container, program, and every tensor that the program needs.

use super::embed::MODEL_ALIGNMENT;
use super::error::ModelError;
use super::needs::GENERAL;
use super::program::{
    Op, PROGRAM_TENSOR, SCHEDULE_TENSOR, SELF_CHECK_IMAGES, SELF_CHECK_LOGITS, SELF_CHECK_TOLERANCE, Weights,
};
use super::schedule::{STREAMS, ScheduleError};
use super::shape::Shape;
use super::view::Program;
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
            tensors(&mut finder, &layer.op, layer.input, true)?;
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
    let mut search = Search { finder, layer, values };
    let mut weight = |kind, suffix, rows: u32, columns: u32, kernel: Option<[u32; 2]>| match kernel {
        Some([height, width]) => search.find(kind, suffix, Dtype::F16, &[rows, columns, height, width]),
        None => search.find(kind, suffix, Dtype::F16, &[rows, columns]),
    };
    Ok(match weights {
        Weights::Dense | Weights::Depthwise => {
            let columns = if weights == Weights::Depthwise { 1 } else { columns };
            TensorOffsets {
                weight: weight(WEIGHT, ".weight", n, columns, kernel)?,
                expand: 0,
                bias: search.find(BIAS, ".bias", Dtype::F32, &[n])?,
            }
        }
        Weights::Pair { rank } => TensorOffsets {
            weight: weight(WEIGHT, ".thin.weight", rank, columns, kernel)?,
            expand: weight(EXPAND, ".expand.weight", n, rank, kernel.map(|_| [1, 1]))?,
            bias: search.find(BIAS, ".expand.bias", Dtype::F32, &[n])?,
        },
    })
}

/// The tensors of an operation with numbers for each of `channels` channels.
fn parameters<'a>(
    finder: &mut Finder<'a>,
    op: &Op<&'a str>,
    channels: u32,
    values: bool,
) -> Result<TensorOffsets, ModelError<'a>> {
    let Some(layer) = op.layer().copied() else { return Ok(TensorOffsets::default()) };
    let mut search = Search { finder, layer, values };
    let mut find = |kind, suffix| search.find(kind, suffix, Dtype::F32, &[channels]);
    Ok(match op {
        Op::Activate(_) => TensorOffsets { weight: find(WEIGHT, ".slope")?, ..TensorOffsets::default() },
        _ => TensorOffsets { weight: find(WEIGHT, ".scale")?, expand: 0, bias: find(BIAS, ".bias")? },
    })
}

/// Looks for the tensors of one layer.
struct Search<'f, 'a> {
    finder: &'f mut Finder<'a>,
    layer: &'a str,
    /// Whether all elements must be finite.
    values: bool,
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
        let layer = self.layer;
        let tensor = self.finder.find(kind, &[layer, suffix]).ok_or(ModelError::Missing { layer, suffix })?;
        check(&tensor, layer, suffix, dtype, shape)?;
        if !aligned(&tensor) {
            return Err(ModelError::Misaligned { layer, suffix });
        }
        if self.values
            && let Some(element) = first_not_finite(&tensor)
        {
            return Err(ModelError::NotFinite { layer, suffix, element });
        }
        Ok(tensor.offset)
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

/// Index of the first NaN or infinity of an F16 or F32 tensor.
#[inline(never)]
fn first_not_finite(tensor: &TensorView<'_>) -> Option<usize> {
    if let (Dtype::F16, Ok(data)) = (tensor.dtype, bytemuck::try_cast_slice::<u8, u16>(tensor.data)) {
        return data.iter().position(|bits| bits & 0x7c00 == 0x7c00);
    }
    tensor.data.chunks_exact(4).position(|value| !f32_le(value).is_finite())
}

fn f32_le(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

/// Images and the logits that a correct device computes from them.
#[derive(Clone, Copy, Debug)]
pub struct SelfCheck<'a> {
    images: &'a [u8],
    logits: &'a [u8],
    /// Of each sample; empty in files that state none.
    tolerances: &'a [u8],
    input: Shape,
    classes: usize,
}

impl<'a> SelfCheck<'a> {
    fn find(container: &SafeTensors<'a>, program: &Program<'a>) -> Result<Option<Self>, ModelError<'a>> {
        let images = container.tensor(SELF_CHECK_IMAGES);
        let logits = container.tensor(SELF_CHECK_LOGITS);
        let (images, logits) = match (images, logits) {
            (None, None) => return Ok(None),
            (Some(images), Some(logits)) => (images, logits),
            (None, _) => return Err(ModelError::Missing { layer: SELF_CHECK_IMAGES, suffix: "" }),
            (_, None) => return Err(ModelError::Missing { layer: SELF_CHECK_LOGITS, suffix: "" }),
        };
        let (input, classes) = (program.header().input, program.header().classes);
        let samples = images.shape.as_slice().first().copied().unwrap_or(0);
        let shape = [samples, input.height, input.width, input.channels];
        check(&images, SELF_CHECK_IMAGES, "", Dtype::U8, &shape)?;
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
        let (images, logits, classes) = (images.data, logits.data, classes as usize);
        let found = Self { images, logits, tolerances, input, classes };
        // False for a NaN.
        let sound = |sample: &usize| (0.0..=found.largest(*sample)).contains(&found.tolerance(*sample));
        match (0..found.samples()).find(|sample| !sound(sample)) {
            Some(sample) => Err(ModelError::Tolerance { sample }),
            None => Ok(Some(found)),
        }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.images.len() / self.input.len().max(1)
    }

    /// Pixels of sample `i`, h·w·c bytes in that order; empty where there is no such sample.
    pub fn image(&self, i: usize) -> &'a [u8] {
        self.images.chunks_exact(self.input.len().max(1)).nth(i).unwrap_or_default()
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
