//! What a checkpoint's network was trained on: from a data set, from the checkpoint itself, or from the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lrpet_runtime::model::Shape;
use lrpet_trainer::data::{self, DataError, Dataset, Normalization, registry};
use lrpet_trainer::export::{Checkpoint, SELF_CHECK_SAMPLES};
use lrpet_trainer::network::Network;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data_args::{Policy, folder};
use super::test_images::{self, TEST_RESIZE, TEST_SHARE, Trained};

/// Images of a self-check where no data set is at hand.
const NOISE_IMAGES: usize = 4;
/// Height and width where nothing says otherwise: the known networks are CIFAR's.
const USUAL_SIZE: u32 = 32;

#[derive(clap::Args)]
pub struct ImageArgs {
    /// Data set, or folder of images per class, that the network was trained on [default: the data set that the
    /// checkpoint names, if any]
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Shape of the images, where no data set says it [default: what the checkpoint says, or its channels and 32×32]
    #[arg(long, value_name = "CxHxW")]
    input: Option<String>,
    /// Mean of each channel of pixels scaled to 0..1 [default: what the checkpoint says, or 0]
    #[arg(long, value_name = "M,…", value_delimiter = ',')]
    mean: Vec<f32>,
    /// Standard deviation of each channel of pixels scaled to 0..1 [default: what the checkpoint says, or 1]
    #[arg(long, value_name = "S,…", value_delimiter = ',')]
    std: Vec<f32>,
    /// What to do about test images of a folder that cannot be read
    #[arg(long, value_enum, default_value = "refuse")]
    bad_images: Policy,
    /// Take images with other classes than those of the training all the same: classes are compared by their numbers
    #[arg(long)]
    other_classes: bool,
}

/// What the network takes and tells apart.
pub struct Images {
    /// Name of the data set; empty where there is none.
    pub dataset: String,
    /// Shape of one image.
    pub shape: Shape,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How pixels become the input.
    pub normalization: Normalization,
    /// How pictures of a folder are prepared for testing: keys and values for the model's card.
    pub preparation: Vec<(&'static str, String)>,
    /// The test set, where its files are here.
    pub test: Option<data::Images>,
}

impl Images {
    /// Images for the self-check: some of the test set, or noise, which serves as well to compare two machines.
    pub fn samples(&self) -> Result<Dataset> {
        if let Some(test) = &self.test {
            return Ok(test.read(&test.spread(SELF_CHECK_SAMPLES))?);
        }
        let mut images = vec![0; NOISE_IMAGES * self.shape.len()];
        ChaCha8Rng::seed_from_u64(0).fill(&mut images[..]);
        let labels = vec![0; NOISE_IMAGES];
        Ok(Dataset { images, labels, shape: self.shape, classes: self.classes.clone() })
    }
}

impl ImageArgs {
    /// Arguments with which `lrpet train` reads the images of which `found` was made; none where no data set is known.
    pub fn words(&self, found: &Images) -> Vec<OsString> {
        let known = Some(&found.dataset).filter(|name| registry::entry(name).is_ok());
        let Some(data) = self.data.as_ref().or(known) else { return Vec::new() };
        let mut words = vec!["--data".into(), data.into()];
        words.extend(self.data_dir.iter().flat_map(|folder| ["--data-dir".into(), folder.into()]));
        words
    }

    /// What `checkpoint`'s network, called `net`, takes; `file` is the checkpoint's.
    pub fn find(&self, net: &str, checkpoint: &Checkpoint, file: &Path) -> Result<Images> {
        let own = self.input.is_some() || !self.mean.is_empty() || !self.std.is_empty();
        let named = checkpoint.metadata.get("dataset").filter(|_| !own);
        let named = named.filter(|name| registry::entry(name).is_ok());
        let Some(name) = self.data.as_ref().or(named) else { return self.described(net, checkpoint) };
        if let Some(folder) = folder(name, self.data_dir.as_deref())? {
            return self.folder(net, checkpoint, file, &folder);
        }
        ensure!(
            !own,
            "--input, --mean and --std are for images that no data set describes; {name} has its own"
        );
        let entry = registry::entry(name)?;
        let classes: Vec<String> = entry.classes.iter().map(|&class| class.to_owned()).collect();
        self.trained(checkpoint, file, entry.shape).check_classes(Path::new(name), &classes)?;
        let test = match data::load(name, self.data_dir.as_deref()) {
            Ok(loaded) => Some(loaded.test.into()),
            // The checkpoint's own word is enough for all but the accuracy.
            Err(error @ DataError::Missing { .. }) if self.data.is_none() => {
                tracing::warn!("{error}; the accuracy is not measured and the self-check's images are noise");
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Images {
            dataset: name.clone(),
            shape: entry.shape,
            classes,
            normalization: entry.normalization(),
            preparation: Vec::new(),
            test,
        })
    }

    /// From a folder of images per class, prepared as the checkpoint says.
    fn folder(&self, net: &str, checkpoint: &Checkpoint, file: &Path, folder: &Path) -> Result<Images> {
        let described = self.described(net, checkpoint)?;
        let trained = self.trained(checkpoint, file, described.shape);
        let test = test_images::load(&folder.to_string_lossy(), None, &trained, self.bad_images.into())?;
        let classes = test.classes().to_vec();
        ensure!(
            classes.len() == described.classes.len(),
            "{}: {} classes, but the checkpoint {} has {}",
            folder.display(),
            classes.len(),
            trained.file,
            described.classes.len()
        );
        let dataset = lrpet_trainer::data::folder::name(folder);
        Ok(Images { dataset, classes, test: Some(test), ..described })
    }

    /// What the checkpoint `file` says of its training's images, of this shape.
    fn trained(&self, checkpoint: &Checkpoint, file: &Path, shape: Shape) -> Trained {
        let number = |key: &str| checkpoint.metadata.get(key).and_then(|text| text.parse().ok());
        Trained {
            shape,
            classes: class_names(checkpoint),
            test_resize: number(TEST_RESIZE),
            test_share: number(TEST_SHARE),
            dataset: checkpoint.metadata.get("dataset").cloned(),
            file: file.display().to_string(),
            other_classes: self.other_classes,
        }
    }

    /// From the command line, and from the checkpoint where that is silent.
    fn described(&self, net: &str, checkpoint: &Checkpoint) -> Result<Images> {
        let said = self.input.as_ref().or_else(|| checkpoint.metadata.get("input"));
        let said = said.map(|text| parse(text)).transpose()?;
        let axis = |shape: &[usize], axis: usize| shape.get(axis).and_then(|&size| u32::try_from(size).ok());
        // The layers of a network have the same names for every input.
        let known = super::train::network(net, said.unwrap_or(Shape::new(1, USUAL_SIZE, USUAL_SIZE)), 1)?;
        let size = |layer: Option<&lrpet_trainer::network::Layer>, of: usize| {
            let name = format!("{}.weight", layer.map_or("", |layer| layer.op.name()));
            let found = checkpoint.tensors.get(&name).and_then(|tensor| axis(&tensor.shape, of));
            found
                .filter(|size| *size > 0)
                .with_context(|| format!("the checkpoint has no tensor {name} of {net}"))
        };
        let Network { layers, .. } = &known;
        let channels = size(layers.first(), 1)?;
        let classes = size(layers.last(), 0)?;
        let shape = said.unwrap_or(Shape::new(channels, USUAL_SIZE, USUAL_SIZE));
        let each = |given: &[f32], name: &str, usual: f32| {
            let said = checkpoint.metadata.get(name);
            let said: Vec<f32> = said.iter().flat_map(|text| text.split(',')).flat_map(str::parse).collect();
            let given = if given.is_empty() { &said } else { given };
            if given.is_empty() {
                tracing::warn!(
                    "neither a data set nor the checkpoint nor --{name} says it: {usual} for every channel"
                );
                return Ok(vec![usual; channels as usize]);
            }
            ensure!(
                given.len() == channels as usize,
                "--{name} has {} numbers for {channels} channels",
                given.len()
            );
            Ok(given.to_vec())
        };
        Ok(Images {
            dataset: checkpoint.metadata.get("dataset").cloned().unwrap_or_default(),
            shape,
            classes: class_names(checkpoint)
                .filter(|names| names.len() == classes as usize)
                .unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect()),
            normalization: Normalization {
                mean: each(&self.mean, "mean", 0.0)?,
                std: each(&self.std, "std", 1.0)?,
            },
            preparation: [TEST_RESIZE, TEST_SHARE]
                .into_iter()
                .filter_map(|key| Some((key, checkpoint.metadata.get(key)?.clone())))
                .collect(),
            test: None,
        })
    }
}

/// Names of the classes, where the checkpoint says them.
fn class_names(checkpoint: &Checkpoint) -> Option<Vec<String>> {
    serde_json::from_str(checkpoint.metadata.get("class_names")?).ok()
}

fn parse(text: &str) -> Result<Shape> {
    let axes: Option<Vec<u32>> = text.split('x').map(|axis| axis.parse().ok()).collect();
    match axes.as_deref() {
        Some(&[c, h, w]) if !Shape::new(c, h, w).is_empty() => Ok(Shape::new(c, h, w)),
        _ => anyhow::bail!("the shape of an image is CxHxW, such as 3x32x32, not {text}"),
    }
}
