//! The images of a training, from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use lrpet_data::Header;
use lrpet_data::check::headers;
use lrpet_data::files::Cache;
use lrpet_data::folder::{Part, names};
use lrpet_data::values;
use lrpet_data::{
    self, Augmentation, BadImages, Files, Folder, Images, Loader, LoaderOptions, Normalization, Preparation,
    RandomCrop, balance, copies,
};
use lrpet_network::Source;
use lrpet_network::network::OutputKind;
use lrpet_runtime::model::Shape;
use lrpet_study::report::units;
use lrpet_train::TrainData;

use super::bar::bar;
use super::folder_args::{PlaceArgs, Policy, folder, say, say_test};
use super::numbers::parse_resize;
use super::numbers::{count, part, share, times, whole};

/// Images held out for validation, at most, where nothing else is asked for.
const VALIDATION: usize = 5000;
/// Height and width of the images of a folder, where they are not all of one smaller size.
const USUAL_SIZE: u32 = 224;
/// Heading in the help.
const FOLDER: &str = "Images from a folder";
/// Batches of images from files that are held ready.
const FILES_AHEAD: usize = 2;

/// The images.
#[derive(clap::Args)]
pub struct DataArgs {
    /// Data set from `lrpet data list`, a folder of images per class, or a folder of values
    ///
    /// A folder holds DIR/train/CLASS/*.png (or jpg, jpeg) and DIR/test/CLASS/* (or val; where both are there, val
    /// is for validation). Where it holds DIR/CLASS/* alone, a share of each class is held back for testing: the
    /// same files every time (see --test-share). Classes are numbered in the order of their names. A folder of values, for
    /// networks that take no pictures, holds train_x.npy and train_y.npy. docs/data.md has all rules.
    #[arg(long, value_name = "NAME|DIR")]
    data: String,
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Take a data set known by name that has fewer images than it should
    #[arg(long)]
    allow_partial: bool,
    /// Training images held out for validation [default: a folder's own validation part, or a tenth, at most 5000]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    validation: Option<usize>,
    /// Only this many training images (after validation is held out)
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    limit: Option<usize>,
    /// Pixels of padding of the random crop; 0 is no crop [default: as usual for the data set; a folder's images have
    /// a random resized crop instead, unless this is given]
    #[arg(long, value_name = "PIXELS", conflicts_with_all = ["crop_scale", "crop_stretch"],
        value_parser = clap::value_parser!(u32).range(..=256))]
    crop_padding: Option<u32>,
    /// No random horizontal flip
    #[arg(long)]
    no_flip: bool,
    /// Cut a square of this side out of each training image, at a random place [default: nothing]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cutout: Option<u32>,
    #[command(flatten)]
    folder: FolderArgs,
}

/// What only a folder of images needs.
#[derive(clap::Args)]
struct FolderArgs {
    #[command(flatten, next_help_heading = FOLDER)]
    places: PlaceArgs,
    /// Share of each class that is held back for testing where there is no folder for it [default: 0.2]
    #[arg(help_heading = FOLDER, long, value_name = "SHARE", conflicts_with = "test_data", value_parser = part)]
    test_share: Option<f64>,
    /// Size of the network's images: 224, or HxW [default: the images' own where all have one of at most 224×224, else 224]
    #[arg(help_heading = FOLDER, long, value_name = "SIZE", value_parser = parse_size, overrides_with = "size")]
    size: Option<[u32; 2]>,
    /// Channels: 1 (grey) or 3 (RGB) [default: 1 where every image is grey, else 3]
    #[arg(help_heading = FOLDER, long, value_parser = clap::value_parser!(u32).range(1..=3), overrides_with = "channels")]
    channels: Option<u32>,
    /// Smallest share of a picture's area that the random resized crop takes [default: 0.08]
    #[arg(help_heading = FOLDER, long, value_name = "MIN", value_parser = share)]
    crop_scale: Option<f64>,
    /// Largest stretch of one side against the other in the random resized crop [default: 4/3]
    #[arg(help_heading = FOLDER, long, value_name = "RATIO", value_parser = times)]
    crop_stretch: Option<f64>,
    /// For testing, resize the short side to this many times the size, then take the centre [default: 256/224, or 1
    /// with --crop-padding]
    #[arg(help_heading = FOLDER, long, value_name = "RATIO", value_parser = parse_resize, overrides_with = "test_resize")]
    test_resize: Option<f64>,
    /// Mean and standard deviation of the channels [default: imagenet for 3 channels, measured for 1]
    #[arg(help_heading = FOLDER, long, value_enum)]
    normalize: Option<Normalize>,
    /// What to do about images that cannot be read
    #[arg(help_heading = FOLDER, long, value_enum, default_value = "refuse")]
    bad_images: Policy,
    /// Memory for decoded images; a folder that fits is decoded once, before the training
    #[arg(help_heading = FOLDER, long, value_name = "MB", default_value_t = 1024,
        value_parser = clap::value_parser!(u64).range(..=u64::MAX >> 20))]
    image_cache: u64,
    /// Threads that decode images beside the training [default: all cores]
    #[arg(help_heading = FOLDER, long, value_name = "N", value_parser = count::<usize>)]
    loader_threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Normalize {
    /// Those of ImageNet's training set.
    Imagenet,
    /// Those of this training set.
    Measured,
}

/// The images of a training.
pub struct TrainImages {
    /// Name of the data set.
    pub name: String,
    /// Shape of an image.
    pub shape: Shape,
    /// Number of classes.
    pub classes: usize,
    /// Those for training, before some are held out for validation.
    pub train: Images,
    validation: Option<Images>,
    test: Images,
    normalization: Normalization,
    augmentation: Augmentation,
    threads: usize,
}

impl DataArgs {
    /// Options of `lrpet factorize` that name the same images.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["--data".to_owned(), self.data.clone()];
        words.extend(
            self.data_dir.iter().flat_map(|dir| ["--data-dir".to_owned(), dir.display().to_string()]),
        );
        words.extend(self.allow_partial.then(|| "--allow-partial".to_owned()));
        words.extend(self.folder.places.words(self.folder.bad_images));
        words
    }

    /// Finds and checks the images, or the values for the network `source`.
    pub fn find(&self, source: &Source) -> Result<TrainImages> {
        match folder(&self.data, self.data_dir.as_deref())? {
            Some(folder) if values::is_folder(&folder) => self.find_values(&folder, source),
            Some(folder) => self.find_folder(&folder),
            None => self.find_known(),
        }
    }

    fn find_known(&self) -> Result<TrainImages> {
        self.folder.refuse_any(&self.data)?;
        let loaded = lrpet_data::load(&self.data, self.data_dir.as_deref(), self.allow_partial)?;
        let entry = loaded.entry;
        Ok(TrainImages {
            name: self.data.clone(),
            shape: entry.shape,
            classes: entry.classes.len(),
            train: loaded.train.into(),
            validation: None,
            test: loaded.test.into(),
            normalization: entry.normalization(),
            augmentation: Augmentation {
                crop_padding: self.crop_padding.unwrap_or(entry.augmentation.crop_padding),
                flip: entry.augmentation.flip && !self.no_flip,
                part: None,
                cutout: self.cutout.unwrap_or(0),
            },
            threads: 1,
        })
    }

    /// The values of a folder, as they are.
    fn find_values(&self, folder: &Path, source: &Source) -> Result<TrainImages> {
        let given = [
            ("--crop-padding", self.crop_padding.is_some()),
            ("--no-flip", self.no_flip),
            ("--cutout", self.cutout.is_some()),
            ("--allow-partial", self.allow_partial),
            ("--bad-images skip", matches!(self.folder.bad_images, Policy::Skip)),
        ];
        let given = given.iter().find(|(_, given)| *given).map(|(option, _)| *option);
        if let Some(option) = given.or(self.folder.of_pictures()) {
            anyhow::bail!("{option} is about pictures, and {} holds values", folder.display());
        }
        let network = source.usual();
        let classes = source.takes_values() && network.output_kind == OutputKind::Classes;
        let classes = classes.then_some(network.classes as usize);
        let test_share = self.folder.test_share.unwrap_or(values::TEST_SHARE);
        let found = values::find(&values::Ask { folder, classes, test_share })?;
        let test = found.test;
        let train = found.train.with_context(|| format!("{}/train_x.npy is missing", folder.display()))?;
        let name = lrpet_data::folder::name(folder);
        eprintln!(
            "train: {}/train_x.npy: {} of {} values, as they are: neither normalised nor changed at random",
            folder.display(),
            units::things(train.len() as u64, "sample"),
            train.samples.shape
        );
        say_test(folder, &test);
        if let Some(warning) = balance::warning(&train.samples.classes, &train.by_class()) {
            tracing::warn!("{name}: {warning}");
        }
        Ok(TrainImages {
            name,
            shape: train.samples.shape,
            classes: train.samples.classes.len(),
            train: train.into(),
            validation: None,
            test: test.into(),
            normalization: Normalization { mean: Vec::new(), std: Vec::new() },
            augmentation: Augmentation::default(),
            threads: 1,
        })
    }

    fn find_folder(&self, folder: &Path) -> Result<TrainImages> {
        let args = &self.folder;
        args.check()?;
        let policy = BadImages::from(args.bad_images);
        let found = Folder::find(&args.places.ask(folder, args.test_share))?;
        say(found.parts());
        let parts: Vec<(&str, &Part)> = found.parts().collect();
        let total = parts.iter().map(|(_, part)| part.files.len() + part.bad.len()).sum();
        let bar = bar(total, "images looked at");
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for (_, part) in &parts {
            let (headers, unreadable) = headers(part.files.clone(), || bar.inc(1));
            good.push(headers);
            bad.extend(part.bad.iter().cloned().chain(unreadable));
        }
        bar.finish_and_clear();
        policy.settle(bad, total, folder)?;
        warn_of_content(&found);
        let shape = args.shape(good.iter().flatten().map(|(_, header)| header));
        let resize = if self.crop_padding.is_some() { 1.0 } else { Preparation::TEST_RESIZE };
        let preparation = Preparation {
            shape,
            test_resize: args.test_resize.unwrap_or(resize),
            test_share: found.test_share,
        };
        let cache = Cache::new(args.image_cache << 20);
        let fits = cache.holds(good.iter().flatten().map(|(_, header)| header), shape.channels);
        let classes = &found.train.classes;
        let mut files: Vec<Files> = good
            .into_iter()
            .map(|part| part.into_iter().map(|(listed, _)| listed).collect())
            .map(|listed| {
                Files::new(listed, classes.clone(), preparation, policy, cache.clone()).read_by(found.rule)
            })
            .collect();
        decode(&mut files, fits, policy, folder)?;
        for ((name, part), files) in parts.iter().zip(&files) {
            let missing: Vec<String> =
                files.missing_classes().into_iter().map(|class| classes[class].clone()).collect();
            let (place, missing) =
                (part.folder.display(), Some(names::some(&missing)).filter(|_| !missing.is_empty()));
            match missing {
                Some(missing) if *name == "train" => {
                    anyhow::bail!("{place}: no readable {name} image is left of class {missing}")
                }
                Some(missing) => tracing::warn!(
                    "{place}: no {name} image of class {missing}: the accuracy says nothing of it"
                ),
                None => {}
            }
        }
        let test: Images = files.pop().context("no test part")?.into();
        let mut files = files.into_iter().map(Images::from);
        let train = files.next().context("no training part")?;
        let normalization = args.normalization(&train)?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(TrainImages {
            name: found.name.clone(),
            shape,
            classes: classes.len(),
            train,
            validation: files.next(),
            test,
            normalization,
            augmentation: Augmentation {
                crop_padding: self.crop_padding.unwrap_or(0),
                flip: !self.no_flip,
                part: self.crop_padding.is_none().then(|| args.random_crop()),
                cutout: self.cutout.unwrap_or(0),
            },
            threads: args.loader_threads.unwrap_or_else(cores),
        })
    }

    /// The loaders of a training with batches of this size.
    pub fn loaders(&self, images: TrainImages, batch: usize, seed: u64) -> Result<TrainData> {
        let TrainImages { train, validation, test, normalization, augmentation, threads, .. } = images;
        let total = train.len();
        let (mut train, validation) = match (self.validation, validation) {
            (None, Some(validation)) => (train, validation),
            (count, _) => {
                let count = count.unwrap_or_else(|| VALIDATION.min(total / 10));
                ensure!(
                    count < total,
                    "--validation {count} leaves none of {}",
                    units::things(total as u64, "training image")
                );
                train.split(count, seed)
            }
        };
        if let Some(limit) = self.limit {
            train = train.limited(limit);
        }
        let ahead = |images: &Images| if matches!(images, Images::Files(_)) { FILES_AHEAD } else { 4 };
        let plain = |images: Images| {
            let options = LoaderOptions::plain(batch, normalization.clone());
            let options = LoaderOptions { ahead: ahead(&images), threads, ..options };
            Loader::new(images, options)
        };
        let options = LoaderOptions {
            shuffle: true,
            augmentation,
            seed,
            ahead: ahead(&train),
            threads,
            ..LoaderOptions::plain(batch, normalization.clone())
        };
        Ok(TrainData {
            train: Loader::new(train, options),
            validation: (!validation.is_empty()).then(|| plain(validation)),
            test: Some(plain(test)),
        })
    }
}

impl FolderArgs {
    /// Refuses what makes no sense for the data set called `name`, which has images of one size and a test part.
    fn refuse_any(&self, name: &str) -> Result<()> {
        match self.of_pictures().or(self.test_share.map(|_| "--test-share")) {
            Some(option) => anyhow::bail!("{option} is for a folder of images; {name} has its own way"),
            None => Ok(()),
        }
    }

    /// The first option that is given and says how pictures are found or prepared.
    fn of_pictures(&self) -> Option<&'static str> {
        let given = [
            (self.places.given().unwrap_or_default(), self.places.given().is_some()),
            ("--size", self.size.is_some()),
            ("--channels", self.channels.is_some()),
            ("--crop-scale", self.crop_scale.is_some()),
            ("--crop-stretch", self.crop_stretch.is_some()),
            ("--test-resize", self.test_resize.is_some()),
            ("--normalize", self.normalize.is_some()),
        ];
        given.iter().find(|(_, given)| *given).map(|(option, _)| *option)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.channels != Some(2), "--channels 2: images have 1 (grey) or 3 (RGB)");
        Ok(())
    }

    /// The normalisation of training images `train`.
    fn normalization(&self, train: &Images) -> Result<Normalization> {
        let channels = train.shape().channels;
        match (self.normalize, channels) {
            (None | Some(Normalize::Imagenet), 3) => Ok(Normalization::imagenet()),
            (Some(Normalize::Imagenet), _) => {
                anyhow::bail!("--normalize imagenet is for 3 channels, these images have {channels}")
            }
            _ => Ok(train.statistics()?),
        }
    }

    fn random_crop(&self) -> RandomCrop {
        let usual = RandomCrop::default();
        RandomCrop {
            scale: self.crop_scale.unwrap_or(usual.scale),
            stretch: self.crop_stretch.unwrap_or(usual.stretch),
        }
    }

    /// Shape of the images made of pictures with these headers.
    fn shape<'h>(&self, headers: impl Iterator<Item = &'h Header> + Clone) -> Shape {
        let grey = || headers.clone().all(|header| header.grey);
        let channels = self.channels.unwrap_or_else(|| if grey() { 1 } else { 3 });
        let [height, width] = self.size.unwrap_or_else(|| {
            let mut sizes = headers.clone().map(|header| [header.height, header.width]);
            let first = sizes.next().filter(|first| first.iter().all(|&side| side <= USUAL_SIZE));
            first.filter(|first| sizes.all(|size| size == *first)).unwrap_or([USUAL_SIZE; 2])
        });
        Shape::new(channels, height, width)
    }
}

/// Warns of copies among the images, and of very unequal classes.
fn warn_of_content(found: &Folder) {
    for warning in copies::find(found).warnings() {
        tracing::warn!("{}: {warning}", found.name);
    }
    for [a, b] in names::alike(&found.train.classes) {
        tracing::warn!("{}: the names of two classes look alike: {a} and {b}", found.name);
    }
    if let Some(warning) = balance::warning(&found.train.classes, &found.train.by_class()) {
        tracing::warn!("{}: {warning}", found.name);
    }
}

/// Decodes the images and drops those that cannot be read, where that is the policy: all where they are kept in memory,
/// else those for testing and validation, which would end a training when it is over; of the training images then one of
/// each class.
fn decode(files: &mut [Files], keep: bool, policy: BadImages, folder: &Path) -> Result<()> {
    let seen = if keep { files } else { &mut files[1..] };
    let total = seen.iter().map(Files::len).sum();
    let bar = bar(total, "images decoded");
    let bad = seen.iter_mut().flat_map(|files| files.decode_all(keep, || bar.inc(1))).collect();
    bar.finish_and_clear();
    Ok(policy.settle(bad, total, folder)?)
}

/// Height and width on the command line.
pub fn parse_size(text: &str) -> Result<[u32; 2], String> {
    let sides: Option<Vec<u32>> = text.split('x').map(|side| side.parse().ok()).collect();
    match sides.as_deref() {
        Some(&[side]) if side > 0 => Ok([side; 2]),
        Some(&[height, width]) if height > 0 && width > 0 => Ok([height, width]),
        _ => Err("the size is one number, such as 224, or HxW, such as 96x160".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::test_images::SourceArgs;
    use super::*;

    #[derive(Parser)]
    struct Training {
        #[command(flatten)]
        data: DataArgs,
    }

    #[derive(Parser)]
    struct Testing {
        #[arg(long)]
        data: String,
        #[command(flatten)]
        source: SourceArgs,
    }

    /// A sweep and a search hand the options of their trainings on to what exports and measures them.
    #[test]
    fn options_that_say_which_images_are_meant_go_to_the_next_command() {
        for given in [
            "--data photos",
            "--data cifar10 --data-dir below --allow-partial",
            "--data photos --data-dir below --flat --bad-images skip",
            "--data photos --test-data elsewhere --bad-images skip",
        ] {
            let words = |given: &str| {
                ["lrpet"].into_iter().chain(given.split(' ')).map(str::to_owned).collect::<Vec<_>>()
            };
            let passed = Training::try_parse_from(words(given)).unwrap().data.words();
            assert_eq!(passed.join(" "), given);
            let Testing { data, source } = Testing::try_parse_from(words(&passed.join(" "))).unwrap();
            let again: Vec<_> = source.words().into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!([vec!["--data".to_owned(), data], again].concat().join(" "), given);
        }
    }
}
