//! Runs one image on the Arm MPS2 AN386, and says the instructions and the logits' bits.
#![no_std]
#![no_main]

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};

/// Instructions of a step of SysTick under `-icount shift=0`.
const STEP: u32 = 40;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(false)
}

fn end(well: bool) -> ! {
    debug::exit(if well { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}

/// Steps since `before`.
fn since(before: u32) -> u32 {
    before.wrapping_sub(SYST::get_current()) & 0xff_ffff
}

#[cfg(feature = "built-in")]
mod model {
    lrpet_model::model!(pub struct Network = "model.safetensors");

    pub const INPUT: usize = Network::INPUT_VALUES;
    pub const CLASSES: usize = Network::CLASSES;

    pub fn run(image: &[u8], logits: &mut [f32]) -> Option<u32> {
        static ARENA: static_cell::ConstStaticCell<lrpet_runtime::session::Arena<{ Network::ARENA_BYTES }>> =
            static_cell::ConstStaticCell::new(Network::arena());
        let mut session = Network::session(ARENA.take()).ok()?;
        let before = super::SYST::get_current();
        session.run_image(image, logits, &mut ()).ok()?;
        Some(super::since(before))
    }
}

#[cfg(feature = "run-time")]
mod model {
    use lrpet_runtime::model::Model;
    use lrpet_runtime::session::{Arena, Session};

    static MODEL: &[u8] = lrpet_runtime::include_model!("../model.safetensors");
    pub const INPUT: usize = {{input}};
    pub const CLASSES: usize = {{classes}};

    pub fn run(image: &[u8], logits: &mut [f32]) -> Option<u32> {
        static ARENA: static_cell::ConstStaticCell<Arena<{{arena}}>> =
            static_cell::ConstStaticCell::new(Arena([0; {{arena}}]));
        let model = Model::new_checked(MODEL).ok()?;
        let mut session = Session::new(&model, &mut ARENA.take().0).ok()?;
        let before = super::SYST::get_current();
        session.run_image(image, logits, &mut ()).ok()?;
        Some(super::since(before))
    }
}

/// The program around a model.
#[cfg(not(any(feature = "built-in", feature = "run-time")))]
mod model {
    pub const INPUT: usize = {{input}};
    pub const CLASSES: usize = {{classes}};

    pub fn run(image: &[u8], logits: &mut [f32]) -> Option<u32> {
        logits.iter_mut().zip(image).for_each(|(logit, x)| *logit = f32::from(*x));
        Some(0)
    }
}

#[entry]
fn main() -> ! {
    static IMAGE: [u8; model::INPUT] = [77; model::INPUT];
    let Some(mut core) = cortex_m::Peripherals::take() else { end(false) };
    core.SYST.set_clock_source(SystClkSource::Core);
    core.SYST.set_reload(0xff_ffff);
    core.SYST.clear_current();
    core.SYST.enable_counter();
    let mut logits = [0.0; model::CLASSES];
    let before = SYST::get_current();
    let Some(inference) = model::run(core::hint::black_box(&IMAGE), &mut logits) else { end(false) };
    hprintln!("all {}", since(before) * STEP);
    hprintln!("inference {}", inference * STEP);
    for logit in logits {
        hprintln!("logit {}", logit.to_bits());
    }
    end(true)
}
