//! Arm MPS2 AN500 (Cortex-M7 at 25 MHz) as QEMU emulates it: counts instructions, reports through semihosting.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

use lrpet_firmware::pin::NoPin;
use lrpet_firmware::run::{self, Board, Hardware, Memory, Options};
use lrpet_firmware_cortex_m::semihosting::{self, Console};
use lrpet_firmware_cortex_m::stack;
use lrpet_firmware_cortex_m::systick::SysTick;
use static_cell::ConstStaticCell;

/// The model and the sizes that its plan needs, from the build script.
mod model {
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

const BOARD: Board = Board { name: "qemu-mps2-an500", core: "Cortex-M7", clock_hz: 25_000_000 };

/// Instructions a step of SysTick: 1 ns of virtual time each, 25 MHz.
const INSTRUCTIONS_A_STEP: u32 = 40;

static MEMORY: ConstStaticCell<Memory<{ model::ARENA_BYTES }, { model::CLASSES }, { model::LAYERS }>> =
    ConstStaticCell::new(Memory::new());

#[cortex_m_rt::entry]
fn main() -> ! {
    let (Some(core), Ok(mut console)) = (cortex_m::Peripherals::take(), Console::open()) else {
        semihosting::exit(false)
    };
    let mut counter = SysTick::<INSTRUCTIONS_A_STEP>::new(core.SYST);
    let hardware = Hardware {
        counter: &mut counter,
        console: &mut console,
        pin: &mut NoPin,
        stack_bytes: &stack::high_water,
    };
    let options = Options { warm_up: model::WARM_UP, iterations: model::ITERATIONS };
    semihosting::exit(run::run(&BOARD, &model::MODEL.0, MEMORY.take(), options, hardware))
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    semihosting::exit_after_panic(info)
}
