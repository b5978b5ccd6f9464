//! What of the program depends on no board: it is tested on the desktop, with `cargo host-test`.
#![cfg_attr(not(test), no_std)]

use embedded_hal::spi::SpiDevice;
use embedded_io::{Write, WriteFmtError};
use lrpet_runtime::session::{Arena, RunError, Session, SessionError};

lrpet_model::model! {
    /// The network, checked and laid out when this is compiled.
    pub struct Network = "model.safetensors"{{ram}};
}

/// Bytes of an image: row by row, the channels of a pixel side by side.
pub const IMAGE: usize = Network::INPUT_VALUES;

/// Bytes of a row.
pub const ROW: usize = Network::INPUT[0] * Network::INPUT[2];

/// Bytes of the rows that the network takes together.
pub const ROWS: usize = ROW * Network::ROWS_TOGETHER;

/// The network, ready to run.
pub struct Classifier<'a> {
    session: Session<'a, Network>,
    logits: [f32; Network::CLASSES],
}

impl<'a> Classifier<'a> {
    /// In this memory. Fails where the processor is not the one that the program was built for.
    pub fn new(arena: &'a mut Arena<{ Network::ARENA_BYTES }>) -> Result<Self, SessionError<'static>> {
        Ok(Self { session: Network::session(arena)?, logits: [0.0; Network::CLASSES] })
    }

    /// The logits of an image.
    pub fn classify(&mut self, image: &[u8; IMAGE]) -> Result<&[f32; Network::CLASSES], RunError> {
        self.session.run_image(image, &mut self.logits, &mut ())?;
        Ok(&self.logits)
    }

    /// The logits of the image that a camera is about to give, a few rows at a time: it is nowhere whole where the network's
    /// schedule begins with a stream (`lrpet schedule`).
    pub fn classify_rows<C: Rows>(
        &mut self,
        camera: &mut C,
    ) -> Result<&[f32; Network::CLASSES], CameraError<C::Error>> {
        // Of an image that the camera did not get to the end of nothing is left.
        self.session.restart();
        let mut rows = [0; ROWS];
        let mut left = Network::INPUT[1];
        while left > 0 {
            let count = left.min(Network::ROWS_TOGETHER);
            let (rows, _) = rows.split_at_mut(count * ROW);
            camera.rows(rows).map_err(CameraError::Camera)?;
            self.session.push_rows(rows, &mut self.logits, &mut ()).map_err(CameraError::Network)?;
            left -= count;
        }
        Ok(&self.logits)
    }
}

/// The class with the largest logit.
pub fn best(logits: &[f32]) -> usize {
    let (mut best, mut largest) = (0, f32::NEG_INFINITY);
    for (class, logit) in logits.iter().enumerate() {
        if *logit > largest {
            (best, largest) = (class, *logit);
        }
    }
    best
}

/// Writes what the network says as a line: the class, and its logit in thousandths.
pub fn answer<W: Write>(
    said: Result<&[f32; Network::CLASSES], RunError>,
    line: &mut W,
) -> Result<(), WriteFmtError<W::Error>> {
    match said {
        Ok(logits) => {
            let class = best(logits);
            let thousandths = logits.get(class).map_or(0, |logit| (logit * 1000.0) as i32);
            write!(line, "class {class}, logit {thousandths} / 1000\n")?;
        }
        Err(error) => write!(line, "error: {error}\n")?,
    }
    Ok(line.flush()?)
}

/// What gives an image row by row.
pub trait Rows {
    /// Why it could not.
    type Error;

    /// Fills `rows`, one or more whole rows, with the next ones of the image.
    fn rows(&mut self, rows: &mut [u8]) -> Result<(), Self::Error>;
}

/// A camera whose rows are read over SPI: one transfer for some rows. What else yours needs (a register that starts an image, a
/// pin that says when a row is there) goes here.
pub struct SpiCamera<S>(pub S);

impl<S: SpiDevice> Rows for SpiCamera<S> {
    type Error = S::Error;

    fn rows(&mut self, rows: &mut [u8]) -> Result<(), S::Error> {
        self.0.read(rows)
    }
}

/// Why an image from a camera has no logits.
#[derive(Debug)]
pub enum CameraError<E> {
    /// The camera's error.
    Camera(E),
    /// The network's.
    Network(RunError),
}

#[cfg(test)]
mod tests {
    use lrpet_runtime::host::AlignedBytes;
    use lrpet_runtime::model::Model;

    use super::*;

    /// What was taken from the trainer: images, and the logits that they have.
    fn with_samples(each: impl Fn(&mut Classifier<'_>, &[u8; IMAGE], &[f32], f32)) {
        let bytes = AlignedBytes::copy_of(&std::fs::read("model.safetensors").unwrap());
        let model = Model::new_checked(bytes.as_slice()).unwrap();
        let check = model.self_check().expect("the model file has no self-check");
        let mut arena = Network::arena();
        let mut classifier = Classifier::new(&mut arena).unwrap();
        for i in 0..check.samples() {
            let expected: Vec<f32> = check.logits(i).collect();
            each(&mut classifier, check.image(i).try_into().unwrap(), &expected, check.tolerance(i));
        }
    }

    #[test]
    fn an_answer_is_a_line() {
        let mut logits = [-1.0; Network::CLASSES];
        logits[Network::CLASSES - 1] = 2.5;
        let (mut line, class) = ([0; 80], Network::CLASSES - 1);
        answer(Ok(&logits), &mut line.as_mut_slice()).unwrap();
        let expected = format!("class {class}, logit 2500 / 1000\n");
        assert!(line.starts_with(expected.as_bytes()), "{line:?}");
    }

    fn close(logits: &[f32], expected: &[f32], tolerance: f32) -> bool {
        logits.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    #[test]
    fn the_network_says_what_its_trainer_says() {
        with_samples(|classifier, image, expected, tolerance| {
            let logits = classifier.classify(image).unwrap();
            assert!(close(logits, expected, tolerance), "{logits:?} {expected:?}");
        });
    }

    /// An image in memory, as a camera.
    struct Picture<'p>(&'p [u8]);

    impl Rows for Picture<'_> {
        type Error = std::io::Error;

        fn rows(&mut self, rows: &mut [u8]) -> Result<(), Self::Error> {
            std::io::Read::read_exact(&mut self.0, rows)
        }
    }

    #[test]
    fn a_camera_gives_the_same_logits() {
        with_samples(|classifier, image, expected, tolerance| {
            // One that breaks off leaves nothing behind.
            let (part, _) = image.split_at(ROWS);
            assert!(classifier.classify_rows(&mut Picture(part)).is_err());
            let logits = classifier.classify_rows(&mut Picture(image)).unwrap();
            assert!(close(logits, expected, tolerance), "{logits:?} {expected:?}");
        });
    }
}
