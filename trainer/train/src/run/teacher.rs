//! The network whose answers a run learns.

use std::path::Path;

use candle_core::{Device, Tensor};
use lrpet_network::checkpoint::Purpose;
use lrpet_network::checkpoint::epsilon::epsilon_of;
use lrpet_network::export::{Folded, checked};
use lrpet_network::network::{InputKind, NETWORK_FILE, Network};
use lrpet_network::{Checkpoint, Normalization, Source};
use lrpet_runtime::host::AlignedBytes;

use super::checkpoint::io;
use super::recipe::Distillation;
use crate::folded::Engine;
use crate::{Mode, Taught, TrainError, Trainable};

/// A network that answers with its running statistics and is not trained.
pub(super) struct Teacher {
    settings: Distillation,
    /// Checksum of its file.
    pub checksum: String,
    kind: Kind,
    /// Factors and summands `[1, c, 1, 1]` of pixels that it normalises in another way.
    scale: Option<[Tensor; 2]>,
}

enum Kind {
    /// A checkpoint.
    Weights(Box<Trainable>),
    /// A model file.
    Model(Box<Folded>, Device),
}

impl Teacher {
    /// Reads the teacher of a run of `network` whose images are normalised as `normalization` says, in these classes.
    ///
    /// # Errors
    /// [`TrainError::Io`] and [`TrainError::Teacher`], where it is no network for such images and classes.
    pub fn open(
        settings: &Distillation,
        network: &Network,
        normalization: &Normalization,
        class_names: &[String],
        device: &Device,
    ) -> Result<Teacher, TrainError> {
        let path = &settings.teacher;
        let bytes = std::fs::read(path).map_err(|error| io(path, error))?;
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&bytes);
        let (kind, theirs) = if is_model(&bytes) {
            model(&bytes, path, network, device)?
        } else {
            weights(path, network, class_names, device)?
        };
        Ok(Teacher {
            settings: settings.clone(),
            checksum: format!("{crc:08x}"),
            kind,
            scale: theirs.map_or(Ok(None), |theirs| scale(normalization, &theirs, device))?,
        })
    }

    /// What it says of these images `[batch, c, h, w]`, normalised as the run's.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn answer(&mut self, images: &Tensor) -> Result<Taught, TrainError> {
        let images = match &self.scale {
            Some([factor, summand]) => images.broadcast_mul(factor)?.broadcast_add(summand)?,
            None => images.clone(),
        };
        let logits = match &mut self.kind {
            Kind::Weights(model) => model.forward(&images, Mode::Infer)?,
            Kind::Model(folded, device) => Engine::new(folded, device)?.forward(&images)?,
        };
        let Distillation { distill_weight, temperature, .. } = self.settings;
        Ok(Taught { logits, weight: distill_weight, temperature })
    }
}

fn failed(path: &Path, reason: impl ToString) -> TrainError {
    TrainError::Teacher { path: path.to_owned(), reason: reason.to_string() }
}

/// Whether the bytes are those of a model file, sound or not.
fn is_model(bytes: &[u8]) -> bool {
    safetensors::SafeTensors::deserialize(bytes).is_ok_and(|view| view.tensor("lrpet.program").is_ok())
}

fn model(
    bytes: &[u8],
    path: &Path,
    network: &Network,
    device: &Device,
) -> Result<(Kind, Option<Normalization>), TrainError> {
    let bytes = AlignedBytes::copy_of(bytes);
    let model = checked(bytes.as_slice(), "the file").map_err(|error| failed(path, error))?;
    let folded = Folded::from_model(&model).map_err(|error| failed(path, error))?;
    if folded.input != network.input || folded.classes != network.classes {
        let found = format!("input {} and {} classes", folded.input, folded.classes);
        let needed = format!("input {} and {} classes", network.input, network.classes);
        return Err(failed(path, format!("it has {found}, the images need {needed}")));
    }
    refuse_pictures(folded.input_kind, network).map_err(|reason| failed(path, reason))?;
    let normalization = folded.normalization.clone();
    Ok((Kind::Model(Box::new(folded), device.clone()), Some(normalization)))
}

fn weights(
    path: &Path,
    network: &Network,
    class_names: &[String],
    device: &Device,
) -> Result<(Kind, Option<Normalization>), TrainError> {
    let failed = |reason: String| failed(path, reason);
    let read = Checkpoint::read(path).map_err(|error| failed(error.to_string()))?;
    let source = Source::of_weights(None, &read.metadata, path).map_err(|error| failed(error.to_string()))?;
    let theirs = source.network(network.input, network.classes).map_err(|error| failed(error.to_string()))?;
    refuse_pictures(theirs.input_kind, network).map_err(|reason| failed(reason.to_owned()))?;
    let epsilon = epsilon_of(&read.metadata).map_err(failed)?;
    let theirs = match epsilon.filter(|_| !read.metadata.contains_key(NETWORK_FILE)) {
        Some(epsilon) => theirs.with_epsilon(epsilon),
        None => theirs,
    };
    let named: Option<Vec<String>> =
        read.metadata.get("class_names").and_then(|names| serde_json::from_str(names).ok());
    if let Some(named) = named.filter(|named| named != class_names) {
        let first = named.iter().zip(class_names).find(|(theirs, ours)| theirs != ours);
        let how = first.map_or(String::new(), |(theirs, ours)| format!(": `{theirs}` is `{ours}` here"));
        let (theirs, ours) = (named.len(), class_names.len());
        return Err(failed(format!("it was trained for other classes, {theirs} for {ours}{how}")));
    }
    let normalization = normalization(&read);
    let fitted = read.fit(&theirs, Purpose::Model).map_err(|error| failed(error.to_string()))?;
    let tensors = fitted.checkpoint.tensors.into_iter().map(|(name, array)| {
        Tensor::from_vec(array.values, array.shape, &Device::Cpu).map(|tensor| (name, tensor))
    });
    let tensors = tensors.collect::<Result<_, _>>()?;
    let mut model = Trainable::new(&theirs, 0, device)?;
    model.load(&tensors).map_err(|error| failed(error.to_string()))?;
    Ok((Kind::Weights(Box::new(model)), normalization))
}

/// Refuses a teacher of pictures for a `network` of values: nothing says which pictures they would be.
fn refuse_pictures(theirs: InputKind, network: &Network) -> Result<(), &'static str> {
    match (theirs, network.input_kind) {
        (InputKind::Picture, InputKind::Values) => {
            Err("it takes pictures, and the network that learns takes values")
        }
        _ => Ok(()),
    }
}

/// How the images of a checkpoint's training were normalised, where it says so.
fn normalization(read: &Checkpoint) -> Option<Normalization> {
    let numbers = |key: &str| -> Option<Vec<f32>> {
        read.metadata.get(key)?.split(',').map(|number| number.trim().parse().ok()).collect()
    };
    let (mean, std) = (numbers("mean")?, numbers("std")?);
    Some(Normalization { mean, std })
}

/// What takes values normalised as `ours` to those normalised as `theirs`; nothing where they are the same.
fn scale(
    ours: &Normalization,
    theirs: &Normalization,
    device: &Device,
) -> Result<Option<[Tensor; 2]>, TrainError> {
    let channels = ours.mean.len();
    let fits = theirs.mean.len() == channels && theirs.std.len() == channels;
    if ours == theirs || !fits {
        return Ok(None);
    }
    let each = |of: &dyn Fn(usize) -> f32| {
        Tensor::from_vec((0..channels).map(of).collect::<Vec<_>>(), (1, channels, 1, 1), device)
    };
    let factor = each(&|channel| ours.std[channel] / theirs.std[channel])?;
    let summand = each(&|channel| (ours.mean[channel] - theirs.mean[channel]) / theirs.std[channel])?;
    Ok(Some([factor, summand]))
}
