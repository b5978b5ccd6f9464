//! Classifies what a camera sees, whose rows are read over SPI. The SPI here is a STUB that gives a test picture: put the
//! driver of your board's in its place, which implements the same trait of embedded-hal.
#![no_std]
#![no_main]

#[path = "../board.rs"]
mod board;{{camera's log module}}

use core::convert::Infallible;

use cortex_m::Peripherals;
use cortex_m_rt::entry;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use static_cell::ConstStaticCell;
use {{crate}}::{CameraError, Classifier, Network, SpiCamera, answer};

static ARENA: ConstStaticCell<lrpet_runtime::session::Arena<{ Network::ARENA_BYTES }>> =
    ConstStaticCell::new(Network::arena());
static BUFFERS: ConstStaticCell<board::Buffers> = ConstStaticCell::new(board::Buffers::new());

/// In place of a camera: a picture that brightens from row to row.
struct TestPicture(u8);

impl ErrorType for TestPicture {
    type Error = Infallible;
}

impl SpiDevice for TestPicture {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            if let Operation::Read(bytes) = operation {
                bytes.fill(self.0);
                self.0 = self.0.wrapping_add(3);
            }
        }
        Ok(())
    }
}

#[entry]
fn main() -> ! {
    let mut core = Peripherals::take().unwrap();
    let board::Lent { mut serial, mut pin, .. } = board::start(&mut core, BUFFERS.take());{{log start}}
    // The arena is of the right size and place: all that can be wrong is the core. Printing the error would link the texts of all others.
    let Ok(mut classifier) = Classifier::new(ARENA.take()) else {
        panic!("the model was built for the instructions of another core")
    };
    loop {
        let mut camera = SpiCamera(TestPicture(0));
        // High while the camera gives rows and the network takes them.
        let _ = pin.set_high();
        let said = classifier.classify_rows(&mut camera);
        let _ = pin.set_low();
        // The stub has no error.
        let said = said.map_err(|error| match error {
            CameraError::Network(error) => error,
            CameraError::Camera(never) => match never {},
        });{{log answer}}
        let _ = answer(said, &mut serial);
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    {{panic}}(info)
}
