//! What is computed over many values of a map.

use std::vec::Vec;

use super::{Bounded, Map, Tensors, UNIT, at, fill, gamma};
use crate::model::{Normalise, NormaliseOver, Reduce, Reduction, Shape};

pub(super) fn reduce(layer: &Reduce, input: Map<'_>, output: Shape) -> Vec<Bounded> {
    let sizes = input.1.axes().map(i64::from);
    fill(output, |place| {
        let along =
            |axis: usize| if layer.axes[axis] { 0..sizes[axis] } else { place[axis]..place[axis] + 1 };
        let mut values = Vec::new();
        for c in along(0) {
            for y in along(1) {
                values.extend(along(2).filter_map(|x| at(input, [c, y, x])));
            }
        }
        let size: f64 = values.iter().map(|value| value.abs()).sum();
        let sum: f64 = values.iter().sum();
        let count = values.len() as f64;
        match layer.kind {
            Reduction::Max => Bounded::exact(values.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            Reduction::Sum => Bounded { value: sum, error: gamma(values.len()) * size },
            Reduction::Mean => Bounded { value: sum / count, error: gamma(values.len()) * size / count },
        }
    })
}

pub(super) fn softmax(log: bool, input: Map<'_>) -> Vec<Bounded> {
    let channels = i64::from(input.1.channels);
    fill(input.1, |[c, y, x]| {
        let of = |c: i64| at(input, [c, y, x]).unwrap_or(0.0);
        let largest = (0..channels).map(of).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..channels).map(|c| (of(c) - largest).exp()).sum();
        let own = of(c) - largest;
        // Of an exponential: its own error, and its argument's rounding.
        let exponential = |x: f64| 4e-7 + 2.0 * UNIT * x.abs().min(88.0);
        let spread = (0..channels).map(|c| exponential(of(c) - largest)).fold(0.0, f64::max)
            + gamma(channels as usize);
        match log {
            true => {
                let value = own - sum.ln();
                Bounded { value, error: spread + 4.0 * UNIT * (own.abs() + sum.ln().abs()) + 1e-9 }
            }
            false => {
                let value = own.exp() / sum;
                Bounded { value, error: value * (spread + exponential(own)) + 1e-9 }
            }
        }
    })
}

pub(super) fn normalise<N>(layer: &Normalise<N>, input: Map<'_>, tensors: Tensors<'_>) -> Vec<Bounded> {
    let channels = input.1.channels as usize;
    let pixels = input.1.pixels();
    let group = |index: usize| match layer.over {
        NormaliseOver::Channels => index % pixels,
        NormaliseOver::Plane => index / pixels,
        NormaliseOver::All => 0,
        NormaliseOver::Groups(groups) => index / pixels / (channels / groups as usize),
    };
    let groups = (0..input.0.len()).map(group).max().map_or(0, |last| last + 1);
    // Of each group: mean and its error, the factor and its error.
    let mut members = std::vec![Vec::new(); groups];
    input.0.iter().enumerate().for_each(|(index, value)| members[group(index)].push(*value));
    let statistics: Vec<[f64; 4]> = members
        .iter()
        .map(|values| {
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let off = gamma(values.len()) * values.iter().map(|x| x.abs()).sum::<f64>() / count;
            let distance = |x: &f64| (x - mean).abs();
            let variance = values.iter().map(|x| distance(x).powi(2)).sum::<f64>() / count;
            // Each distance is off by the mean's error and a rounding.
            let moved = values
                .iter()
                .map(|x| {
                    let each = off + UNIT * (distance(x) + off);
                    2.0 * distance(x) * each + each * each
                })
                .sum::<f64>()
                / count;
            let error = moved + gamma(values.len()) * (variance + moved);
            let epsilon = f64::from(layer.epsilon);
            let factor = (variance + epsilon).sqrt().recip();
            let least = (variance + epsilon - error).max(epsilon / 2.0).sqrt().recip();
            [mean, off, factor, least - factor + 4.0 * UNIT * least]
        })
        .collect();
    let parameter = |values: &[f32], index: usize| f64::from(values[index / pixels]);
    let one = |(index, x): (usize, &f64)| {
        let [mean, off, factor, spread] = statistics[group(index)];
        let (scale, bias) = (parameter(tensors.scale, index), parameter(tensors.bias, index));
        let distance = x - mean;
        let each = off + UNIT * (distance.abs() + off);
        let product = distance * factor * scale;
        let error = (each * (factor + spread) + distance.abs() * spread) * scale.abs();
        Bounded { value: product + bias, error: error + gamma(4) * (product.abs() + error + bias.abs()) }
    };
    input.0.iter().enumerate().map(one).collect()
}
