//! The program of a board with a serial line: after a reset the self-check and the bench, reported on the line, and then
//! the service of [`lrpet_firmware::service`] for ever.

use cortex_m_rt as _;
use embedded_hal::digital::OutputPin;
use embedded_io::{Read, Write};
use lrpet_firmware::report::{Failed, Reporter};
use lrpet_firmware::run::{self, Hardware, Memory};
use lrpet_firmware::service::{Parts, Service};
use lrpet_runtime::model::Model;
use lrpet_runtime::session::{Hook, Session};

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
    /// Called around each layer by the service; a watchdog's place (`()` where there is none). The self-check and the bench do
    /// not call it: a watchdog starts with its first call.
    pub hook: H,
}

/// Static memory of a board and its model: what the program uses and what the serial line's driver does.
#[doc(hidden)]
pub struct Statics<const ARENA: usize, const CLASSES: usize, const LAYERS: usize, const INPUT: usize> {
    pub memory: Memory<ARENA, CLASSES, LAYERS>,
    pub image: [u8; INPUT],
    pub buffers: Buffers,
}

impl<const A: usize, const C: usize, const L: usize, const I: usize> Statics<A, C, L, I> {
    /// All zero.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self { memory: Memory::new(), image: [0; I], buffers: Buffers::new() }
    }
}

/// The model and what its build script says of it.
#[doc(hidden)]
pub struct Linked {
    pub bytes: &'static [u8],
    pub name: &'static str,
    pub options: Options,
}

/// The whole program of a board. `start` is a function of the board's crate that sets clocks, caches and pins and
/// returns [`Lent`]: `fn(&mut cortex_m::Peripherals, &'static mut Buffers) -> Lent<…>`. The board's build script has written
/// `model.rs`.
#[macro_export]
macro_rules! board {
    (name: $name:expr, core: $core:expr, clock_hz: $clock_hz:expr, start: $start:path $(,)?) => {
        /// The model and the sizes that its plan needs, from the build script.
        mod model {
            include!(concat!(env!("OUT_DIR"), "/model.rs"));
        }

        static STATICS: $crate::board::ConstStaticCell<
            $crate::board::Statics<
                { model::ARENA_BYTES },
                { model::CLASSES },
                { model::LAYERS },
                { model::INPUT_BYTES },
            >,
        > = $crate::board::ConstStaticCell::new($crate::board::Statics::new());

        #[$crate::board::entry]
        fn main() -> ! {
            const BOARD: $crate::board::Board =
                $crate::board::Board { name: $name, core: $core, clock_hz: $clock_hz };
            let linked = $crate::board::Linked {
                bytes: &model::MODEL.0,
                name: model::NAME,
                options: $crate::board::Options { warm_up: model::WARM_UP, iterations: model::ITERATIONS },
            };
            $crate::board::run(&BOARD, &linked, STATICS.take(), $start)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::crash::after_panic(info)
        }
    };
}

/// For [`board!`](crate::board): reports and serves.
#[doc(hidden)]
pub fn run<
    S: Read + Write,
    P: OutputPin,
    H: Hook,
    const A: usize,
    const C: usize,
    const L: usize,
    const I: usize,
>(
    board: &Board,
    linked: &Linked,
    statics: &'static mut Statics<A, C, L, I>,
    start: impl FnOnce(&mut cortex_m::Peripherals, &'static mut Buffers) -> Lent<S, P, H>,
) -> ! {
    // Before anything can panic.
    let crash = Crash::take();
    let Some(mut core) = cortex_m::Peripherals::take() else { rest() };
    let Statics { memory, image, buffers } = statics;
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
                console: &mut serial,
                pin: &mut pin,
                stack_bytes: &stack::high_water,
            };
            // The report says what failed; a board serves nevertheless where the model can be run at all.
            let _ = run::run(board, linked.bytes, memory, linked.options, hardware);
        }
    }
    let model = match Model::new_checked(linked.bytes) {
        Ok(model) => model,
        Err(error) => fail(&mut serial, error),
    };
    let (arena, logits) = memory.parts();
    let session = match Session::new(&model, arena) {
        Ok(session) => session,
        Err(error) => fail(&mut serial, error),
    };
    let parts = Parts { counter: &mut counter, pin: &mut pin, hook: &mut hook, image, logits };
    let mut service = Service::new(board, linked.name, session, parts);
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
