//! How an image enters: rows of bytes or values as a session stores them.

use core::ops::Range;

use crate::kernel::f16;
use crate::model::Header;
#[cfg(feature = "std")]
use crate::model::program::MAX_INPUT_CHANNELS;

/// What an inference is made of.
#[derive(Clone, Copy)]
pub(super) enum Source<'v> {
    /// Bytes, row by row, channels interleaved.
    Image(&'v [u8]),
    /// Normalised values, channel by channel.
    Values(&'v [f32]),
    /// The same as they are stored, bits of f16.
    Stored(&'v [u16]),
}

/// Writes rows of an image as a session stores them.
pub(super) struct ImageRows<'v> {
    /// Row that the source begins with.
    pub(super) first: usize,
    pub(super) header: &'v Header,
    /// Each channel's 256 normalised bytes.
    #[cfg(feature = "std")]
    pub(super) normalised: &'v [u16],
    pub(super) source: Source<'v>,
}

/// What a table has for the first of each `STEP` bytes. The compiler knows the step: half of the instructions of any other.
#[cfg(not(feature = "std"))]
fn look_up<const STEP: usize>(bytes: &[u8], table: &[u16; TABLE], to: &mut [u16]) {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for (to, step) in to.iter_mut().zip(steps) {
        let [x] = step.first_chunk().copied().unwrap_or_default();
        *to = table[usize::from(x)];
    }
    // A channel that is not the first ends before a whole step does.
    if let (Some(to), Some(x)) = (to.get_mut(steps.len()), rest.first()) {
        *to = table[usize::from(*x)];
    }
}

impl ImageRows<'_> {
    /// Writes some rows to `to`, where `plane` values lie from one channel's first to the next one's.
    pub(super) fn write(&self, rows: Range<usize>, to: &mut [u16], plane: usize) {
        // A checked model has no empty input; so the compiler knows it too.
        let [channels, height, width] =
            [self.header.input.channels, self.header.input.height, self.header.input.width]
                .map(|size| (size as usize).max(1));
        let planes = to.chunks_mut(plane.max(1)).take(channels);
        for (channel, to) in planes.enumerate() {
            let normalisation = self.header.normalisation(channel);
            let to = to.get_mut(..rows.len() * width).unwrap_or_default();
            let image = match self.source {
                Source::Values(values) => {
                    let values = values.get((channel * height + rows.start) * width..).unwrap_or_default();
                    to.iter_mut().zip(values).for_each(|(to, x)| *to = f16::narrow(*x));
                    continue;
                }
                Source::Stored(values) => {
                    let values = values.get((channel * height + rows.start) * width..).unwrap_or_default();
                    to.iter_mut().zip(values).for_each(|(to, x)| *to = *x);
                    continue;
                }
                Source::Image(image) => {
                    let row = rows.start.saturating_sub(self.first);
                    image.get(row * width * channels + channel..).unwrap_or_default()
                }
            };
            let values = image.iter().step_by(channels);
            #[cfg(feature = "std")]
            let own = if channels > MAX_INPUT_CHANNELS { 0 } else { channel };
            #[cfg(feature = "std")]
            if let Some(table) =
                self.normalised.get(own * TABLE..).and_then(|tables| tables.first_chunk::<TABLE>())
            {
                to.iter_mut().zip(values).for_each(|(to, x)| *to = table[usize::from(*x)]);
                continue;
            }
            #[cfg(not(feature = "std"))]
            if to.len() > TABLE {
                // On the stack, for this channel.
                let table: [u16; TABLE] = core::array::from_fn(|x| normalise(x as u8, normalisation));
                match channels {
                    1 => look_up::<1>(image, &table, to),
                    3 => look_up::<3>(image, &table, to),
                    _ => to.iter_mut().zip(values).for_each(|(to, x)| *to = table[usize::from(*x)]),
                }
                continue;
            }
            to.iter_mut().zip(values).for_each(|(to, x)| *to = normalise(*x, normalisation));
        }
    }
}

/// Values of a byte.
const TABLE: usize = 256;

/// A byte of an image as f16 bits, by the mean and the standard deviation of its channel.
#[cfg_attr(not(feature = "std"), inline(never))]
pub(super) fn normalise(x: u8, (mean, std): (f32, f32)) -> u16 {
    f16::narrow((f32::from(x) / 255.0 - mean) / std)
}
