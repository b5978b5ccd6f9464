//! Convolutions with every option.

use std::vec::Vec;

use super::{Bounded, Map, Tensors, at, fill, gamma};
use crate::model::{GeneralConv, Shape, Window};

/// The taps of the window at output (y, x), in the order of the kernel.
pub(super) fn taps(window: &Window, dilation: [u16; 2], y: i64, x: i64) -> Vec<[i64; 2]> {
    let ([kh, kw], [sy, sx], [dy, dx]) =
        (window.kernel.map(i64::from), window.stride.map(i64::from), dilation.map(i64::from));
    let [top, left, ..] = window.padding.map(i64::from);
    let rows = (0..kh).map(|ky| y * sy + ky * dy - top);
    rows.flat_map(|row| (0..kw).map(move |kx| [row, x * sx + kx * dx - left])).collect()
}

/// For each tap, where it lies in the input of a transposed convolution.
fn spread(window: &Window, dilation: [u16; 2], y: i64, x: i64) -> Vec<Option<[i64; 2]>> {
    let ([kh, kw], [sy, sx], [dy, dx]) =
        (window.kernel.map(i64::from), window.stride.map(i64::from), dilation.map(i64::from));
    let [top, left, ..] = window.padding.map(i64::from);
    let whole = |at: i64, stride: i64| (at % stride == 0).then(|| at / stride);
    let rows = (0..kh).map(|ky| whole(y + top - ky * dy, sy));
    rows.flat_map(|row| (0..kw).map(move |kx| Some([row?, whole(x + left - kx * dx, sx)?]))).collect()
}

pub(super) fn general<N>(
    layer: &GeneralConv<N>,
    input: Map<'_>,
    second: Option<Map<'_>>,
    output: Shape,
    tensors: Tensors<'_>,
) -> Vec<Bounded> {
    let groups = layer.groups as usize;
    let (channels, n) = (input.1.channels as usize, output.channels as usize);
    let (columns, outs) = (channels / groups, n / groups);
    let places = |y: i64, x: i64| match layer.transposed {
        None => taps(&layer.window, layer.dilation, y, x).into_iter().map(Some).collect(),
        Some(_) => spread(&layer.window, layer.dilation, y, x),
    };
    // Sum and sum of magnitudes of a filter over the channels from `first` on.
    let filter = |filter: &[f32], first: usize, y: i64, x: i64| {
        let places = places(y, x);
        let (mut sum, mut size) = (0.0, 0.0);
        for (i, weight) in filter.iter().enumerate() {
            let place = places[i % places.len()];
            let value =
                place.and_then(|[row, column]| at(input, [(first + i / places.len()) as i64, row, column]));
            let term = f64::from(*weight) * value.unwrap_or(0.0);
            (sum, size) = (sum + term, size + term.abs());
        }
        (sum, size)
    };
    let length = columns * layer.window.taps() as usize;
    fill(output, |[c, y, x]| {
        let channel = c as usize;
        let (sum, size, terms) = match tensors.expand.is_empty() {
            true => {
                let own = &tensors.weight[channel * length..(channel + 1) * length];
                let (sum, size) = filter(own, channel / outs * columns, y, x);
                (sum, size, length)
            }
            false => {
                let rank = tensors.expand.len() / n;
                let (mut sum, mut size) = (0.0, 0.0);
                for (k, weight) in tensors.expand[channel * rank..(channel + 1) * rank].iter().enumerate() {
                    let (thin, sizes) = filter(&tensors.weight[k * length..(k + 1) * length], 0, y, x);
                    sum += f64::from(*weight) * thin;
                    size += f64::from(*weight).abs() * sizes;
                }
                (sum, size, length + rank)
            }
        };
        let bias = f64::from(tensors.bias[channel]);
        let added = second.and_then(|second| at(second, [c, y, x])).unwrap_or(0.0);
        let size = size + bias.abs() + added.abs();
        Bounded { value: sum + bias + added, error: gamma(terms) * size }
    })
}
