//! The settings of a run, from the command line, and what is refused before anything is read.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use lrpet_network::export::{self, Card};
use lrpet_network::lrpet::{RankPlan, RankRule, Rule};
use lrpet_network::network::Network;
use lrpet_train::{Choose, Decay, Period, ProjectionSettings, Schedule, Settings};

use super::super::command_line;
use super::super::ram;
use super::super::ranks::Ranks;
use super::{Args, OptimizerArgs, Options, ProjectionArgs, ScheduleName};

impl Options {
    /// Refuses numbers that do not go together in a run of `epochs` epochs (none: as many as the options say).
    pub fn check(&self, epochs: Option<usize>) -> Result<()> {
        let OptimizerArgs { schedule, steps, recipe, momentum, reestimate, .. } = &self.optimizer;
        recipe.check(*momentum, *reestimate)?;
        let stepped = matches!(schedule, ScheduleName::Step);
        ensure!(stepped || steps.is_empty(), "--steps is for --schedule step; the schedule is cosine");
        let epochs = epochs.unwrap_or(self.optimizer.epochs);
        Ok(self.optimizer.schedule(epochs).check(epochs)?)
    }

    /// Refuses options of the projection that would have no effect on ranks by `rule`, or spoil the weights without a word.
    pub fn check_projection(&self, rule: Option<&RankRule>) -> Result<()> {
        let ProjectionArgs { choose_after, project_epochs, project_iterations, .. } = &self.projection;
        let given = [
            ("--choose-after", choose_after.is_some()),
            ("--project-epochs", project_epochs.is_some()),
            ("--project-iterations", project_iterations.is_some()),
            ("--residual-factor", self.projection.residual_factor != 0.0),
            ("--no-energy-transfer", self.projection.no_energy_transfer),
            ("--no-rectification", self.projection.no_rectification),
        ];
        let Some(rule) = rule else {
            match given.iter().find(|(_, given)| *given) {
                Some((option, _)) => {
                    bail!(
                        "{option} is for low-rank training: name ranks by --prune, --ranks, --energy or --budget"
                    )
                }
                None => return Ok(()),
            }
        };
        let epochs = self.optimizer.epochs;
        if !rule.needs_spectra() {
            ensure!(
                choose_after.is_none(),
                "--choose-after is for --energy and --budget; {rule} needs no weights"
            );
        } else if choose_after.is_none() && self.init.is_none() && epochs == 1 {
            bail!(
                "ranks by {rule} follow from trained weights, and after the first of 1 epochs no training with them is \
                 left: give --epochs 2 or more, or the weights to start from with --init"
            );
        } else {
            let after = self.choose_after();
            ensure!(
                after < epochs,
                "--choose-after {after}: ranks by {rule} would never be trained with, the run has {epochs} epochs"
            );
        }
        ensure!(
            self.optimizer.reestimate > 0 || rule.rule == Rule::Prune(0.0),
            "--reestimate 0 is for dense training: BN statistics of the training do not fit projected weights"
        );
        Ok(())
    }

    /// Epochs after which ranks that follow from weights are chosen.
    fn choose_after(&self) -> usize {
        let usual = if self.init.is_some() { 0 } else { self.optimizer.epochs.div_ceil(10) };
        self.projection.choose_after.unwrap_or(usual)
    }
}

impl OptimizerArgs {
    /// The learning rate over a run of `epochs` epochs.
    pub(super) fn schedule(&self, epochs: usize) -> Schedule {
        let decay = match self.schedule {
            ScheduleName::Cosine => Decay::Cosine,
            ScheduleName::Step => {
                let mut at = self.steps.clone();
                if at.is_empty() {
                    // Of one epoch there is no half.
                    at = [epochs / 2, epochs * 3 / 4].into_iter().filter(|epoch| *epoch > 0).collect();
                    at.dedup();
                }
                Decay::Step { at, factor: 0.1 }
            }
        };
        Schedule { rate: self.lr.unwrap_or(self.recipe.optimizer.rate()), warm_up: self.warm_up, decay }
    }
}

/// Refuses a network that does not run in the memory of `--budget ram=…`, whatever its schedule, before it is trained.
pub(super) fn check_ram(ranks: &Ranks, network: &Network) -> Result<()> {
    let Some(bytes) = ranks.ram() else { return Ok(()) };
    // How many bytes of flash there are beside the weights does not matter here: ranks by budgets are not known yet.
    let plan = match ranks.rule(|| Ok(0))? {
        None => Some(RankPlan::dense(network)),
        Some(rule) if rule.needs_spectra() => None,
        Some(rule) => Some(rule.plan(network, None)?),
    };
    ram::check_network(network, plan, bytes)
}

/// The settings that the arguments state for `network` on the data set called `dataset`.
pub(super) fn settings(args: &Args, network: &Network, dataset: &str) -> Result<Settings> {
    let Options { projection: projecting, optimizer, init, new_head, seed, .. } = &args.options;
    let rule = args.ranks.rule(|| Ok(export::most_overhead(network, &card(dataset, network))?))?;
    let OptimizerArgs { epochs, batch, momentum, reestimate, .. } = *optimizer;
    let words = rule.as_ref().map_or(String::new(), ToString::to_string);
    let (mut ranks, mut choose) = (BTreeMap::new(), None);
    match rule {
        Some(rule) if rule.needs_spectra() => {
            choose = Some(Choose { rule, after: args.options.choose_after() });
        }
        Some(rule) => ranks = rule.plan(network, None)?.ranks(),
        None => {}
    }
    let ProjectionArgs { project_epochs, project_iterations, residual_factor, .. } = *projecting;
    let projection = (!ranks.is_empty() || choose.is_some()).then(|| ProjectionSettings {
        ranks,
        rule: words,
        choose,
        period: project_iterations.map_or(Period::Epochs(project_epochs.unwrap_or(1)), Period::Iterations),
        energy_transfer: !projecting.no_energy_transfer,
        rectification: !projecting.no_rectification,
        residual: residual_factor,
    });
    Ok(Settings {
        dataset: dataset.to_owned(),
        epochs,
        batch,
        schedule: optimizer.schedule(epochs),
        momentum,
        weight_decay: optimizer.weight_decay.unwrap_or(optimizer.recipe.optimizer.weight_decay()),
        seed: *seed,
        projection,
        reestimate_batches: reestimate,
        init: init.clone(),
        new_head: *new_head,
        recipe: optimizer.recipe.recipe(),
        extended: Vec::new(),
    })
}

/// The card that a model of this run will have, for the size of its file.
fn card(dataset: &str, network: &Network) -> Card {
    Card {
        dataset: dataset.to_owned(),
        classes: (0..network.classes).map(|class| format!("class of the name {class}")).collect(),
        training: Some(command_line()),
        command: command_line(),
        ..Card::default()
    }
}
