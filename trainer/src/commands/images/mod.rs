//! What a checkpoint's network was trained on: from a data set, from the checkpoint itself, or from the command line.

mod found;
mod of_model;
mod said;

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lrpet_data::{DataError, Normalization, Preparation, registry, values};
use lrpet_network::Checkpoint;
use lrpet_network::Source;
use lrpet_network::network::{InputKind, Layer, Network, OutputKind};
use lrpet_runtime::model::Shape;
use lrpet_study::report::units;

pub use found::{Images, Tried};
use said::{Size, class_names, dataset, number, of_folder, parse_input, said_input};

use super::calibration;
use super::folder_args::{folder, values_folder};
use super::numbers::parse_resize;
use super::numbers::{pixel_deviation, pixel_mean};
use super::test_images::{self, FOLDER_RULE, Found, SourceArgs, TEST_RESIZE, TEST_SHARE, Trained};

/// Largest side of pictures that all have one size, where that may be the network's: a training takes others resized.
const NATURAL: u32 = 224;

#[derive(clap::Args)]
pub struct ImageArgs {
    /// Data set, folder of images per class, or folder of values, that the network was trained on [default: the data set that
    /// the checkpoint names, if any]
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    #[command(flatten)]
    test: SourceArgs,
    /// Size of the network's images, where no data set says it: 224, or HxW, or CxHxW [default: what the checkpoint says, or
    /// the network's usual size]
    #[arg(long, visible_alias = "input", value_name = "SIZE", value_parser = parse_input)]
    size: Option<Size>,
    /// Mean of each channel of pixels scaled to 0..1 [default: what the checkpoint says, or 0]
    #[arg(long, value_name = "M,…", value_delimiter = ',', value_parser = pixel_mean, allow_hyphen_values = true)]
    mean: Vec<f32>,
    /// Standard deviation of each channel of pixels scaled to 0..1 [default: what the checkpoint says, or 1]
    #[arg(long, value_name = "S,…", value_delimiter = ',', value_parser = pixel_deviation, allow_hyphen_values = true)]
    std: Vec<f32>,
    /// For testing, the short side of a picture is resized to this many times the size, then the centre taken [default: what
    /// the checkpoint says; 1 for pictures that all have the size already; 256/224]
    #[arg(long, value_name = "RATIO", value_parser = parse_resize)]
    test_resize: Option<f64>,
}

impl ImageArgs {
    /// Calibration inputs for a model of `found`: see [`calibration::inputs`].
    pub fn calibration(&self, found: &Images) -> Result<Option<Vec<Vec<f32>>>> {
        let known = registry::entry(&found.dataset).is_ok() && found.test.is_some();
        let Some(data) = self.data.as_ref().or(Some(&found.dataset).filter(|_| known)) else {
            return Ok(None);
        };
        calibration::inputs(data, &self.test, found)
    }

    /// Arguments with which `lrpet train` reads the images of which `found` was made; none where no data set is known.
    pub fn words(&self, found: &Images) -> Vec<OsString> {
        let known = registry::entry(&found.dataset).is_ok();
        let Some(data) = self.data.as_ref().or(Some(&found.dataset).filter(|_| known)) else {
            return Vec::new();
        };
        let mut words = vec!["--data".into(), data.into()];
        words.extend(self.test.words());
        if let Some(lrpet_data::Images::Files(files)) = &found.test {
            // The same images from the pictures as those of the first training.
            let Preparation { shape: Shape { channels, height, width }, test_resize, .. } =
                *files.preparation();
            let options = [
                ("--size", format!("{height}x{width}")),
                ("--channels", channels.to_string()),
                ("--test-resize", test_resize.to_string()),
            ];
            words.extend(options.into_iter().flat_map(|(option, value)| [option.into(), value.into()]));
        }
        words
    }

    /// `known`, taken as a network of pictures where the arguments say how its values come from them: by mean and deviation, or
    /// by the data set.
    pub fn pictures(&self, known: Source, checkpoint: &Checkpoint) -> Source {
        let said = |key: &str, given: &[f32]| !given.is_empty() || checkpoint.metadata.contains_key(key);
        let normalised = said("mean", &self.mean) && said("std", &self.std);
        // Where it names nothing, what reads it says so.
        let folder =
            self.data.as_ref().and_then(|data| values_folder(data, self.test.data_dir.as_deref()).ok()?);
        if !known.takes_values() || folder.is_some() || !(normalised || self.data.is_some()) {
            return known;
        }
        tracing::warn!(
            "{} takes values as they are; the model takes pictures, normalised by mean and standard deviation of each channel",
            known.called()
        );
        known.of_pictures()
    }

    /// What a network takes that knows no pictures; its test set is in the folder that `--data` names.
    fn values(&self, known: &Source, checkpoint: &Checkpoint) -> Result<Images> {
        let network = known.usual();
        let given = [
            ("--size", self.size.is_some()),
            ("--mean", !self.mean.is_empty()),
            ("--std", !self.std.is_empty()),
            ("--test-resize", self.test_resize.is_some()),
            ("--other-classes", self.test.other_classes),
            ("--allow-partial", self.test.allow_partial),
            ("--data-dir", self.test.data_dir.is_some() && self.data.is_none()),
        ];
        let given = given.iter().find(|(_, given)| *given).map(|(option, _)| *option);
        if let Some(option) = given.or(self.test.of_folder()) {
            bail!(
                "{option} is about pictures, and {} takes values as they are: say how they come from pictures, by --mean and --std, \
                 or by --data",
                known.called()
            );
        }
        let classes = if network.output_kind == OutputKind::Classes { network.classes } else { 0 };
        let folder = match &self.data {
            Some(data) => values_folder(data, self.test.data_dir.as_deref())?,
            None => None,
        };
        let test_share = number(checkpoint, TEST_SHARE);
        let test = match &folder {
            Some(folder) => {
                ensure!(
                    classes > 0,
                    "{}: its classes are of no use, as {} makes values: leave --data away",
                    folder.display(),
                    known.called()
                );
                let test = test_images::values(folder, &self.test, classes as usize, test_share)?;
                let (found, shape) = (test.samples.shape, network.input);
                ensure!(
                    found == shape,
                    "{}: samples of {found}, but {} takes {shape} (channels × height × width)",
                    folder.display(),
                    known.called()
                );
                Some(test.into())
            }
            None => None,
        };
        Ok(Images {
            dataset: folder.as_deref().map_or_else(|| dataset(checkpoint), lrpet_data::folder::name),
            kind: InputKind::Values,
            shape: network.input,
            classes: (0..classes).map(|class| class.to_string()).collect(),
            normalization: Normalization { mean: Vec::new(), std: Vec::new() },
            preparation: test_share.map(|share| (TEST_SHARE, share.to_string())).into_iter().collect(),
            test,
        })
    }

    /// What `checkpoint`'s network takes; `file` is the checkpoint's.
    pub fn find(&self, known: &Source, checkpoint: &Checkpoint, file: &Path) -> Result<Images> {
        if known.takes_values() {
            return self.values(known, checkpoint);
        }
        let own = self.size.is_some() || !self.mean.is_empty() || !self.std.is_empty();
        let named = checkpoint.metadata.get("dataset").filter(|_| !own && !of_folder(checkpoint));
        let named = named.filter(|name| registry::entry(name).is_ok());
        let of_folder = self.test.of_folder();
        let Some(name) = self.data.as_ref().or(named) else {
            let others = [
                ("--other-classes", self.test.other_classes),
                ("--allow-partial", self.test.allow_partial),
                ("--data-dir", self.test.data_dir.is_some()),
            ];
            let other = others.iter().find(|(_, given)| *given).map(|(option, _)| *option);
            if let Some(option) = of_folder.or(other) {
                bail!(
                    "{option} is about test images, and none are named: name their folder or data set with --data"
                );
            }
            return self.described(known, checkpoint, file, None);
        };
        if let Some(folder) = folder(name, self.test.data_dir.as_deref())? {
            ensure!(
                !values::is_folder(&folder),
                "{} holds values, and {} takes pictures",
                folder.display(),
                known.called()
            );
            return self.folder(known, checkpoint, file, &folder);
        }
        if let Some(option) = of_folder {
            bail!(
                "{option} is for a folder of images; {name} has its own way (for a folder of images, name it with --data)"
            );
        }
        ensure!(
            !own,
            "--size, --mean and --std are for images that no data set describes; {name} has its own"
        );
        let entry = registry::entry(name)?;
        let classes: Vec<String> = entry.classes.iter().map(|&class| class.to_owned()).collect();
        self.trained(checkpoint, file, entry.shape).check_classes(name, &classes)?;
        if let Some(trained) = said_input(checkpoint, file)? {
            let file = file.display();
            let shape = entry.shape;
            ensure!(
                trained == shape,
                "{file} was trained on images of {trained}, but those of {name} are {shape}"
            );
        }
        let test = match lrpet_data::load(name, self.test.data_dir.as_deref(), self.test.allow_partial) {
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
            kind: InputKind::Picture,
            shape: entry.shape,
            classes,
            normalization: entry.normalization(),
            // Its images are taken whole.
            preparation: vec![(TEST_RESIZE, self.test_resize.unwrap_or(1.0).to_string())],
            test,
        })
    }

    /// From a folder of images per class, prepared as the checkpoint says.
    fn folder(&self, known: &Source, checkpoint: &Checkpoint, file: &Path, folder: &Path) -> Result<Images> {
        let mut trained = self.trained(checkpoint, file, known.input());
        let found = test_images::find(folder, &self.test, &trained)?;
        let described = self.described(known, checkpoint, file, Some((folder, &found)))?;
        let classes = found.classes().to_vec();
        ensure!(
            classes.len() == described.classes.len(),
            "{}: {}, but the checkpoint {} has {}",
            folder.display(),
            units::things(classes.len() as u64, "class"),
            trained.file,
            described.classes.len()
        );
        let resize = described.preparation.iter().find(|(key, _)| *key == TEST_RESIZE);
        trained.shape = described.shape;
        trained.test_resize = resize.and_then(|(_, value)| value.parse().ok());
        let dataset = lrpet_data::folder::name(folder);
        Ok(Images { dataset, classes, test: Some(found.prepare(&trained)?), ..described })
    }

    /// What the checkpoint `file` says of its training's images, of this shape.
    fn trained(&self, checkpoint: &Checkpoint, file: &Path, shape: Shape) -> Trained {
        Trained {
            shape,
            classes: class_names(checkpoint),
            test_resize: number(checkpoint, TEST_RESIZE),
            test_share: number(checkpoint, TEST_SHARE),
            rule: checkpoint.metadata.get(FOLDER_RULE).and_then(|text| text.parse().ok()),
            dataset: Some(dataset(checkpoint)).filter(|name| !name.is_empty()),
            file: file.display().to_string(),
            other_classes: self.test.other_classes,
        }
    }

    /// From the command line, from the checkpoint where that is silent, and from the network and the pictures in a folder
    /// where both are. What is assumed is said.
    fn described(
        &self,
        known: &Source,
        checkpoint: &Checkpoint,
        file: &Path,
        pictures: Option<(&Path, &Found)>,
    ) -> Result<Images> {
        let axis = |shape: &[usize], axis: usize| shape.get(axis).and_then(|&size| u32::try_from(size).ok());
        // The layers of a network have the same names for every input.
        let Network { layers, .. } = &known.usual();
        let size = |layer: Option<&Layer>, of: usize| {
            let name = format!("{}.weight", layer.map_or("", |layer| layer.op.name()));
            let found = checkpoint.tensors.get(&name).and_then(|tensor| axis(&tensor.shape, of));
            let found = found.filter(|size| *size > 0);
            found.with_context(|| {
                let held = checkpoint.described();
                let (file, net) = (file.display(), known.name());
                format!("{file}: it has no tensor {name}, which {net} needs; {held}")
            })
        };
        let (channels, classes) = match known {
            Source::Known(_) => (size(layers.first(), 1)?, size(layers.last(), 0)?),
            Source::Described { network, .. } => (network.input.channels, network.classes),
        };
        let mut assumed = Vec::new();
        let said = said_input(checkpoint, file)?;
        let shape = self.shape(known, said, [channels, classes], pictures, &mut assumed)?;
        let test_resize = self.resize(known, checkpoint, shape, pictures, &mut assumed);
        let mut each = |given: &[f32], name: &str, usual: f32| {
            let said = checkpoint.metadata.get(name);
            let said: Vec<f32> = said.iter().flat_map(|text| text.split(',')).flat_map(str::parse).collect();
            let given = if given.is_empty() { &said } else { given };
            if given.is_empty() {
                assumed.push(format!("{name} {usual} (--{name})"));
                return Ok(vec![usual; channels as usize]);
            }
            ensure!(
                given.len() == channels as usize,
                "--{name} has {} for {}",
                units::things(given.len() as u64, "number"),
                units::things(channels.into(), "channel")
            );
            Ok(given.to_vec())
        };
        let normalization =
            Normalization { mean: each(&self.mean, "mean", 0.0)?, std: each(&self.std, "std", 1.0)? };
        if !assumed.is_empty() {
            let file = file.display();
            tracing::warn!(
                "{file} does not say all about its images, so this is assumed: {}",
                assumed.join("; ")
            );
        }
        let said = [TEST_SHARE, FOLDER_RULE].into_iter();
        let said = said.filter_map(|key| Some((key, checkpoint.metadata.get(key)?.clone())));
        Ok(Images {
            dataset: dataset(checkpoint),
            kind: InputKind::Picture,
            shape,
            classes: class_names(checkpoint)
                .filter(|names| names.len() == classes as usize)
                .unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect()),
            normalization,
            preparation: [(TEST_RESIZE, test_resize.to_string())].into_iter().chain(said).collect(),
            test: None,
        })
    }

    /// The shape of the network's images: as given, as the checkpoint says (`said`), or of the network's usual size.
    fn shape(
        &self,
        known: &Source,
        said: Option<Shape>,
        [channels, classes]: [u32; 2],
        pictures: Option<(&Path, &Found)>,
        assumed: &mut Vec<String>,
    ) -> Result<Shape> {
        let of = |[height, width]: [u32; 2]| Shape::new(channels, height, width);
        if let Some(Size { channels: given, sides }) = self.size {
            ensure!(
                given.is_none_or(|given| given == channels),
                "--size {}x{}x{}: the checkpoint's first layer takes {}",
                given.unwrap_or(channels),
                sides[0],
                sides[1],
                units::things(channels.into(), "channel")
            );
            // A size that the network cannot take is refused without a word about other sizes.
            known.network(of(sides), classes)?;
            if let Some(said) = said.filter(|said| *said != of(sides)) {
                tracing::warn!(
                    "the network was trained on images of {said}; by --size it takes {}",
                    of(sides)
                );
            }
            return Ok(of(sides));
        }
        if let Some(said) = said {
            return Ok(said);
        }
        let usual = [known.input().height, known.input().width];
        let own = pictures.and_then(|(folder, found)| Some((folder, found.size()?)));
        match own {
            Some((_, own)) if own == usual => {}
            Some((folder, [height, width])) if height.max(width) <= NATURAL => anyhow::bail!(
                "the checkpoint does not say the size of its images: those in {} are all {height}×{width}, but {} is known for \
                 {}×{} (height × width); say it with --size {height}x{width} or --size {}x{}",
                folder.display(),
                known.name(),
                usual[0],
                usual[1],
                usual[0],
                usual[1]
            ),
            _ => assumed.push(format!(
                "size {}×{}, for which {} is known (--size)",
                usual[0],
                usual[1],
                known.name()
            )),
        }
        Ok(of(usual))
    }

    /// [`Preparation::test_resize`]: as given, as the checkpoint says, or as is usual.
    fn resize(
        &self,
        known: &Source,
        checkpoint: &Checkpoint,
        shape: Shape,
        pictures: Option<(&Path, &Found)>,
        assumed: &mut Vec<String>,
    ) -> f64 {
        if let Some(test_resize) = self.test_resize.or_else(|| number(checkpoint, TEST_RESIZE)) {
            return test_resize;
        }
        if registry::entry(&dataset(checkpoint)).is_ok() {
            return 1.0;
        }
        let whole = match pictures {
            Some((_, found)) => found.size() == Some([shape.height, shape.width]),
            None => known.input().height < NATURAL,
        };
        let test_resize = if whole { 1.0 } else { Preparation::TEST_RESIZE };
        assumed.push(format!(
            "the short side of a picture resized to {test_resize:.3} times the size (--test-resize)"
        ));
        test_resize
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        images: ImageArgs,
    }

    fn parsed(words: &[&str]) -> Result<ImageArgs, String> {
        let words = [&["test"], words].concat();
        Command::try_parse_from(words).map(|command| command.images).map_err(|error| error.to_string())
    }

    #[test]
    fn means_and_deviations_are_of_pixels_up_to_one() {
        let images = parsed(&["--mean", "0,0.5,1", "--std", "0.229,0.00392157,1"]).unwrap();
        assert_eq!((images.mean, images.std), (vec![0.0, 0.5, 1.0], vec![0.229, 0.003_921_57, 1.0]));
        for (words, said) in [
            (["--mean", "123,117,104"], "of 0..255 by 255"),
            (["--mean", "-0.5,0,0"], "from 0 to 1"),
            (["--mean", "nan"], "it must be a number"),
            (["--mean", "--std"], "it must be a number"),
            (["--std", "58,57,57"], "of 0..255 by 255"),
            (["--std", "0,1,1"], "above 0"),
            (["--std", "-1,1,1"], "above 0"),
            (["--std", "inf"], "it must be a number"),
        ] {
            let error = parsed(&words).err().unwrap();
            assert!(error.contains(said) && error.contains(words[0]), "{error}");
        }
    }
}
