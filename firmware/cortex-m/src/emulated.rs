//! The program of an emulated board, which differs from the next one in a few constants.
//!
//! It reports through semihosting and ends the emulator, or, where the emulator's semihosting has the argument `serve`, serves on
//! the board's first UART for ever.

use cortex_m_rt as _;
pub use lrpet_firmware::pin::NoPin;
use lrpet_firmware::run::{self, Board, Hardware, Options};
use lrpet_firmware::service;
use lrpet_firmware::source::Open;
use lrpet_runtime::session::Arena;

use crate::cmsdk_uart::Uart;
use crate::semihosting::{self, Console};
use crate::stack;
use crate::systick::SysTick;

#[doc(hidden)]
pub use {
    cortex_m_rt::entry, lrpet_firmware::run as program, lrpet_runtime::session, static_cell::ConstStaticCell,
};

/// The argument that asks for the service.
const SERVE: &[u8] = b"serve";

/// The whole program of a board under QEMU with `-icount shift=0`: it counts instructions with SysTick, which steps
/// once in `quarters` quarters of an instruction (see [`SysTick`]), and reports through semihosting or serves on the UART whose
/// registers begin at `uart`. The board's build script has written `model.rs`.
#[macro_export]
macro_rules! emulated_board {
    (
        name: $name:expr,
        core: $core:expr,
        clock_hz: $clock_hz:expr,
        quarters: $quarters:expr,
        uart: $uart:expr $(,)?
    ) => {
        /// The model, or its region, and the memory for it, from the build script.
        mod model {
            #[allow(unused_imports, reason = "a linked model and a region use different ones")]
            use $crate::linked::{BuiltIn, Source, memory_bytes, model_region};
            include!(concat!(env!("OUT_DIR"), "/model.rs"));
        }

        use $crate::emulated::program::{Board, Options};
        use $crate::emulated::session::Arena;

        static MEMORY: $crate::emulated::ConstStaticCell<Arena<{ model::MEMORY_BYTES }>> =
            $crate::emulated::ConstStaticCell::new(Arena([0; model::MEMORY_BYTES]));

        #[$crate::emulated::entry]
        fn main() -> ! {
            const BOARD: Board = Board { name: $name, core: $core, clock_hz: $clock_hz };
            let options = Options { warm_up: model::WARM_UP, iterations: model::ITERATIONS };
            let memory = MEMORY.try_take();
            $crate::emulated::run::<{ $quarters }, { $uart }, _>(&BOARD, model::source(), memory, options)
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::semihosting::exit_after_panic(info)
        }
    };
}

/// Reports on the model of `source` as [`run::run`] does and ends the emulator with status 0 where everything passed, or serves.
/// For [`emulated_board!`](crate::emulated_board), which names a UART that the board has.
#[doc(hidden)]
#[allow(unsafe_code)]
pub fn run<const QUARTERS: u32, const UART: usize, const MEMORY: usize>(
    board: &Board,
    source: impl Open<'static>,
    memory: Option<&'static mut Arena<MEMORY>>,
    options: Options,
) -> ! {
    let (Some(core), Some(memory), Ok(mut console)) =
        (cortex_m::Peripherals::take(), memory, Console::open())
    else {
        semihosting::exit(false)
    };
    let mut counter = SysTick::<QUARTERS>::new(core.SYST);
    let hardware =
        Hardware { counter: &mut counter, pin: &mut NoPin, hook: &mut (), stack_bytes: &stack::high_water };
    let pass = if semihosting::is_argument(SERVE) {
        // SAFETY: the board's macro says that there is such a UART; this is the only use of it.
        let mut uart = unsafe { Uart::new(UART) };
        service::serve(board, source, &mut memory.0, hardware, &mut uart);
        true
    } else {
        run::run(board, source, &mut memory.0, options, hardware, &mut console)
    };
    semihosting::exit(pass)
}
