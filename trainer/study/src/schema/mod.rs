//! The document `report.json`: what one run (or several, merged) measured.
//!
//! Fields that are not listed here are ignored. Parts that were not measured are absent or `null`; what is present must
//! be complete, so that a renamed field is an error and not a silently missing figure.

mod run;
pub mod sweep;
pub mod sweep_files;

use serde::{Deserialize, Serialize};

use lrpet_report::units;

pub use run::is_document;

/// A structure with what is known of how some models were made and measured: it stands in a report, and in each origin of a merged one.
/// (A structure inside, flattened by serde, would cost its errors their place in the document.)
macro_rules! with_head {
    ($(#[$about:meta])* $name:ident { $($before:tt)* } { $($after:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($before)*
            /// Headline, such as "ResNet-8 on Fashion-MNIST".
            pub title: Option<String>,
            /// When the report was made, RFC 3339.
            pub created: Option<String>,
            /// The command that made it.
            pub command: Option<String>,
            /// Version of `lrpet`.
            pub version: Option<String>,
            /// Git revision of `lrpet`.
            pub revision: Option<String>,
            /// The machine that trained and ran the host bench.
            pub host: Option<Host>,
            /// The data set.
            pub dataset: Option<Dataset>,
            $($after)*
            /// Wall time of each step.
            #[serde(default)]
            pub steps: Vec<Step>,
        }
    };
}

with_head! {
    /// The whole document.
    Report {} {
        /// One entry a model, dense ones included.
        pub models: Vec<Model>,
        /// The runs behind a merged report (see [`crate::report::merge`]); empty for a single run, whose origin is the head.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub origins: Vec<Origin>,
    }
}

with_head! {
    /// Where some of a merged report's models come from: the head of their own report.
    Origin {
        /// Name of the folder of the report, unique among the origins.
        pub label: String,
    } {}
}

impl Report {
    /// Its head, as the origin of its models in a merged report.
    pub fn origin(&self, label: String) -> Origin {
        Origin {
            label,
            title: self.title.clone(),
            created: self.created.clone(),
            command: self.command.clone(),
            version: self.version.clone(),
            revision: self.revision.clone(),
            host: self.host.clone(),
            dataset: self.dataset.clone(),
            steps: self.steps.clone(),
        }
    }
}

/// The machine that trained and ran the host bench.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Threads that training used.
    pub threads: Option<u64>,
    /// `rustc --version`.
    pub rustc: Option<String>,
}

impl Host {
    /// This machine and this program.
    pub fn here() -> Host {
        let here = crate::host::Host::here();
        Host {
            cpu: Some(here.cpu),
            threads: Some(here.processors as u64),
            rustc: Some(here.rustc.to_owned()).filter(|version| !version.is_empty()),
        }
    }
}

/// The data set that the models were trained and tested on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Name in the registry.
    pub name: String,
    /// Images of the training set, before a validation split is taken off.
    pub train_images: Option<u64>,
    /// Images of the test set.
    pub test_images: Option<u64>,
    /// Number of classes.
    pub classes: Option<u64>,
    /// Shape of an image, `[c, h, w]`.
    pub shape: Option<[u64; 3]>,
}

/// Wall time of one step of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// Seconds that it took.
    pub seconds: f64,
}

/// One model and what was measured of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Name, unique in the report.
    pub name: String,
    /// File name of the model.
    pub file: Option<String>,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: Option<String>,
    /// CRC-32 of the file, hexadecimal: what boards know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    /// Pruning ratio g of the ranks, 0 for a dense model.
    pub prune: Option<f64>,
    /// Label of the [`Origin`], in a merged report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Name of its network, where no [`Inspect`] says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Name of the data set on which it was tested, or trained; where none is said, that of the report or of its origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Number of its classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<u64>,
    /// Shape of its image, `[c, h, w]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<[u64; 3]>,
    /// Multiply-adds of one inference, where no [`Inspect`] says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs: Option<u64>,
    /// Bytes of the model file, where no [`Inspect`] says what it costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Costs, by layer and in all.
    pub inspect: Option<Inspect>,
    /// Accuracy on the test set.
    pub eval: Option<Eval>,
    /// Latency on the host; also read from the document that every machine writes (docs/report-format.md).
    #[serde(default, deserialize_with = "run::bench")]
    pub bench: Option<Bench>,
    /// Latencies on further machines with an operating system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_benches: Vec<Bench>,
    /// What each board measured; also read from such documents.
    #[serde(default, deserialize_with = "run::boards")]
    pub boards: Vec<Board>,
    /// How the training went.
    pub training: Option<Training>,
}

impl Accuracy {
    /// The images, in words: `200 of all 10 000 test images`.
    pub fn tested(&self) -> String {
        match self.of {
            Some(all) => {
                format!("{} of all {}", units::grouped(self.images as f64), units::things(all, "test image"))
            }
            None => units::things(self.images, "test image"),
        }
    }
}

impl Model {
    /// Name of its network, where it is known.
    pub fn network(&self) -> Option<&str> {
        let inspected = self.inspect.as_ref().map(|inspect| inspect.network.as_str());
        inspected.or(self.network.as_deref()).filter(|name| !name.is_empty())
    }

    /// Latencies on all machines with an operating system.
    pub fn benches(&self) -> impl Iterator<Item = &Bench> {
        self.bench.iter().chain(&self.further_benches)
    }
}

/// A structure with what a model or a layer costs as stored, and (`_dense`) what the dense network costs that it replaces.
macro_rules! with_costs {
    ($(#[$about:meta])* $name:ident { $($before:tt)* } { $($after:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            $($before)*
            /// Multiply-adds of one inference: convolutions and linear layers, without biases.
            pub macs: u64,
            /// The same, dense.
            pub macs_dense: u64,
            /// Weights, without biases.
            pub params: u64,
            /// The same, dense.
            pub params_dense: u64,
            /// Bytes of weights and biases in flash.
            pub weight_bytes: u64,
            /// The same, dense.
            pub weight_bytes_dense: u64,
            $($after)*
        }
    };
}

with_costs! {
    /// Costs of a model.
    Inspect {
        /// Name of the network.
        pub network: String,
    } {
        /// Bytes of the arena that holds the activations.
        pub arena_bytes: u64,
        /// The same of the dense network.
        pub arena_bytes_dense: u64,
        /// Layers in order of execution.
        #[serde(default)]
        pub layers: Vec<LayerCost>,
    }
}

with_costs! {
    /// Costs of one layer.
    LayerCost {
        /// Name; layers without weights may share one.
        pub name: String,
        /// What it is: `conv`, `pair`, `depthwise`, `linear`, …
        pub kind: Option<String>,
        /// Shape of the input, `[c, h, w]`.
        pub input: Option<[u64; 3]>,
        /// Shape of the output, `[n, h, w]`.
        pub output: Option<[u64; 3]>,
        /// Rank r of a pair.
        pub rank: Option<u64>,
        /// Number of singular values m of the layer's matrix.
        pub max_rank: Option<u64>,
    } {}
}

/// Accuracy on the test set, by the engine that computed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Eval {
    /// The no_std runtime, on the exported f16 model.
    pub runtime: Option<Accuracy>,
    /// The trainer (candle), f32.
    pub candle: Option<Accuracy>,
}

/// Top-1 accuracy; what is known of the classes beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of images classified right, 0 to 1.
    pub accuracy: f64,
    /// Number of images.
    pub images: u64,
    /// Images of the whole test set, where only some of them were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Share of images whose class is among the five with the largest logits, 0 to 1; none of five classes or fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Images with a logit that is no finite number, which say nothing; absent where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_finite: u64,
    /// By class, in order of label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassAccuracy>,
    /// Number of images of each class (outer list) that were said to be of each class (inner list).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u64>>,
}

/// Accuracy on the images of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// Name.
    pub name: String,
    /// Images of the class.
    pub images: u64,
    /// Those that were classified right.
    pub correct: u64,
    /// Their share, 0 to 1; none where there is no image.
    pub accuracy: Option<f64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Latency of one inference on the host, batch 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Median, milliseconds.
    pub median_ms: f64,
    /// Fastest, milliseconds.
    pub min_ms: Option<f64>,
    /// Slowest, milliseconds.
    pub max_ms: Option<f64>,
    /// Inferences timed.
    pub iterations: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Instruction set of the kernels.
    pub isa: Option<String>,
    /// Name of the processor, where it is not that of the report's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Bytes of the arena there, as this instruction set needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena_bytes: Option<u64>,
    /// Whether the logits there agreed with the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<bool>,
    /// By layer, in order of execution.
    #[serde(default)]
    pub layers: Vec<LayerTime>,
}

impl Bench {
    /// Where it was measured, in words.
    pub fn place(&self) -> String {
        let place = self.cpu.clone().unwrap_or_else(|| "the host".to_owned());
        [place, self.detail()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// What the kernels ran on, in words: "1 thread, avx512".
    pub fn detail(&self) -> String {
        let threads = self.threads.map(|n| units::things(n, "thread"));
        [threads, self.isa.clone()].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Time of one layer on the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// Name of the layer.
    pub name: String,
    /// Median, milliseconds.
    pub median_ms: f64,
}

/// What one board (emulated or real) measured of a model that is linked into its firmware.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Name of the board.
    pub board: String,
    /// Its core.
    pub core: Option<String>,
    /// What `total` and `ticks` count: `instructions`, `cycles` or `nanoseconds`.
    pub counter: String,
    /// Count of one inference.
    pub total: u64,
    /// By layer, in order of execution.
    #[serde(default)]
    pub layers: Vec<LayerTicks>,
    /// Bytes of the whole image in flash.
    pub flash_bytes: Option<u64>,
    /// Bytes of code in it.
    pub text_bytes: Option<u64>,
    /// Bytes of the model file in it.
    pub model_bytes: Option<u64>,
    /// Bytes of the arena in RAM.
    pub arena_bytes: Option<u64>,
    /// Bytes of the other static data in RAM.
    pub static_bytes: Option<u64>,
    /// Bytes of stack used.
    pub stack_bytes: Option<u64>,
    /// Bytes of RAM in all: arena, static data and stack.
    pub ram_bytes: Option<u64>,
    /// CRC of the outputs.
    pub crc: Option<String>,
    /// Whether the outputs agreed with the model's own vectors.
    pub self_check: Option<bool>,
}

impl Board {
    /// Bytes of RAM in all: as measured, or arena, static data and stack added up where all three are known.
    pub fn ram(&self) -> Option<u64> {
        self.ram_bytes.or_else(|| {
            Some(self.arena_bytes?.saturating_add(self.static_bytes?).saturating_add(self.stack_bytes?))
        })
    }
}

/// Count of one layer on a board.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerTicks {
    /// Name of the layer.
    pub name: String,
    /// Instructions or cycles, as [`Board::counter`] says.
    pub ticks: u64,
}

/// How a training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// One entry an epoch.
    #[serde(default)]
    pub epochs: Vec<Epoch>,
    /// Wall time in all.
    pub seconds: Option<f64>,
    /// Seed of weights, order and augmentation.
    pub seed: Option<u64>,
    /// The command that trained it.
    pub command: Option<String>,
}

/// One epoch of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u64,
    /// Mean training loss.
    pub loss: Option<f64>,
    /// Accuracy on the training images as augmented, 0 to 1.
    pub accuracy: Option<f64>,
    /// Loss on the validation images.
    pub val_loss: Option<f64>,
    /// Accuracy on the validation images, 0 to 1.
    pub val_accuracy: Option<f64>,
    /// Learning rate at the end of the epoch.
    pub lr: Option<f64>,
    /// Wall time.
    pub seconds: Option<f64>,
    /// Training throughput.
    pub images_per_second: Option<f64>,
    /// Whether a low-rank projection was made in this epoch.
    pub projected: Option<bool>,
}

impl From<&lrpet_train::EpochRecord> for Epoch {
    fn from(record: &lrpet_train::EpochRecord) -> Epoch {
        Epoch {
            epoch: record.epoch as u64,
            loss: Some(record.train_loss),
            accuracy: Some(record.train_accuracy),
            val_loss: record.validation.map(|validation| validation.loss),
            val_accuracy: record.validation.map(|validation| validation.accuracy),
            lr: Some(record.rate),
            seconds: Some(record.seconds),
            images_per_second: Some(record.images_per_second),
            projected: Some(record.projection.is_some()),
        }
    }
}
