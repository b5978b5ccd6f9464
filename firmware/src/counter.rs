//! Counting what an inference takes: clock cycles on a chip, executed instructions in an emulator.

/// What a counter counts. The two are never mixed and never converted into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clock cycles of the core.
    Cycles,
    /// Executed instructions; an emulator without a timing model has nothing else.
    Instructions,
}

impl Kind {
    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Instructions => "instructions",
        }
    }
}

/// A stretch of code of known length, as the counter saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Length in the counter's unit, known from the code.
    pub known: u64,
    /// Length that was counted.
    pub counted: u64,
}

impl Calibration {
    /// True where the count is right to 1 in 10 000: the code around the stretch adds a few.
    pub fn is_close(&self) -> bool {
        self.counted.abs_diff(self.known) <= self.known / 10_000
    }
}

/// A counter of a running core. Intervals are `stop() − start()`, modulo 2⁶⁴.
pub trait Counter {
    /// What is counted.
    fn kind(&self) -> Kind;

    /// Smallest difference that an interval can show.
    fn resolution(&self) -> u32;

    /// How the counter measured code of known length, where that was tried.
    fn calibration(&self) -> Option<Calibration> {
        None
    }

    /// Begins an interval: the count when this returns.
    fn start(&mut self) -> u64;

    /// Ends an interval: the count when this was called.
    fn stop(&mut self) -> u64;

    /// The count, cheaply, for time-outs: right to a fraction of a second, by which it may seem to go back.
    fn roughly(&mut self) -> u64 {
        self.stop()
    }
}

/// Intervals of a counter without what `start` and `stop` themselves add. Both stay functions: `cargo xtask bench arm` counts
/// what is executed between them.
pub struct Stopwatch<'c, C> {
    counter: &'c mut C,
    /// An empty interval.
    overhead: u64,
    started: u64,
}

impl<'c, C: Counter> Stopwatch<'c, C> {
    /// Measures an empty interval a few times and keeps the shortest.
    pub fn new(counter: &'c mut C) -> Self {
        let mut watch = Self { counter, overhead: 0, started: 0 };
        let mut overhead = u64::MAX;
        for _ in 0..3 {
            watch.start();
            overhead = overhead.min(watch.stop());
        }
        watch.overhead = overhead;
        watch
    }

    /// Begins an interval.
    #[inline(never)]
    pub fn start(&mut self) {
        self.started = self.counter.start();
    }

    /// Length of the interval since [`Stopwatch::start`].
    #[inline(never)]
    pub fn stop(&mut self) -> u64 {
        self.counter.stop().wrapping_sub(self.started).saturating_sub(self.overhead)
    }
}
