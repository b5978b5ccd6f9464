//! The program of an emulated board, which differs from the next one in a few constants.

use cortex_m_rt as _;
use lrpet_firmware::pin::NoPin;
use lrpet_firmware::run::{self, Board, Hardware, Memory, Options};

use crate::semihosting::{self, Console};
use crate::stack;
use crate::systick::SysTick;

#[doc(hidden)]
pub use {cortex_m_rt::entry, lrpet_firmware::run as program, static_cell::ConstStaticCell};

/// The whole program of a board under QEMU with `-icount shift=0`: it counts instructions with SysTick, which steps
/// once in `quarters` quarters of an instruction (see [`SysTick`]), and reports through semihosting. The board's
/// build script has written `model.rs`.
#[macro_export]
macro_rules! emulated_board {
    (name: $name:expr, core: $core:expr, clock_hz: $clock_hz:expr, quarters: $quarters:expr $(,)?) => {
        /// The model and the sizes that its plan needs, from the build script.
        mod model {
            include!(concat!(env!("OUT_DIR"), "/model.rs"));
        }

        use $crate::emulated::program::{Board, Memory, Options};

        static MEMORY: $crate::emulated::ConstStaticCell<
            Memory<{ model::ARENA_BYTES }, { model::CLASSES }, { model::LAYERS }>,
        > = $crate::emulated::ConstStaticCell::new(Memory::new());

        #[$crate::emulated::entry]
        fn main() -> ! {
            const BOARD: Board = Board { name: $name, core: $core, clock_hz: $clock_hz };
            let options = Options { warm_up: model::WARM_UP, iterations: model::ITERATIONS };
            $crate::emulated::run::<{ $quarters }, _, _, _>(&BOARD, &model::MODEL.0, MEMORY.take(), options)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::semihosting::exit_after_panic(info)
        }
    };
}

/// Runs `model` as [`run::run`] does and ends the emulator with status 0 where everything passed. For
/// [`emulated_board!`](crate::emulated_board).
#[doc(hidden)]
pub fn run<const QUARTERS: u32, const A: usize, const C: usize, const L: usize>(
    board: &Board,
    model: &[u8],
    memory: &'static mut Memory<A, C, L>,
    options: Options,
) -> ! {
    let (Some(core), Ok(mut console)) = (cortex_m::Peripherals::take(), Console::open()) else {
        semihosting::exit(false)
    };
    let mut counter = SysTick::<QUARTERS>::new(core.SYST);
    let hardware = Hardware {
        counter: &mut counter,
        console: &mut console,
        pin: &mut NoPin,
        stack_bytes: &stack::high_water,
    };
    semihosting::exit(run::run(board, model, memory, options, hardware))
}
