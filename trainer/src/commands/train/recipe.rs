//! Optimiser, loss and average of a training, from the command line.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use lrpet_train::{Algorithm, Distillation, Recipe};

use super::super::numbers::{above_zero, below_one, from_zero, part, share};

/// Beyond plain SGD on plain cross-entropy.
#[derive(clap::Args)]
pub(super) struct RecipeArgs {
    /// Optimiser
    #[arg(long, value_enum, default_value = "sgd")]
    pub(super) optimizer: OptimizerName,
    /// Nesterov's form of the momentum (SGD only)
    #[arg(long)]
    nesterov: bool,
    /// Share of each target that is divided among all classes, in [0, 1) [usual: 0.1]
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = below_one)]
    label_smoothing: f64,
    /// Mix the images of a batch in pairs, with shares drawn from Beta(ALPHA, ALPHA); 0 mixes none [usual: 0.2]
    #[arg(long, default_value_t = 0.0, value_name = "ALPHA", value_parser = from_zero::<f64>)]
    mixup: f64,
    /// Average the weights over the steps with this decay: the average is validated and is what the training ends with [usual: 0.999]
    #[arg(long, value_name = "DECAY", value_parser = part)]
    ema: Option<f64>,
    /// Learn the answers of this network too: a checkpoint or a model file with the same classes
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// Weight of the teacher's answers; the labels have the rest [default: 0.9]
    #[arg(long, requires = "teacher", value_name = "SHARE", value_parser = share)]
    distill_weight: Option<f64>,
    /// Temperature that softens both networks' answers [default: 4]
    #[arg(long, requires = "teacher", value_name = "T", value_parser = above_zero::<f64>)]
    temperature: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OptimizerName {
    /// Stochastic gradient descent with momentum
    Sgd,
    /// Adam with decoupled weight decay; --momentum is its β₁
    #[value(name = "adamw")]
    AdamW,
}

impl OptimizerName {
    /// Learning rate, unless one is given.
    pub(super) fn rate(self) -> f64 {
        match self {
            OptimizerName::Sgd => 0.1,
            OptimizerName::AdamW => 1e-3,
        }
    }

    /// Weight decay, unless one is given.
    pub(super) fn weight_decay(self) -> f64 {
        match self {
            OptimizerName::Sgd => 1e-4,
            OptimizerName::AdamW => 1e-2,
        }
    }
}

impl RecipeArgs {
    /// Refuses what does not go together, and a teacher that is not there.
    pub(super) fn check(&self, momentum: f64, reestimate: usize) -> Result<()> {
        if self.nesterov && self.optimizer != OptimizerName::Sgd {
            bail!("--nesterov is for --optimizer sgd");
        }
        if self.nesterov && momentum == 0.0 {
            bail!("--nesterov needs a --momentum above 0");
        }
        if let (Some(decay), 0) = (self.ema, reestimate) {
            bail!(
                "--reestimate 0 with --ema {decay}: BN statistics of the training do not fit averaged weights; give at least 1 \
                 batch"
            );
        }
        if let Some(teacher) = &self.teacher {
            ensure!(teacher.is_file(), "--teacher {}: there is no such file", teacher.display());
        }
        Ok(self.recipe().check(momentum, reestimate)?)
    }

    /// What the options say.
    pub(super) fn recipe(&self) -> Recipe {
        Recipe {
            algorithm: match (self.optimizer, self.nesterov) {
                (OptimizerName::AdamW, _) => Algorithm::AdamW,
                (OptimizerName::Sgd, true) => Algorithm::Nesterov,
                (OptimizerName::Sgd, false) => Algorithm::Sgd,
            },
            label_smoothing: self.label_smoothing,
            mixup: self.mixup,
            ema: self.ema,
            distillation: self.teacher.as_ref().map(|teacher| Distillation {
                teacher: teacher.clone(),
                distill_weight: self.distill_weight.unwrap_or(0.9),
                temperature: self.temperature.unwrap_or(4.0),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::super::Cli;
    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        recipe: RecipeArgs,
    }

    fn parsed(words: &str) -> RecipeArgs {
        let words = words.split(' ').filter(|word| !word.is_empty());
        Alone::try_parse_from(std::iter::once("train").chain(words)).unwrap().recipe
    }

    #[test]
    fn usual_options_are_the_plain_recipe() {
        assert!(parsed("").recipe().is_plain());
        assert!(parsed("").check(0.0, 0).is_ok());
    }

    #[test]
    fn options_become_a_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("teacher.safetensors");
        std::fs::write(&file, "").unwrap();
        let words =
            format!("--nesterov --label-smoothing 0.1 --mixup 0.2 --ema 0.999 --teacher {}", file.display());
        let args = parsed(&words);
        args.check(0.9, 100).unwrap();
        let recipe = args.recipe();
        assert_eq!((recipe.algorithm, recipe.label_smoothing, recipe.mixup), (Algorithm::Nesterov, 0.1, 0.2));
        let teacher = recipe.distillation.unwrap();
        assert_eq!((teacher.distill_weight, teacher.temperature, recipe.ema), (0.9, 4.0, Some(0.999)));
        assert_eq!(parsed("--optimizer adamw").recipe().algorithm, Algorithm::AdamW);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, momentum, reestimate, reason) in [
            ("--nesterov --optimizer adamw", 0.9, 100, "--nesterov is for --optimizer sgd"),
            ("--nesterov", 0.0, 100, "--nesterov needs a --momentum above 0"),
            ("--ema 0.99", 0.9, 0, "--reestimate 0 with --ema 0.99"),
            ("--teacher nowhere.safetensors", 0.9, 100, "nowhere.safetensors: there is no such file"),
        ] {
            let error = parsed(words).check(momentum, reestimate).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        for words in [
            "--label-smoothing 1",
            "--ema 1",
            "--ema 0",
            "--mixup -0.1",
            "--temperature 2",
            "--distill-weight 0.5",
            "--teacher x --temperature 0",
            "--teacher x --distill-weight 0",
            "--optimizer adam",
            "--cutout 0",
        ] {
            let line = format!("lrpet train --net resnet8 --data cifar10 --out runs/x {words}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{words}");
        }
    }
}
