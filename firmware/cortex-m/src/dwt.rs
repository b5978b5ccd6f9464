//! The debug unit's cycle counter (DWT CYCCNT), in 64 bits.
//!
//! CYCCNT has 32 bits: at 400 MHz it wraps after 10.7 s. SysTick interrupts every 2²⁴ cycles and reads it, so that no wrap is
//! missed however long an inference takes; the handler adds some tens of cycles to 16.8 million.
//!
//! CYCCNT stands still while the core sleeps: nothing here may wait with WFI or WFE.

use core::cell::Cell;

use cortex_m::interrupt::{self, Mutex};
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{DCB, DWT, SYST};
use cortex_m_rt::exception;
use lrpet_firmware::counter::{Counter, Kind};
use lrpet_firmware::wide::Wide;

/// SysTick's longest period, less one.
const RELOAD: u32 = 0x00ff_ffff;

static WIDE: Mutex<Cell<Wide>> = Mutex::new(Cell::new(Wide::new()));

#[exception]
fn SysTick() {
    now();
}

/// Cycles since the counter started.
fn now() -> u64 {
    interrupt::free(|section| {
        let cell = WIDE.borrow(section);
        let mut wide = cell.get();
        let count = wide.extend(DWT::cycle_count());
        cell.set(wide);
        count
    })
}

/// Clock cycles of the core.
pub struct Cycles {
    _started: (),
}

impl Cycles {
    /// Starts the counter and SysTick. `None` where the core has no cycle counter.
    pub fn new(mut debug: DCB, mut dwt: DWT, mut systick: SYST) -> Option<Self> {
        debug.enable_trace();
        if !DWT::has_cycle_counter() {
            return None;
        }
        // A Cortex-M7 locks the unit where no debugger is attached.
        DWT::unlock();
        dwt.enable_cycle_counter();
        systick.set_clock_source(SystClkSource::Core);
        systick.set_reload(RELOAD);
        systick.clear_current();
        systick.enable_interrupt();
        systick.enable_counter();
        Some(Self { _started: () })
    }
}

impl Counter for Cycles {
    fn kind(&self) -> Kind {
        Kind::Cycles
    }

    fn resolution(&self) -> u32 {
        1
    }

    fn start(&mut self) -> u64 {
        now()
    }

    fn stop(&mut self) -> u64 {
        now()
    }
}
