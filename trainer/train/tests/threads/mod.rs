//! Threads in the place of processes that train together.

use std::sync::{Arc, Barrier, Mutex};

use lrpet_train::Exchange;

/// A thread among others, each with the numbers that it has just given.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    given: Arc<Mutex<Vec<Vec<f64>>>>,
    meeting: Arc<Barrier>,
}

impl Threads {
    /// What `work` comes to in each of `size` threads.
    pub fn run<T: Send>(size: usize, work: impl Fn(Threads) -> T + Sync) -> Vec<T> {
        let (given, meeting) = (Arc::new(Mutex::new(vec![Vec::new(); size])), Arc::new(Barrier::new(size)));
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..size)
                .map(|rank| {
                    let (given, meeting, work) = (given.clone(), meeting.clone(), &work);
                    scope.spawn(move || work(Threads { rank, given, meeting }))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

impl Exchange for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.given.lock().unwrap().len()
    }

    fn sum(&self, values: &mut [f32]) {
        let all = self.gather(&values.iter().copied().map(f64::from).collect::<Vec<_>>());
        let count = values.len();
        for (at, value) in values.iter_mut().enumerate() {
            *value = all.iter().skip(at).step_by(count).sum::<f64>() as f32;
        }
    }

    fn gather(&self, values: &[f64]) -> Vec<f64> {
        self.given.lock().unwrap()[self.rank] = values.to_vec();
        self.meeting.wait();
        let all = self.given.lock().unwrap().concat();
        self.meeting.wait();
        all
    }

    fn broadcast(&self, values: &mut [f32]) {
        let all = self.gather(&values.iter().copied().map(f64::from).collect::<Vec<_>>());
        values.iter_mut().zip(all).for_each(|(value, of_first)| *value = of_first as f32);
    }

    fn end_all(&self) {}
}
