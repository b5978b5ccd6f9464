//! Threads that share the work of one layer.
//!
//! Layers take tens of microseconds: a member of the team spins between them and sleeps only when none has come for a
//! while, and whoever hands out work waits for those only who took some of it.
#![allow(unsafe_code)]

use core::num::NonZeroUsize;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// What every member does, with scratch of its own. Members find among themselves who does which part.
pub(super) type Work<'a> = &'a (dyn Fn(&mut [f32]) + Sync);

/// How long a member spins before it sleeps.
const PATIENCE: Duration = Duration::from_micros(200);

/// Bits of the gate: open; members inside; number of the round.
const OPEN: u32 = 1;
const MEMBER: u32 = 2;
const ROUND: u32 = 1 << 12;
/// Most threads, so that the members fit their bits.
const MOST: usize = 1024;

#[derive(Debug)]
struct Shared {
    gate: AtomicU32,
    /// A [`Work`] on the stack of the thread that hands it out, valid while a member is inside.
    work: AtomicPtr<()>,
    dismissed: AtomicBool,
    panicked: AtomicBool,
}

/// Threads beside the one that calls.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    members: Vec<JoinHandle<()>>,
    scratch: usize,
}

impl Team {
    /// `threads` − 1 further threads (at most 1023), each with `scratch` f32 of its own; `None` for one thread. Fails where
    /// the system gives no thread.
    pub(crate) fn new(threads: NonZeroUsize, scratch: usize) -> std::io::Result<Option<Team>> {
        let shared = Arc::new(Shared {
            gate: AtomicU32::new(0),
            work: AtomicPtr::new(core::ptr::null_mut()),
            dismissed: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let mut team = Team { shared, members: Vec::new(), scratch };
        for _ in 1..threads.get().min(MOST) {
            let shared = team.shared.clone();
            let member = std::thread::Builder::new().name("lrpet".into());
            team.members.push(member.spawn(move || shared.serve(scratch))?);
        }
        Ok(Some(team).filter(|team| !team.members.is_empty()))
    }

    /// Threads, with the one that calls.
    pub(crate) fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Bytes of the members' scratch.
    pub(crate) fn bytes(&self) -> usize {
        self.members.len() * self.scratch * size_of::<f32>()
    }

    /// f32 of scratch that each member has.
    pub(super) fn scratch(&self) -> usize {
        self.scratch
    }

    /// Does `work` on this thread with the scratch `own`, and on every other that comes in time. Nobody is at it any more
    /// when this returns.
    pub(super) fn share(&mut self, own: &mut [f32], work: Work<'_>) {
        let shared = &*self.shared;
        shared.work.store((&raw const work).cast_mut().cast(), Ordering::Relaxed);
        let round = (shared.gate.load(Ordering::Relaxed) & !(ROUND - 1)).wrapping_add(ROUND);
        shared.gate.store(round | OPEN, Ordering::Release);
        // Closes the gate and waits, also where `work` panics: members borrow from this stack.
        let _round = Round(shared);
        self.members.iter().for_each(|member| member.thread().unpark());
        work(own);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.dismissed.store(true, Ordering::Release);
        for member in self.members.drain(..) {
            member.thread().unpark();
            let _ = member.join();
        }
    }
}

/// A round that is open.
struct Round<'a>(&'a Shared);

impl Drop for Round<'_> {
    fn drop(&mut self) {
        let gate = &self.0.gate;
        gate.fetch_and(!OPEN, Ordering::Relaxed);
        let mut spins = 0u32;
        while gate.load(Ordering::Acquire) & (ROUND - 1) != 0 {
            spins += 1;
            // A member may wait for a processor.
            if spins.is_multiple_of(1024) { std::thread::yield_now() } else { core::hint::spin_loop() }
        }
        if self.0.panicked.load(Ordering::Relaxed) && !std::thread::panicking() {
            panic!("a thread of the team has panicked");
        }
    }
}

impl Shared {
    /// The life of a member.
    fn serve(&self, scratch: usize) {
        let mut scratch = std::vec![0.0; scratch];
        let mut last = 0;
        while let Some(round) = self.enter(last) {
            last = round;
            // SAFETY: this member is inside; whoever handed the work out waits for it to leave.
            let work = unsafe { *self.work.load(Ordering::Relaxed).cast::<Work<'_>>() };
            let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| work(&mut scratch)));
            if result.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.gate.fetch_sub(MEMBER, Ordering::Release);
        }
    }

    /// Waits for a round other than `last` and enters it; `None` when the team is dismissed.
    fn enter(&self, last: u32) -> Option<u32> {
        let mut since = Instant::now();
        let mut spins = 0u32;
        loop {
            let gate = self.gate.load(Ordering::Relaxed);
            let round = gate & !(ROUND - 1);
            if gate & OPEN != 0 && round != last {
                let entered =
                    self.gate.compare_exchange(gate, gate + MEMBER, Ordering::Acquire, Ordering::Relaxed);
                if entered.is_ok() {
                    return Some(round);
                }
                continue;
            }
            if self.dismissed.load(Ordering::Acquire) {
                return None;
            }
            core::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(64) && since.elapsed() > PATIENCE {
                std::thread::park();
                since = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicUsize;

    use super::*;

    /// Every part is done once, by whoever takes it, in round after round; sleeping members wake up.
    #[test]
    fn every_part_is_done_once() {
        let threads = NonZeroUsize::new(4).unwrap();
        let mut team = Team::new(threads, 3).unwrap().unwrap();
        assert_eq!((team.threads(), team.bytes()), (4, 36));
        for round in 0..2000 {
            let parts: Vec<AtomicUsize> = (0..round % 7).map(|_| AtomicUsize::new(0)).collect();
            let next = AtomicUsize::new(0);
            team.share(&mut [0.0; 3], &|scratch| {
                assert_eq!(scratch.len(), 3);
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    part.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert!(parts.iter().all(|part| part.load(Ordering::Relaxed) == 1));
            if round % 500 == 0 {
                std::thread::sleep(2 * PATIENCE);
            }
        }
        assert!(Team::new(NonZeroUsize::MIN, 3).unwrap().is_none());
    }

    #[test]
    fn a_panic_of_a_member_is_passed_on() {
        let mut team = Team::new(NonZeroUsize::new(2).unwrap(), 0).unwrap().unwrap();
        let caller = std::thread::current().id();
        let inside = AtomicBool::new(false);
        let shared = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            team.share(&mut [], &|_| {
                if std::thread::current().id() != caller {
                    inside.store(true, Ordering::Relaxed);
                    panic!("as meant by the test");
                }
                // The caller waits until the member has come.
                while !inside.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            });
        }));
        assert!(shared.is_err());
    }
}
