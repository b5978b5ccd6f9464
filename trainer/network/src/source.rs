//! Where a network comes from: its name, a file, or a file of weights that remembers it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lrpet_runtime::model::Shape;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::import::{ImportError, Options, import};
use crate::network::{
    FileError, InputKind, Known, NETWORK_FILE, Network, NetworkError, OutputKind, first_difference,
};

/// A network that is named or described.
#[derive(Clone, Debug)]
pub enum Source {
    /// Known by name, for images of many sizes.
    Known(&'static Known),
    /// Described layer by layer, for one input.
    Described {
        /// The network.
        network: Box<Network>,
        /// The file that describes it.
        file: PathBuf,
    },
}

/// Why there is no such network, or not for these images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Of a known name.
    #[error(transparent)]
    Known(#[from] NetworkError),
    /// Of a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Of a file of weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Of an ONNX file.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Weights that do not say how their network is built.
    #[error("{}: it says of its network no more than the name{said}: name it by --net, or give its file", file.display())]
    Silent {
        /// The file of weights.
        file: PathBuf,
        /// The name, with a space before it; may be empty.
        said: String,
    },
    /// The images are not what the file says.
    #[error(
        "{}: [input] says {described}, and the images are {found}: change channels, height and width in the file, or give such \
         images", file.display()
    )]
    Input {
        /// The network's file.
        file: PathBuf,
        /// Shape in the file.
        described: Shape,
        /// Shape of the images.
        found: Shape,
    },
    /// The classes are not as many as the file says.
    #[error(
        "{}: [output] says {described} classes, and there are {found}: change `classes` there and `out` of the last layer",
        file.display()
    )]
    Classes {
        /// The network's file.
        file: PathBuf,
        /// Number in the file.
        described: u32,
        /// Number of the data set.
        found: u32,
    },
    /// The weights were trained as another network.
    #[error("{} was trained as another network than {given}: {difference}; leave --net away", file.display())]
    Other {
        /// The file of weights.
        file: PathBuf,
        /// The network that was named.
        given: String,
        /// Where the two differ first.
        difference: String,
    },
}

/// True of the name of an ONNX file.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// Weights from a file of any kind: as [`Checkpoint::read`], or those of an ONNX file, which remember its network.
///
/// # Errors
/// Those of [`Checkpoint::read`]; [`CheckpointError::Import`] for an ONNX file that cannot be imported.
pub fn read_weights(path: &Path) -> Result<Checkpoint, CheckpointError> {
    if !is_onnx(path) {
        return Checkpoint::read(path);
    }
    match import(path, &Options::default()) {
        Ok(imported) => Ok(imported.remembering()),
        Err(ImportError::Io { path, source }) => Err(CheckpointError::Io { path, source }),
        Err(error) => Err(CheckpointError::Import { path: path.to_owned(), reason: error.reason() }),
    }
}

impl Source {
    /// The network that `net` names: known by this name, or described by this file, or by the metadata of this file of weights, or
    /// imported from this ONNX file.
    ///
    /// # Errors
    /// [`SourceError`], where there is no such name and no such file, or where the file describes none.
    pub fn named(net: &str) -> Result<Source, SourceError> {
        if let Some(known) = Known::by_name(net) {
            return Ok(Source::Known(known));
        }
        let path = Path::new(net);
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("safetensors") => {
                let checkpoint = Checkpoint::read(path)?;
                let said = checkpoint.metadata.get("network").map(|name| format!(" {name}"));
                Source::remembered(&checkpoint.metadata, path)?.ok_or_else(|| SourceError::Silent {
                    file: path.to_owned(),
                    said: said.unwrap_or_default(),
                })
            }
            Some("onnx") => {
                let network = import(path, &Options::default())?.network;
                Ok(Source::Described { network: Box::new(network), file: path.to_owned() })
            }
            Some("toml") => Source::read(path),
            _ if net.contains(std::path::MAIN_SEPARATOR) || path.is_file() => Source::read(path),
            _ => Err(Known::named(net).map(Source::Known).unwrap_err().into()),
        }
    }

    fn read(path: &Path) -> Result<Source, SourceError> {
        Ok(Source::Described { network: Box::new(Network::read(path)?), file: path.to_owned() })
    }

    /// The network that the metadata of weights describe or name; `None` where they name none that is known.
    ///
    /// # Errors
    /// [`SourceError::File`], where the description is damaged.
    pub fn remembered(
        metadata: &BTreeMap<String, String>,
        file: &Path,
    ) -> Result<Option<Source>, SourceError> {
        if let Some(text) = metadata.get(NETWORK_FILE) {
            let network = Network::from_text(&format!("{} (its {NETWORK_FILE})", file.display()), text)?;
            return Ok(Some(Source::Described { network: Box::new(network), file: file.to_owned() }));
        }
        let known = metadata.get("network").and_then(|name| Known::by_name(name));
        Ok(known.map(Source::Known))
    }

    /// The network of the weights in `file`: as `given`, or else as their metadata say.
    ///
    /// # Errors
    /// [`SourceError::Other`] where `given` is another network than the one they were trained as; [`SourceError::Silent`] and
    /// [`SourceError::Known`] where nothing is given and they do not say enough; those of [`Source::remembered`].
    pub fn of_weights(
        given: Option<Source>,
        metadata: &BTreeMap<String, String>,
        file: &Path,
    ) -> Result<Source, SourceError> {
        let remembered = Source::remembered(metadata, file)?;
        match (given, remembered) {
            (None, Some(source)) => Ok(source),
            (None, None) => match metadata.get("network") {
                Some(name) => Ok(Known::named(name).map(Source::Known)?),
                None => Err(SourceError::Silent { file: file.to_owned(), said: String::new() }),
            },
            (Some(given), None) => Ok(given),
            (Some(given), Some(remembered)) => match given.difference(&remembered) {
                None => Ok(given),
                Some(difference) => {
                    Err(SourceError::Other { file: file.to_owned(), given: given.called(), difference })
                }
            },
        }
    }

    /// Where the two differ first, in words: this one, and then `other`.
    fn difference(&self, other: &Source) -> Option<String> {
        let (ours, theirs) = match (self, other) {
            (Source::Known(ours), Source::Known(theirs)) => {
                return (ours.name != theirs.name).then(|| format!("{}, not {}", theirs.name, ours.name));
            }
            (Source::Described { network, .. }, Source::Known(known))
            | (Source::Known(known), Source::Described { network, .. }) => {
                let Some(built) = known.build(network.input, network.classes) else {
                    return Some(format!("{} has no form for {}", known.name, network.input));
                };
                let built = network.epsilon().map_or(built.clone(), |epsilon| built.with_epsilon(epsilon));
                let described = network.as_ref().clone();
                if matches!(self, Source::Known(_)) { (built, described) } else { (described, built) }
            }
            (Source::Described { network: ours, .. }, Source::Described { network: theirs, .. }) => {
                (ours.as_ref().clone(), theirs.as_ref().clone())
            }
        };
        let (ours, theirs) = first_difference(&ours.function_text(), &theirs.function_text())?;
        Some(format!("it has `{theirs}`, not `{ours}`"))
    }

    /// Its name, and its file if it has one.
    pub fn called(&self) -> String {
        match self {
            Source::Known(known) => known.name.to_owned(),
            Source::Described { network, file } => format!("{} ({})", network.name, file.display()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Source::Known(known) => known.name,
            Source::Described { network, .. } => &network.name,
        }
    }

    /// Shape of the input that it is known or described for.
    pub fn input(&self) -> Shape {
        match self {
            Source::Known(known) => known.input,
            Source::Described { network, .. } => network.input,
        }
    }

    /// True where it takes values as they are, and no picture.
    pub fn takes_values(&self) -> bool {
        matches!(self, Source::Described { network, .. } if network.input_kind == InputKind::Values)
    }

    /// The same network of pictures: bytes, normalised by mean and standard deviation of each channel.
    pub fn of_pictures(mut self) -> Source {
        if let Source::Described { network, .. } = &mut self {
            network.input_kind = InputKind::Picture;
        }
        self
    }

    /// The network as it is known or described. Its layers have the same names for every input.
    pub fn usual(&self) -> Network {
        match self {
            Source::Known(known) => {
                known.build(known.input, known.classes).expect("a known network takes its own input")
            }
            Source::Described { network, .. } => network.as_ref().clone(),
        }
    }

    /// The network for images of shape `input`.
    ///
    /// # Errors
    /// [`SourceError::Known`] where a known network does not take them, [`SourceError::Input`] and [`SourceError::Classes`] where a
    /// file describes another input or other classes.
    pub fn network(&self, input: Shape, classes: u32) -> Result<Network, SourceError> {
        match self {
            Source::Known(known) => Ok(known.network(input, classes)?),
            Source::Described { network, file } if network.input != input => {
                Err(SourceError::Input { file: file.clone(), described: network.input, found: input })
            }
            // Other values are not told apart by classes: who needs classes says so.
            Source::Described { network, file }
                if network.output_kind == OutputKind::Classes && network.classes != classes =>
            {
                Err(SourceError::Classes { file: file.clone(), described: network.classes, found: classes })
            }
            Source::Described { network, .. } => Ok(network.as_ref().clone()),
        }
    }

    /// The words for `--net` that name it again: its name, or its file.
    pub fn argument(&self) -> std::ffi::OsString {
        match self {
            Source::Known(known) => known.name.into(),
            Source::Described { file, .. } => file.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(change: impl Fn(String) -> String) -> Source {
        let text = change(Source::named("resnet8").unwrap().usual().to_text());
        let network = Box::new(Network::from_text("net.toml", &text).unwrap());
        Source::Described { network, file: "net.toml".into() }
    }

    #[test]
    fn weights_are_of_the_network_that_they_remember() {
        let file = Path::new("weights.safetensors");
        let same = described(|text| text);
        let wide = described(|text| text.replacen("stride = 2", "stride = 1", 2));
        let known = BTreeMap::from([("network".to_owned(), "resnet8".to_owned())]);
        let of = |given: Option<&Source>, metadata| Source::of_weights(given.cloned(), metadata, file);
        assert!(matches!(of(None, &known).unwrap(), Source::Known(known) if known.name == "resnet8"));
        assert!(of(Some(&same), &known).is_ok());
        let error = of(Some(&wide), &known).unwrap_err().to_string();
        assert!(error.contains("layer2.0.downsample.0") && error.contains("stride"), "{error}");
        let embedded = BTreeMap::from([
            ("network".to_owned(), "resnet8".to_owned()),
            (NETWORK_FILE.to_owned(), wide.usual().to_text()),
        ]);
        assert!(of(None, &embedded).unwrap().usual() == wide.usual());
        assert!(of(Some(&wide), &embedded).is_ok());
        assert!(of(Some(&same), &embedded).is_err());
        let error = of(Some(&Source::named("resnet8").unwrap()), &embedded).unwrap_err().to_string();
        assert!(error.contains("weights.safetensors") && error.contains("leave --net away"), "{error}");
        let other = of(Some(&Source::named("resnet20").unwrap()), &known).unwrap_err().to_string();
        assert!(other.contains("resnet8, not resnet20"), "{other}");
        let damaged = BTreeMap::from([(NETWORK_FILE.to_owned(), "version = 1".to_owned())]);
        assert!(
            of(None, &damaged).unwrap_err().to_string().contains("weights.safetensors (its network_file)")
        );
        assert!(of(None, &BTreeMap::new()).unwrap_err().to_string().contains("name it by --net"));
    }

    #[test]
    fn a_file_is_for_one_input() {
        let source = described(|text| text.replace("name = \"resnet8\"", "name = \"mine\""));
        assert!(!source.usual().is_known() && Source::named("resnet8").unwrap().usual().is_known());
        assert!(source.network(Shape::new(3, 32, 32), 10).is_ok());
        let error = source.network(Shape::new(1, 28, 28), 10).unwrap_err().to_string();
        assert!(
            error.contains("net.toml") && error.contains("3×32×32") && error.contains("1×28×28"),
            "{error}"
        );
        assert!(source.network(Shape::new(3, 32, 32), 5).unwrap_err().to_string().contains("10 classes"));
        assert!(Source::named("resnet9").unwrap_err().to_string().contains("did you mean `resnet8`"));
        assert!(Source::named("no/such.toml").unwrap_err().to_string().contains("no/such.toml"));
    }
}
