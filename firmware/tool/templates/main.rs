//! Classifies the images that come over the serial line of the {{board}}: {{image}} bytes each, row by row, the channels of a
//! pixel side by side. The answer is a line of text. The pin of src/board.rs is high during inference.
#![no_std]
#![no_main]

mod board;{{log module}}

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use embedded_hal::digital::OutputPin;
use embedded_io::Read;
use static_cell::ConstStaticCell;
use {{crate}}::{Classifier, IMAGE, Network, answer};

static ARENA: ConstStaticCell<lrpet_runtime::session::Arena<{ Network::ARENA_BYTES }>> =
    ConstStaticCell::new(Network::arena());
static IMAGE_BYTES: ConstStaticCell<[u8; IMAGE]> = ConstStaticCell::new([0; IMAGE]);
static BUFFERS: ConstStaticCell<board::Buffers> = ConstStaticCell::new(board::Buffers::new());

#[entry]
fn main() -> ! {
    let mut core = Peripherals::take().unwrap();
    let board::Lent { mut serial, mut pin, .. } = board::start(&mut core, BUFFERS.take());{{log start}}
    let image = IMAGE_BYTES.take();
    // The arena is of the right size and place: all that can be wrong is the core. Printing the error would link the texts of all others.
    let Ok(mut classifier) = Classifier::new(ARENA.take()) else {
        panic!("the model was built for the instructions of another core")
    };
    loop {
        if serial.read_exact(image).is_err() {
            // The image is begun anew.
            continue;
        }
        let _ = pin.set_high();
        let said = classifier.classify(image);
        let _ = pin.set_low();{{log answer}}
        // Who does not listen misses it.
        let _ = answer(said, &mut serial);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    {{panic}}(info)
}
