//! SysTick as a counter of executed instructions, in an emulator where every instruction takes the same virtual time
//! (QEMU with `-icount shift=0`).
//!
//! SysTick steps once in [`STEP`](SysTick) instructions. Intervals are nevertheless exact: both ends run a loop of
//! `STEP + 1` instructions between two readings. Each reading then falls one instruction later in its step than the
//! one before, so that the steps counted between two readings are 1, 1, …, 1 and 2 where a boundary was passed; the
//! number of readings until then says where in a step the first one was (a vernier). The loop itself lies outside
//! the interval.

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

/// SysTick, stepping once in `STEP` instructions (8 to 100).
pub struct SysTick<const STEP: u32> {
    calibration: Calibration,
}

impl<const STEP: u32> SysTick<STEP> {
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
}

impl<const STEP: u32> Counter for SysTick<STEP> {
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
        let (steps, readings) = vernier::<STEP>();
        // The last reading came `readings` loops after the first.
        at_first_reading::<STEP>(steps, readings) + u64::from(readings) * u64::from(STEP + 1)
    }

    fn stop(&mut self) -> u64 {
        let (steps, readings) = vernier::<STEP>();
        at_first_reading::<STEP>(steps, readings)
    }
}

/// Instructions up to the vernier's first reading, which lay `STEP − readings` instructions into its step.
fn at_first_reading<const STEP: u32>(steps: u64, readings: u32) -> u64 {
    (steps * u64::from(STEP) + u64::from(STEP)).saturating_sub(u64::from(readings))
}

/// Steps at the first of a row of readings `STEP + 1` instructions apart, and the number of further readings until
/// two steps lay between two of them (1 to `STEP`; more where SysTick does not step once in `STEP` instructions).
#[inline(never)]
#[allow(unsafe_code)]
fn vernier<const STEP: u32>() -> (u64, u32) {
    cortex_m::interrupt::free(|_| {
        let first: u32;
        // Bounds the loop where SysTick steps otherwise.
        let mut left: u32 = 2 * STEP;
        // SAFETY: reads SysTick's current value, which has no side effect, and touches only the named registers.
        unsafe {
            asm!(
                "ldr {first}, [{current}]",
                "mov {previous}, {first}",
                // To the next reading, as far as from there on.
                ".rept 6", "nop", ".endr",
                "2:",
                ".rept {step} - 7", "nop", ".endr",
                "ldr {now}, [{current}]",
                "sub {delta}, {previous}, {now}",
                "mov {previous}, {now}",
                "bic {delta}, {delta}, #0xff000000",
                "cmp {delta}, #1",
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
                step = const STEP,
                options(nostack, readonly),
            );
        }
        let in_period = first.wrapping_neg() & MASK;
        let mut overflows = u64::from(OVERFLOWS.load(Ordering::Relaxed));
        // An overflow whose handler is held back, and that came before the first reading.
        if SCB::is_pendst_pending() && in_period <= MASK / 2 {
            overflows += 1;
        }
        ((overflows << 24) + u64::from(in_period), 2 * STEP - left + 1)
    })
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
