//! A counter of 32 bits that wraps, as one of 64.

/// Readings of a counter of 32 bits, put one after another. Two readings in a row must lie less than 2³² apart; a periodic
/// interrupt that reads sees to that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wide {
    /// The last reading, and above it how often the counter wrapped.
    last: u64,
}

impl Wide {
    /// Before any reading.
    pub const fn new() -> Self {
        Self { last: 0 }
    }

    /// The count in 64 bits of a `reading` that was taken now.
    pub fn extend(&mut self, reading: u32) -> u64 {
        let since = reading.wrapping_sub(self.last as u32);
        self.last = self.last.wrapping_add(u64::from(since));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_go_on_where_the_counter_wraps() {
        let wide = &mut Wide::new();
        assert_eq!(wide.extend(5), 5);
        assert_eq!(wide.extend(5), 5);
        assert_eq!(wide.extend(u32::MAX), u64::from(u32::MAX));
        assert_eq!(wide.extend(0), 1 << 32);
        assert_eq!(wide.extend(0xffff_fff0), (1 << 32) + 0xffff_fff0);
        assert_eq!(wide.extend(0xffff_ffef), (2 << 32) + 0xffff_ffef);
    }

    #[test]
    fn an_interval_longer_than_the_counter_is_right_where_an_interrupt_reads() {
        // 60 s at 480 MHz, read every 2²⁴ cycles and, out of step, at both ends.
        let (wide, start, length) = (&mut Wide::new(), 0xfff0_0000, 60 * 480_000_000_u64);
        let began = wide.extend(start);
        for interrupt in (0..length).step_by(1 << 24) {
            wide.extend(start.wrapping_add(interrupt as u32).wrapping_add(77));
        }
        assert_eq!(wide.extend(start.wrapping_add(length as u32)) - began, length);
    }
}
