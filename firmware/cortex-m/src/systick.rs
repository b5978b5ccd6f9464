//! SysTick as a counter of executed instructions, in an emulator where every instruction takes the same virtual time
//! (QEMU with `-icount shift=0`).
//!
//! SysTick steps once in tens of instructions, not always a whole number of them (31.25 where the clock is 32 MHz).
//! Intervals are nevertheless exact: both ends run a loop between two readings that takes a little longer than some
//! whole steps. Each reading then falls a little later in its step than the one before, so that the steps counted
//! between two readings are always the same, and one more where a boundary was passed; the number of readings until
//! then says where in a step the first one was (a vernier). The loop itself lies outside the interval.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use lrpet_firmware::counter::{Calibration, Counter, Kind};

/// SysTick's counter has 24 bits and counts down.
const MASK: u32 = 0x00ff_ffff;
/// Iterations of the calibration's loop of two instructions.
const CALIBRATION_LOOPS: u32 = 500_000;

/// Overflows. The handler adds about ten instructions to an interval, once in 2²⁴ steps.
static OVERFLOWS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    // Only this handler writes, and it does not interrupt itself.
    OVERFLOWS.store(OVERFLOWS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// SysTick, stepping once in `QUARTERS` quarters of an instruction (32 to 400, no multiple of two that is none of four).
pub struct SysTick<const QUARTERS: u32> {
    calibration: Calibration,
}

impl<const QUARTERS: u32> SysTick<QUARTERS> {
    /// Whole steps between two readings: as many as lack an instruction, or a quarter of one, to a whole number of
    /// instructions.
    const STEPS: u32 = if QUARTERS % 4 == 1 { 3 } else { 1 };
    /// Instructions from one reading to the next.
    const LOOP: u32 = Self::STEPS * QUARTERS / 4 + 1;
    /// Quarters of an instruction by which a reading falls later in its step than the one before.
    const GAIN: u32 = 4 * Self::LOOP - Self::STEPS * QUARTERS;
    /// Readings until a boundary was passed, at most.
    const READINGS: u32 = {
        assert!(QUARTERS % 4 != 2 && QUARTERS >= 32 && QUARTERS <= 400);
        QUARTERS.div_ceil(Self::GAIN)
    };

    /// Starts SysTick and counts a loop of known length.
    pub fn new(mut systick: SYST) -> Self {
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(MASK);
        systick.clear_current();
        systick.enable_interrupt();
        systick.enable_counter();
        let mut counter = Self { calibration: Calibration { known: 0, counted: 0 } };
        let empty = {
            let start = counter.start();
            counter.stop().wrapping_sub(start)
        };
        let start = counter.start();
        let known = spin(CALIBRATION_LOOPS);
        let counted = counter.stop().wrapping_sub(start).wrapping_sub(empty);
        counter.calibration = Calibration { known, counted };
        counter
    }

    /// Instructions up to the first of a row of readings, and the number of further readings until a boundary was
    /// passed (more than [`Self::READINGS`] where SysTick does not step as it should).
    #[inline(never)]
    #[allow(unsafe_code)]
    fn vernier() -> (u64, u32) {
        let (first, left, overflows) = cortex_m::interrupt::free(|_| {
            let first: u32;
            // Bounds the loop where SysTick steps otherwise.
            let mut left: u32 = 2 * Self::READINGS;
            // SAFETY: reads SysTick's current value, which has no side effect, and touches only the named registers.
            unsafe {
                asm!(
                    "ldr {first}, [{current}]",
                    "mov {previous}, {first}",
                    // To the next reading, as far as from there on.
                    ".rept 6", "nop", ".endr",
                    "2:",
                    ".rept {between} - 7", "nop", ".endr",
                    "ldr {now}, [{current}]",
                    "sub {delta}, {previous}, {now}",
                    "mov {previous}, {now}",
                    "bic {delta}, {delta}, #0xff000000",
                    "cmp {delta}, #{steps}",
                    "bne 3f",
                    "subs {left}, {left}, #1",
                    "bne 2b",
                    "3:",
                    current = in(reg) SYST::PTR.cast::<u32>().wrapping_add(2),
                    first = out(reg) first,
                    previous = out(reg) _,
                    now = out(reg) _,
                    delta = out(reg) _,
                    left = inout(reg) left,
                    between = const Self::LOOP,
                    steps = const Self::STEPS,
                    options(nostack, readonly),
                );
            }
            let in_period = first.wrapping_neg() & MASK;
            let mut overflows = u64::from(OVERFLOWS.load(Ordering::Relaxed));
            // An overflow whose handler is held back, and that came before the first reading.
            if SCB::is_pendst_pending() && in_period <= MASK / 2 {
                overflows += 1;
            }
            (in_period, left, overflows)
        });
        let readings = 2 * Self::READINGS - left + 1;
        let steps = (overflows << 24) + u64::from(first);
        // The first reading lay this far before the end of its step.
        let before = u64::from(Self::GAIN * readings);
        ((steps * u64::from(QUARTERS) + u64::from(QUARTERS)).saturating_sub(before) / 4, readings)
    }
}

impl<const QUARTERS: u32> Counter for SysTick<QUARTERS> {
    fn kind(&self) -> Kind {
        Kind::Instructions
    }

    fn resolution(&self) -> u32 {
        1
    }

    fn calibration(&self) -> Option<Calibration> {
        Some(self.calibration)
    }

    fn start(&mut self) -> u64 {
        let (first, readings) = Self::vernier();
        // The last reading came `readings` loops after the first.
        first + u64::from(readings) * u64::from(Self::LOOP)
    }

    fn stop(&mut self) -> u64 {
        Self::vernier().0
    }

    /// To a step of SysTick; one whole round too little while an overflow waits for its handler.
    fn roughly(&mut self) -> u64 {
        let overflows = u64::from(OVERFLOWS.load(Ordering::Relaxed));
        let steps = (overflows << 24) + u64::from(SYST::get_current().wrapping_neg() & MASK);
        steps * u64::from(QUARTERS) / 4
    }
}

/// Executes two instructions `loops` times; returns their number.
#[allow(unsafe_code)]
fn spin(loops: u32) -> u64 {
    // SAFETY: touches only its own register.
    unsafe {
        asm!("2:", "subs {left}, {left}, #1", "bne 2b", left = inout(reg) loops => _, options(nomem, nostack));
    }
    2 * u64::from(loops)
}
