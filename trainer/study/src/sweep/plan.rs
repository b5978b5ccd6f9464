//! Which runs there are, and which weights each starts from.

use anyhow::{Result, ensure};

/// What the runs of low rank start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WarmStart {
    /// Fresh weights, each run for itself.
    #[default]
    None,
    /// The weights of the dense run.
    Dense,
    /// The weights of the run with the next lower ratio.
    Neighbour,
}

impl WarmStart {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            WarmStart::None => "none",
            WarmStart::Dense => "dense",
            WarmStart::Neighbour => "neighbour",
        }
    }
}

/// One run of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Pruning ratio.
    pub prune: f64,
    /// Index of the job whose weights it starts from.
    pub init: Option<usize>,
}

impl Job {
    /// Name of its folder.
    pub fn name(&self) -> String {
        if self.prune == 0.0 { "dense".to_owned() } else { format!("g{}", self.prune) }
    }
}

/// The jobs for `ratios`, by rising ratio; the dense one is added where the others start from it.
///
/// # Errors
/// Where a ratio is outside 0..1 or named twice.
pub fn jobs(ratios: &[f64], warm_start: WarmStart) -> Result<Vec<Job>> {
    let mut sorted = ratios.to_vec();
    if warm_start != WarmStart::None && !sorted.contains(&0.0) {
        sorted.push(0.0);
    }
    sorted.sort_by(f64::total_cmp);
    ensure!(!sorted.is_empty(), "no pruning ratio: name some, such as 0,0.5,0.7");
    for (at, g) in sorted.iter().enumerate() {
        ensure!((0.0..1.0).contains(g), "pruning ratio {g}: it must be at least 0 (dense) and below 1");
        ensure!(sorted.get(at + 1) != Some(g), "pruning ratio {g} is named twice");
    }
    let init = |at: usize| match warm_start {
        WarmStart::None => None,
        WarmStart::Dense => (at > 0).then_some(0),
        WarmStart::Neighbour => at.checked_sub(1),
    };
    Ok(sorted.into_iter().enumerate().map(|(at, prune)| Job { prune, init: init(at) }).collect())
}
