//! Pooling with dilation and with padding that counts.

use super::{Operands, Output, set, sizes};
use crate::model::{GeneralPool, Reduction};

/// Indices along an axis: where a window begins, its taps, their distance; the axis' size, what of the padding counts before and behind.
struct Taps {
    begin: isize,
    count: usize,
    dilation: usize,
    size: usize,
    counted: [usize; 2],
}

impl Taps {
    fn each(&self) -> impl Iterator<Item = isize> + use<> {
        let (begin, dilation) = (self.begin, self.dilation as isize);
        (0..self.count as isize).map(move |tap| begin.saturating_add(tap.saturating_mul(dilation)))
    }

    /// Those inside the input.
    fn inside(&self) -> impl Iterator<Item = usize> + use<> {
        let size = self.size;
        self.each().filter_map(move |at| usize::try_from(at).ok().filter(|at| *at < size))
    }

    /// How many count in a divisor.
    fn counted(&self) -> usize {
        let [before, behind] = self.counted.map(|count| count as isize);
        self.each().filter(|at| (-before..self.size as isize + behind).contains(at)).count()
    }
}

/// Least value of a largest over nothing, as stored.
const LEAST: f32 = -65504.0;

pub(super) fn pool(pool: &GeneralPool, operands: &Operands<'_>, output: &mut Output<'_>) {
    let [channels, height, width] = sizes(operands.output);
    let [_, rows, columns] = operands.input.sizes();
    let window = &pool.window;
    let ([top, left, ..], counted) = (window.padding, pool.counted.map(usize::from));
    let taps = |at: usize, axis: usize, padding: u16, size: usize, counted: [usize; 2]| {
        let of = |sizes: [u16; 2]| usize::from(if axis == 0 { sizes[0] } else { sizes[1] });
        Taps {
            begin: (at * of(window.stride)) as isize - padding as isize,
            count: of(window.kernel),
            dilation: of(pool.dilation),
            size,
            counted,
        }
    };
    for channel in 0..channels {
        for y in 0..height {
            let down = taps(y, 0, top, rows, [counted[0], counted[2]]);
            for x in 0..width {
                let across = taps(x, 1, left, columns, [counted[1], counted[3]]);
                let (mut largest, mut sum) = (LEAST, 0.0);
                for row in down.inside() {
                    for column in across.inside() {
                        let value = operands.input.get((channel * rows + row) * columns + column);
                        largest = if value > largest { value } else { largest };
                        sum += value;
                    }
                }
                let value = match pool.kind {
                    Reduction::Max => largest,
                    // Over nothing the sum is 0.
                    _ => sum / (down.counted() * across.counted()).max(1) as f32,
                };
                set(output, (channel * height + y) * width + x, value);
            }
        }
    }
}
