//! The program of a board with a serial line: after a reset the self-check and the bench, reported on the line, and then
//! the service of [`lrpet_firmware::service`] for ever.

use cortex_m_rt as _;
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use lrpet_firmware::report::{Failed, Reporter};
use lrpet_firmware::run::{self, Hardware};
use lrpet_firmware::service::Service;
use lrpet_firmware::source::Open;
use lrpet_runtime::session::{Arena, Hook};

use crate::crash::Crash;
use crate::dwt::Cycles;
use crate::serial::Buffers;
use crate::stack;

#[doc(hidden)]
pub use {
    cortex_m_rt::entry,
    lrpet_firmware::run::{Board, Options},
    static_cell::ConstStaticCell,
};

/// What a board's start function lends to the program.
pub struct Lent<S, P, H> {
    /// The serial line.
    pub serial: S,
    /// High during inference.
    pub pin: P,
    /// Called before and after each layer of every inference, in self-check, bench and service alike: a watchdog's place (`()`
    /// where there is none). Between inferences nothing calls it, and the service waits for commands for ever: a watchdog of
    /// the hook's is started before a layer and stopped, or its period made long, after it.
    pub hook: H,
}

/// Static memory of a board: what its model uses and what the serial line's driver does.
#[doc(hidden)]
pub struct Statics<const MEMORY: usize> {
    pub memory: Arena<MEMORY>,
    pub buffers: Buffers,
}

impl<const MEMORY: usize> Statics<MEMORY> {
    /// All zero, so that it takes no flash.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self { memory: Arena([0; MEMORY]), buffers: Buffers::new() }
    }
}

/// The whole program of a board. `start` is a function of the board's crate that sets clocks, caches and pins and
/// returns [`Lent`]: `fn(&mut cortex_m::Peripherals, &'static mut Buffers) -> Lent<…>`. The board's build script has written
/// `model.rs`.
#[macro_export]
macro_rules! board {
    (name: $name:expr, core: $core:expr, clock_hz: $clock_hz:expr, start: $start:path $(,)?) => {
        /// The model, or its region, and the memory for it, from the build script.
        mod model {
            #[allow(unused_imports, reason = "a linked model and a region use different ones")]
            use $crate::linked::{BuiltIn, Source, memory_bytes, model_region};
            include!(concat!(env!("OUT_DIR"), "/model.rs"));
        }

        static STATICS: $crate::board::ConstStaticCell<$crate::board::Statics<{ model::MEMORY_BYTES }>> =
            $crate::board::ConstStaticCell::new($crate::board::Statics::new());

        #[$crate::board::entry]
        fn main() -> ! {
            const BOARD: $crate::board::Board =
                $crate::board::Board { name: $name, core: $core, clock_hz: $clock_hz };
            let options = $crate::board::Options { warm_up: model::WARM_UP, iterations: model::ITERATIONS };
            $crate::board::run(&BOARD, model::source(), options, STATICS.take(), $start)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::crash::after_panic(info)
        }
    };
}

/// For [`board!`](crate::board): reports and serves.
#[doc(hidden)]
pub fn run<S: Read + Write, P: OutputPin, H: Hook, const MEMORY: usize>(
    board: &Board,
    source: impl for<'m> Open<'m>,
    options: Options,
    statics: &'static mut Statics<MEMORY>,
    start: impl FnOnce(&mut cortex_m::Peripherals, &'static mut Buffers) -> Lent<S, P, H>,
) -> ! {
    // Before anything can panic.
    let crash = Crash::take();
    let Some(mut core) = cortex_m::Peripherals::take() else { rest() };
    let Statics { memory, buffers } = statics;
    let Lent { mut serial, mut pin, mut hook } = start(&mut core, buffers);
    let Some(mut counter) = Cycles::new(core.DCB, core.DWT, core.SYST) else {
        fail(&mut serial, "the core has no cycle counter")
    };
    match crash {
        // What crashed may crash again: no further run, or it would never come to the service.
        Some(crash) => say(&mut serial, crash),
        None => {
            let hardware = Hardware {
                counter: &mut counter,
                pin: &mut pin,
                hook: &mut hook,
                stack_bytes: &stack::high_water,
            };
            // The report says what failed; the service refuses what needs a model where that cannot be used.
            let _ = run::run(board, source, &mut memory.0, options, hardware, &mut serial);
        }
    }
    let hardware =
        Hardware { counter: &mut counter, pin: &mut pin, hook: &mut hook, stack_bytes: &stack::high_water };
    let mut service = Service::new(board, source, &mut memory.0, hardware);
    loop {
        service.serve(&mut serial);
    }
}

/// Reports an error as the run does.
fn say(serial: &mut impl Write, message: impl core::fmt::Display) {
    // Whoever does not listen misses it.
    let _ = Reporter::new(serial).event(&Failed { message });
}

fn fail(serial: &mut impl Write, message: impl core::fmt::Display) -> ! {
    say(serial, message);
    rest()
}

/// Nothing can be done: interrupts still send what is in the buffers.
fn rest() -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
