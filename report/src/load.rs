//! How busy the processors are with other programs than those that are measured (Linux).

use std::fs::read_to_string;

/// Ticks of the processors since the machine started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    /// Of all processors, idle ones too.
    all: u64,
    /// In which they worked.
    busy: u64,
    /// In which they worked for the processes that are measured.
    own: u64,
}

impl Busy {
    /// Now; `own` are the processes that are measured. None on another system than Linux.
    pub fn now(own: impl Iterator<Item = u32>) -> Option<Busy> {
        let (all, busy) = processors(&read_to_string("/proc/stat").ok()?)?;
        let ticks = |id| process(&read_to_string(format!("/proc/{id}/stat")).ok()?);
        Some(Busy { all, busy, own: own.map(ticks).sum::<Option<u64>>()? })
    }

    /// Now; what this process uses is its own.
    pub fn here() -> Option<Busy> {
        Busy::now(std::iter::once(std::process::id()))
    }

    /// Share of the processors' time since [`Busy::here`] that other processes used, 0 to 1; none where too little time has passed
    /// for the kernel's clock of hundredths of a second.
    pub fn others_until_now(&self) -> Option<f64> {
        /// Ticks of all processors.
        const ENOUGH: u64 = 20;
        let now = Busy::here()?;
        (now.all.saturating_sub(self.all) >= ENOUGH).then(|| now.others_since(self))
    }

    /// Share of the processors' time since `before` that other processes used, 0 to 1.
    pub fn others_since(&self, before: &Busy) -> f64 {
        let busy = self.busy.saturating_sub(before.busy) as f64;
        let own = self.own.saturating_sub(before.own) as f64;
        (busy - own).max(0.0) / self.all.saturating_sub(before.all).max(1) as f64
    }
}

/// All ticks and the busy ones, of /proc/stat: user, nice, system, idle, waiting for disks, interrupts (two), stolen; what guests
/// used is counted in the first two.
fn processors(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_whitespace().take(8).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let all = ticks.iter().sum();
    Some((all, all - ticks.get(3)? - ticks.get(4)?))
}

/// Ticks of a process, of /proc/ID/stat: its fields 14 and 15, after a name in parentheses that can hold anything.
fn process(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(processors("cpu  100 20 30 400 50 1 2 3 7 7\ncpu0 1 1"), Some((606, 156)));
        assert_eq!(processors("intr 5"), None);
        assert_eq!(process("12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 70 7 0 0 20"), Some(77));
    }

    #[test]
    fn others_are_what_is_left() {
        let before = Busy { all: 1000, busy: 500, own: 100 };
        let after = Busy { all: 1200, busy: 650, own: 200 };
        assert_eq!(after.others_since(&before), 0.25);
    }
}
