//! Where the results of a convolution's tiles go.

use super::super::cortex_m::conv::Area;
use super::super::portable::{self, finish};
use super::super::{Output, Second, WeightMatrix};
use super::Native;
use super::conv::Conv;
use super::micro::{self, Element, Epilogue, Residual, Rows};

impl Conv {
    /// Where a tile's results of the channels from `first` on go.
    pub fn epilogue<'o>(
        &self,
        area: &Area,
        first: usize,
        epilogue: portable::Epilogue<'_>,
        output: &'o mut [u16],
        second: Second<'o>,
    ) -> Option<Epilogue<'o>> {
        let (width, plane) = (self.geometry.output.width as usize, self.geometry.planes[1]);
        let at = first * plane + area.y * width + area.x;
        let residual = match second {
            Second::None => Residual::None,
            Second::InPlace => Residual::InPlace,
            Second::Other(values) => Residual::Other(values.get(at..)?),
        };
        let shape = Rows { rows: area.rows, columns: area.columns, width, plane };
        Some(Epilogue { output: output.get_mut(at..)?, residual, shape, activation: epilogue.activation })
    }

    /// Finishes and stores the sums of `outs` channels of a tile, the first of which is channel `first`.
    #[allow(clippy::too_many_arguments)]
    pub fn store<E: Element>(
        &self,
        area: &Area,
        sums: &mut [f32],
        first: usize,
        outs: usize,
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
    ) {
        let pixels = E::LANES.pixels;
        if epilogue.activation.is_plain()
            && let Output::Half(output) = output
        {
            let Some(epilogue) = self.epilogue(area, first, epilogue, output, second) else { return };
            return micro::finish::<E>((sums, outs * pixels, outs), epilogue);
        }
        let group = |group: usize, out: usize| sums.get((group * outs + out) * pixels..).unwrap_or_default();
        for out in 0..outs {
            self.full(area, first + out, epilogue, output, second, |at, pixel| {
                group(at, out).get(E::place(pixel)).copied().unwrap_or_default()
            });
        }
    }

    /// A pair whose results are logits.
    pub fn logits<E: Element>(
        &self,
        area: &Area,
        middle: &[f32],
        (expand, rank): (WeightMatrix<'_>, usize),
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
    ) {
        let pixels = E::LANES.pixels;
        for (channel, bias) in epilogue.bias.iter().enumerate() {
            let Some(row) = expand.after(channel, rank, 0) else { return };
            self.full(area, channel, epilogue, output, second, |group, pixel| {
                let middle = middle.get(group * rank * pixels..).unwrap_or_default();
                let values = middle.chunks_exact(pixels).filter_map(|values| values.get(E::place(pixel)));
                let products = row.row(rank, <f32 as Element>::of).zip(values).map(|(weight, x)| weight * x);
                products.fold(*bias, |sum, product| sum + product)
            });
        }
    }

    /// Logits of a channel: `value` gives the sum of each group's pixel.
    fn full(
        &self,
        area: &Area,
        channel: usize,
        epilogue: portable::Epilogue<'_>,
        output: &mut Output<'_>,
        second: Second<'_>,
        value: impl Fn(usize, usize) -> f32,
    ) {
        let (width, plane) = (self.geometry.output.width as usize, self.geometry.planes[1]);
        let pixels = self.tile.pixels().max(1);
        for row in 0..area.rows {
            for column in 0..area.columns {
                let mut sum = [value(row * area.groups + column / pixels, column % pixels)];
                let at = channel * plane + (area.y + row) * width + area.x + column;
                finish::<Native, 4>(&mut sum, at, epilogue.activation, second, output);
            }
        }
    }
}
