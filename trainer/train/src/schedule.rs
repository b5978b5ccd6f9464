//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

use super::TrainError;

/// How the learning rate changes over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Learning rate after warm-up, before any decay.
    pub rate: f64,
    /// Epochs over which the rate first rises linearly from zero (0: none).
    pub warm_up: f64,
    /// What follows.
    pub decay: Decay,
}

/// The fall of the learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Multiplied by `factor` at the start of each of the epochs `at` (counted from 0).
    Step {
        /// Epochs, rising.
        at: Vec<usize>,
        /// Factor of each step.
        factor: f64,
    },
    /// Half a cosine from the full rate to zero at the end of the run (Loshchilov and Hutter, "SGDR", ICLR 2017),
    /// changed at each batch.
    Cosine,
}

impl Schedule {
    /// Rate of the batch that begins after `done` of `epochs` epochs (0 ≤ done < epochs).
    pub fn rate(&self, done: f64, epochs: usize) -> f64 {
        let decayed = match &self.decay {
            Decay::Step { at, factor } => {
                let steps = at.iter().filter(|epoch| **epoch as f64 <= done).count();
                self.rate * factor.powi(steps as i32)
            }
            Decay::Cosine => {
                let length = (epochs as f64 - self.warm_up).max(f64::MIN_POSITIVE);
                let part = ((done - self.warm_up) / length).clamp(0.0, 1.0);
                self.rate * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
            }
        };
        if done < self.warm_up { decayed * done / self.warm_up } else { decayed }
    }

    /// Checks the schedule of a run of `epochs` epochs.
    ///
    /// # Errors
    /// [`TrainError::Setting`] where a number makes no sense.
    pub fn check(&self, epochs: usize) -> Result<(), TrainError> {
        let fails = |reason: String| Err(TrainError::Setting(reason));
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return fails(format!("learning rate {}: it must be above 0", self.rate));
        }
        if !(self.warm_up >= 0.0 && self.warm_up.is_finite()) {
            return fails(format!("warm-up over {} epochs: it must be at least 0", self.warm_up));
        }
        if self.warm_up > epochs as f64 {
            return fails(format!("warm-up over {} of the epochs: the run has {epochs}", self.warm_up));
        }
        let Decay::Step { at, factor } = &self.decay else { return Ok(()) };
        if !(*factor > 0.0 && *factor <= 1.0) {
            return fails(format!("step factor {factor}: it must be above 0 and at most 1"));
        }
        if let Some(pair) = at.windows(2).find(|pair| pair[0] >= pair[1]) {
            return fails(format!("steps after {} and {} epochs: they must rise", pair[0], pair[1]));
        }
        match at.iter().find(|step| !(1..epochs).contains(*step)) {
            Some(step) => fails(format!(
                "a step after epoch {step}: the run has {epochs}, and a step comes before the last"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_steps() {
        let decay = Decay::Step { at: vec![200, 300], factor: 0.1 };
        let schedule = Schedule { rate: 0.1, warm_up: 0.0, decay };
        for (done, rate) in [(0.0, 0.1), (199.99, 0.1), (200.0, 0.01), (299.5, 0.01), (300.0, 0.001)] {
            assert!((schedule.rate(done, 400) - rate).abs() < 1e-12);
        }
    }

    #[test]
    fn a_schedule_that_does_not_fit_its_run_is_refused() {
        let steps = |at: &[usize]| Decay::Step { at: at.to_vec(), factor: 0.1 };
        let check = |rate, warm_up, decay| {
            let found = Schedule { rate, warm_up, decay }.check(30);
            found.map_err(|error| error.to_string())
        };
        for (rate, warm_up, decay, words) in [
            (f64::NAN, 0.0, Decay::Cosine, "learning rate NaN"),
            (-0.1, 0.0, Decay::Cosine, "learning rate -0.1"),
            (f64::INFINITY, 0.0, Decay::Cosine, "learning rate inf"),
            (0.1, 31.0, Decay::Cosine, "warm-up over 31 of the epochs: the run has 30"),
            (0.1, 0.0, steps(&[15, 10]), "15 and 10 epochs: they must rise"),
            (0.1, 0.0, steps(&[15, 15]), "they must rise"),
            (0.1, 0.0, steps(&[0, 15]), "a step after epoch 0"),
            (0.1, 0.0, steps(&[15, 30]), "a step after epoch 30: the run has 30"),
        ] {
            let error = check(rate, warm_up, decay).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(check(0.1, 30.0, steps(&[])), Ok(()));
        assert_eq!(check(0.1, 5.0, steps(&[15, 29])), Ok(()));
    }

    #[test]
    fn cosine_after_warm_up() {
        let schedule = Schedule { rate: 0.2, warm_up: 2.0, decay: Decay::Cosine };
        for (done, rate) in [(0.0, 0.0), (1.0, 0.1), (2.0, 0.2), (6.0, 0.1), (10.0, 0.0)] {
            assert!((schedule.rate(done, 10) - rate).abs() < 1e-12, "{done}");
        }
    }
}
