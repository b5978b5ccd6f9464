//! Following job arrays until every task has left its result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::array::{Array, Submission};
use super::queue::{self, State};
use super::{LaunchError, News, Task};

/// For so long Slurm may be silent, as while its controller is started anew.
const SILENCE: Duration = Duration::from_secs(600);

/// Hands tasks to Slurm.
#[derive(Clone, Debug)]
pub struct Slurm {
    /// Folder of scripts and of what was submitted, on a file system that all nodes share.
    pub folder: PathBuf,
    /// Further options of `sbatch`.
    pub options: Vec<String>,
    /// Tasks of an array at a time; as many as Slurm allows where there is none.
    pub at_once: Option<usize>,
    /// A task is given up after so many ends in a row without its result and without progress.
    pub attempts: u32,
    /// Time between two looks.
    pub look: Duration,
}

/// Where a task is.
#[derive(Default)]
struct Place {
    /// Job and index of the task in its array.
    job: Option<(String, usize)>,
    /// What was last said of it.
    said: Option<News>,
    /// Ends in a row without progress.
    fruitless: u32,
    /// Length of its file of progress when it was submitted.
    progress: u64,
    /// Seen to have ended, without its result: a shared file system may show that a little later.
    missing: bool,
    over: bool,
}

impl Slurm {
    /// Runs `tasks` to their ends; `on` hears what becomes of each, by its index. A task that fails does not stop the others.
    ///
    /// # Errors
    /// Where Slurm refuses or is silent, or the folder cannot be written.
    pub fn run(&self, tasks: &[Task], on: &mut dyn FnMut(usize, News)) -> Result<(), LaunchError> {
        let mut places: Vec<Place> = tasks.iter().map(|_| Place::default()).collect();
        let mut arrays = self.adopt(tasks, &mut places)?;
        let mut answered = Instant::now();
        loop {
            for (at, place) in places.iter_mut().enumerate() {
                if !place.over && place.job.is_none() && tasks[at].done.is_file() {
                    place.over = true;
                    on(at, News::Done);
                }
            }
            self.submit(tasks, &mut places, &mut arrays, on)?;
            if places.iter().all(|place| place.over) {
                return if arrays.is_empty() { Ok(()) } else { self.submission().remember(&[]) };
            }
            thread::sleep(self.look);
            match queues(&places) {
                Ok(queues) => {
                    answered = Instant::now();
                    for (at, place) in places.iter_mut().enumerate() {
                        let Some((job, index)) = place.job.clone() else { continue };
                        self.look(&tasks[at], place, queues[&job].get(&index), &mut |news| on(at, news));
                    }
                }
                Err(error @ LaunchError::NoProgram { .. }) => return Err(error),
                Err(error) if answered.elapsed() > SILENCE => {
                    let seconds = answered.elapsed().as_secs();
                    return Err(LaunchError::Lost { seconds, reason: error.to_string() });
                }
                Err(_) => {}
            }
        }
    }

    fn submission(&self) -> Submission<'_> {
        Submission { folder: &self.folder, options: &self.options, at_once: self.at_once }
    }

    /// Finds the tasks that an earlier program submitted and Slurm still has.
    fn adopt(&self, tasks: &[Task], places: &mut [Place]) -> Result<Vec<Array>, LaunchError> {
        let mut arrays = self.submission().remembered();
        for array in &arrays {
            let queue = queue::tasks(&array.job)?;
            for (index, name) in array.tasks.iter().enumerate() {
                let here = queue.get(&index).is_some_and(|state| !state.ended());
                if let Some(at) = tasks.iter().position(|task| here && task.name == *name) {
                    places[at].job = Some((array.job.clone(), index));
                    places[at].progress = length(&tasks[at].progress);
                }
            }
        }
        forget(&mut arrays, places);
        Ok(arrays)
    }

    /// Submits what has no job and no result as one array.
    fn submit(
        &self,
        tasks: &[Task],
        places: &mut [Place],
        arrays: &mut Vec<Array>,
        on: &mut dyn FnMut(usize, News),
    ) -> Result<(), LaunchError> {
        let waiting: Vec<usize> =
            (0..tasks.len()).filter(|&at| !places[at].over && places[at].job.is_none()).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        for &at in &waiting {
            places[at].progress = length(&tasks[at].progress);
        }
        let chosen: Vec<&Task> = waiting.iter().map(|&at| &tasks[at]).collect();
        let array = self.submission().submit(&chosen)?;
        for (index, &at) in waiting.iter().enumerate() {
            places[at].job = Some((array.job.clone(), index));
            on(at, News::Submitted(array.job.clone()));
        }
        arrays.push(array);
        forget(arrays, places);
        self.submission().remember(arrays)
    }

    /// Takes in what Slurm says of a task that has a job.
    fn look(&self, task: &Task, place: &mut Place, state: Option<&State>, on: &mut dyn FnMut(News)) {
        if let Some(state) = state.filter(|state| !state.ended()) {
            place.missing = false;
            let news = match state.name.as_str() {
                "PENDING" | "REQUEUED" | "REQUEUE_HOLD" => News::Waiting(state.reason.clone()),
                _ => News::Running,
            };
            if news == News::Running || place.said.as_ref() != Some(&news) {
                on(news.clone());
            }
            place.said = Some(news);
            return;
        }
        if task.done.is_file() {
            (place.over, place.job) = (true, None);
            return on(News::Done);
        }
        if !std::mem::replace(&mut place.missing, true) {
            return;
        }
        (place.missing, place.job) = (false, None);
        let name = state.map_or("no longer known", |state| state.name.as_str());
        place.fruitless = if length(&task.progress) > place.progress { 0 } else { place.fruitless + 1 };
        let failed = if name == "CANCELLED" {
            Some("it was cancelled".to_owned())
        } else {
            let times = place.fruitless;
            (times >= self.attempts.max(1))
                .then(|| format!("it ended {times} times in a row without progress, last {name}"))
        };
        place.over = failed.is_some();
        on(match failed {
            Some(why) => News::Failed(format!("{why}; see {}", task.log.display())),
            None => News::Again(name.to_owned()),
        });
    }
}

/// What Slurm says of all jobs.
fn queues(places: &[Place]) -> Result<BTreeMap<String, BTreeMap<usize, State>>, LaunchError> {
    let mut found = BTreeMap::new();
    for (job, _) in places.iter().filter_map(|place| place.job.as_ref()) {
        if !found.contains_key(job) {
            found.insert(job.clone(), queue::tasks(job)?);
        }
    }
    Ok(found)
}

/// Keeps the arrays that have a task left.
fn forget(arrays: &mut Vec<Array>, places: &[Place]) {
    let jobs = || places.iter().filter_map(|place| place.job.as_ref());
    arrays.retain(|array| jobs().any(|(job, _)| *job == array.job));
}

/// Bytes of a file; 0 where there is none.
fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |of| of.len())
}
