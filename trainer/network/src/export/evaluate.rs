//! A model file over a data set with the runtime, on all cores.

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{InputKind, Model};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Hook, RunError, Session};
use rayon::prelude::*;

use super::{ExportError, Ranges};
use crate::Dataset;

/// Logits of a list of images.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Values, images × classes.
    pub values: Vec<f32>,
    /// Classes.
    pub classes: usize,
}

impl Logits {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.values.len() / self.classes
    }

    /// True where there is no image.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Logits of each image.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes)
    }

    /// The class with the largest logit of each image, the first of equals.
    pub fn predictions(&self) -> impl Iterator<Item = u32> {
        let best = |row: &[f32]| {
            let first = (0, f32::NEG_INFINITY);
            row.iter()
                .enumerate()
                .fold(first, |best, (class, &x)| if x > best.1 { (class, x) } else { best })
                .0
        };
        self.rows().map(move |row| best(row) as u32)
    }

    /// Images whose prediction is their label.
    pub fn correct(&self, labels: &[u32]) -> usize {
        self.predictions().zip(labels).filter(|(prediction, label)| prediction == *label).count()
    }

    /// Top-1 accuracy, 0 to 1; 0 where there is no image.
    pub fn accuracy(&self, labels: &[u32]) -> f64 {
        self.correct(labels) as f64 / labels.len().max(1) as f64
    }
}

/// What a data set holds, and how the runtime takes it.
pub trait Sample: Copy + Sync {
    /// The input of a model that takes it.
    const KIND: InputKind;

    /// One inference.
    ///
    /// # Errors
    /// Those of the session.
    fn run(
        session: &mut Session<'_>,
        sample: &[Self],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError>;
}

impl Sample for u8 {
    const KIND: InputKind = InputKind::Picture;

    fn run(
        session: &mut Session<'_>,
        sample: &[u8],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        session.run_image(sample, logits, hook)
    }
}

impl Sample for f32 {
    const KIND: InputKind = InputKind::Values;

    fn run(
        session: &mut Session<'_>,
        sample: &[f32],
        logits: &mut [f32],
        hook: &mut impl Hook,
    ) -> Result<(), RunError> {
        session.run_values(sample, logits, hook)
    }
}

/// Checks that `data` has the images, or values, and as many classes as `model` takes.
///
/// # Errors
/// [`ExportError::Data`], [`ExportError::Kind`].
pub fn check_data<T: Sample>(model: &Model<'_>, data: &Dataset<T>) -> Result<(), ExportError> {
    let header = model.program().header();
    if header.kind != T::KIND {
        return Err(ExportError::Kind { model: header.kind });
    }
    if data.shape == header.input && data.classes.len() == header.classes as usize {
        return Ok(());
    }
    Err(ExportError::Data {
        model: header.input,
        classes: header.classes as usize,
        data: data.shape,
        data_classes: data.classes.len(),
    })
}

/// Logits of every image of `data` by the runtime, one session a chunk of images, chunks in parallel.
/// `progress` is told the images that a finished chunk had.
///
/// # Errors
/// [`ExportError::Data`], or [`ExportError::Model`] where the runtime refuses the model.
pub fn runtime_logits<T: Sample>(
    model: &Model<'_>,
    data: &Dataset<T>,
    progress: impl Fn(usize) + Sync,
) -> Result<Logits, ExportError> {
    Ok(watched::<T, ()>(model, data, progress)?.0)
}

/// [`runtime_logits`], and how far the values of each layer went.
///
/// # Errors
/// As [`runtime_logits`].
pub fn ranged_logits<T: Sample>(
    model: &Model<'_>,
    data: &Dataset<T>,
    progress: impl Fn(usize) + Sync,
) -> Result<(Logits, Ranges), ExportError> {
    let (logits, seen) = watched::<T, Ranges>(model, data, progress)?;
    let mut ranges = Ranges::default();
    seen.iter().for_each(|seen| ranges.join(seen));
    Ok((logits, ranges))
}

/// Logits by the runtime, with the hook of each chunk.
fn watched<T: Sample, H: Hook + Default + Send>(
    model: &Model<'_>,
    data: &Dataset<T>,
    progress: impl Fn(usize) + Sync,
) -> Result<(Logits, Vec<H>), ExportError> {
    check_data(model, data)?;
    let refused = |reason: String| ExportError::Model { what: "model".into(), reason };
    // Layer by layer: here memory does not count, and a stream shows no layer whole.
    let by_layers = model.with_schedule(&[]).map_err(|error| refused(error.to_string()))?;
    let model = &by_layers;
    let classes = model.program().header().classes as usize;
    let plan = Plan::new(model.program(), Isa::detect()).map_err(|error| refused(error.to_string()))?;
    let mut values = vec![0.0; data.len() * classes];
    // A few chunks a thread even out their speeds; each pays for one session.
    let chunk = data.len().div_ceil(8 * rayon::current_num_threads()).max(1);
    let size = data.shape.len();
    let work = values.par_chunks_mut(chunk * classes).zip(data.images.par_chunks(chunk * size));
    let run = |(logits, images): (&mut [f32], &[T])| -> Result<H, ExportError> {
        let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
        let mut session =
            Session::new(model, arena.as_mut_slice()).map_err(|error| refused(error.to_string()))?;
        let mut hook = H::default();
        for (logits, image) in logits.chunks_exact_mut(classes).zip(images.chunks_exact(size)) {
            T::run(&mut session, image, logits, &mut hook).map_err(|error| refused(error.to_string()))?;
        }
        progress(images.len() / size);
        Ok(hook)
    };
    let hooks = work.map(run).collect::<Result<_, _>>()?;
    Ok((Logits { values, classes }, hooks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_counts_the_first_of_the_largest() {
        let logits = Logits { values: vec![0.0, 1.0, 1.0, -3.0, -2.0, -4.0], classes: 3 };
        assert_eq!(logits.predictions().collect::<Vec<_>>(), [1, 1]);
        assert_eq!((logits.correct(&[1, 0]), logits.accuracy(&[1, 0])), (1, 0.5));
    }
}
