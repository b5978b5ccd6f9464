//! Layers without packed weights, shared among the threads of a team.

use std::sync::Mutex;

use super::{Buffers, Isa, Layer, LayerWeights, Output, Planes, Second, Team, WeightMatrix};
use crate::model::Shape;

/// Values or products below which a layer is faster on one thread.
const LEAST: usize = 1 << 14;

/// A part of a layer: what it computes, of what, and where to.
type Part<'a> = (Layer<'a>, &'a [u16], Second<'a>, Output<'a>);

/// Executes one layer on `isa`, shared by a team where that pays. No result depends on how it is cut up: a part is some
/// planes of a feature map, some rows of a matrix, or some values of a sum. Pairs of linear layers and shortcuts stay on the
/// thread that calls.
pub fn run_shared(isa: Isa, layer: &Layer<'_>, mut buffers: Buffers<'_>, team: Option<&mut Team>) {
    if !team.is_some_and(|team| shared(isa, layer, &mut buffers, team)) {
        super::run(isa, layer, buffers);
    }
}

/// False, and nothing done, where the layer is not shared.
fn shared(isa: Isa, layer: &Layer<'_>, buffers: &mut Buffers<'_>, team: &mut Team) -> bool {
    let (input, second, own) = (buffers.input, buffers.second, &mut *buffers.scratch);
    let threads = team.threads();
    // Strips of a map are not shared.
    if buffers.planes != Planes::default() || own.len() > team.scratch() {
        return false;
    }
    match (*layer, &mut buffers.output) {
        (Layer::Pool { input: from, output: to, window, kind }, Output::Half(output))
            if input.len() >= LEAST =>
        {
            let channels = (from.channels as usize).div_ceil(threads).max(1);
            let inputs = input.chunks((channels * from.pixels()).max(1));
            let outputs = output.chunks_mut((channels * to.pixels()).max(1));
            let parts = inputs.zip(outputs).map(move |(input, output)| {
                let channels = (input.len() / from.pixels().max(1)) as u32;
                let (from, to) = (Shape { channels, ..from }, Shape { channels, ..to });
                let layer = Layer::Pool { input: from, output: to, window, kind };
                (layer, input, Second::None, Output::Half(output))
            });
            all(isa, team, own, parts);
        }
        (Layer::GlobalAverage { input: from }, Output::Half(output)) if input.len() >= LEAST => {
            let channels = (from.channels as usize).div_ceil(threads).max(1);
            let inputs = input.chunks((channels * from.pixels()).max(1));
            let parts = inputs.zip(output.chunks_mut(channels)).map(move |(input, output)| {
                let from = Shape { channels: output.len() as u32, ..from };
                (Layer::GlobalAverage { input: from }, input, Second::None, Output::Half(output))
            });
            all(isa, team, own, parts);
        }
        (Layer::Add { .. } | Layer::Copy, Output::Half(output)) if input.len() >= LEAST => {
            let count = input.len().div_ceil(threads).max(1);
            let layer = *layer;
            let parts = input.chunks(count).zip(output.chunks_mut(count)).enumerate();
            let parts = parts.map(move |(i, (input, output))| {
                let second = match second {
                    Second::Other(values) => {
                        let from = (i * count).min(values.len());
                        Second::Other(values.get(from..values.len().min(from + count)).unwrap_or_default())
                    }
                    other => other,
                };
                (layer, input, second, Output::Half(output))
            });
            all(isa, team, own, parts);
        }
        (Layer::Linear { weights: LayerWeights::Dense(weights), bias, activation }, output)
            if weights.len() >= LEAST && !input.is_empty() =>
        {
            let rows = bias.len().div_ceil(threads).max(1);
            let matrices = weights.halves().chunks(rows * input.len()).zip(bias.chunks(rows));
            let layer = move |(weights, bias)| {
                let weights = LayerWeights::Dense(WeightMatrix::Half(weights));
                Layer::Linear { weights, bias, activation }
            };
            match output {
                Output::Half(output) => {
                    let parts = matrices.zip(output.chunks_mut(rows)).map(move |(matrix, output)| {
                        (layer(matrix), input, Second::None, Output::Half(output))
                    });
                    all(isa, team, own, parts);
                }
                Output::Full(output) => {
                    let parts = matrices.zip(output.chunks_mut(rows)).map(move |(matrix, output)| {
                        (layer(matrix), input, Second::None, Output::Full(output))
                    });
                    all(isa, team, own, parts);
                }
            }
        }
        _ => return false,
    }
    true
}

/// Executes all parts, each on the thread that takes it.
fn all<'a>(isa: Isa, team: &mut Team, own: &mut [f32], parts: impl Iterator<Item = Part<'a>> + Send) {
    let parts = Mutex::new(parts);
    team.share(own, &|scratch| {
        loop {
            let part = parts.lock().map(|mut parts| parts.next());
            let Ok(Some((layer, input, second, output))) = part else { return };
            super::run(
                isa,
                &layer,
                Buffers { input, second, output, scratch: &mut *scratch, planes: Planes::default() },
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroUsize;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec::Vec;

    use super::*;
    use crate::kernel::LayerWeights;
    use crate::model::{Activation, PoolKind, Window};

    /// f16 bits of small numbers, of either sign.
    fn halves(count: usize) -> Vec<u16> {
        (0..count).map(|i| crate::kernel::f16::narrow((i * 7919 % 2003) as f32 / 500.0 - 2.0)).collect()
    }

    /// Every layer that is shared gives the bits of one thread, and parts are there for every thread.
    #[test]
    fn shared_layers_have_the_bits_of_one_thread() {
        let isa = Isa::detect();
        let input = Shape::new(37, 21, 25);
        let (x, y) = (halves(input.len()), halves(2 * input.len()));
        let window = Window::square(3, 2, 1);
        let output = Shape::new(37, 11, 13);
        let matrix = halves(300 * 97);
        let bias: Vec<f32> = (0..97).map(|i| i as f32 / 7.0).collect();
        let pool = |kind| Layer::Pool { input, output, window, kind };
        let linear = Layer::Linear {
            weights: LayerWeights::Dense(WeightMatrix::Half(&matrix)),
            bias: &bias,
            activation: Activation::None,
        };
        let none = Second::None;
        let cases = [
            (pool(PoolKind::Max), &x[..], none, output.len()),
            (pool(PoolKind::Average), &x, none, output.len()),
            (Layer::GlobalAverage { input }, &x, none, 37),
            (Layer::Add { activation: Activation::Relu6 }, &x, Second::Other(&y[5..][..x.len()]), x.len()),
            (Layer::Add { activation: Activation::None }, &x, Second::InPlace, x.len()),
            (Layer::Copy, &x, none, x.len()),
            (linear, &x[..300], none, 97),
        ];
        for (layer, input, second, count) in cases {
            for threads in [2, 3, 5] {
                let mut team = Team::new(NonZeroUsize::new(threads).unwrap(), 4096).unwrap().unwrap();
                let (mut alone, mut shared_output) = (y[..count].to_vec(), y[..count].to_vec());
                let mut scratch = vec![0.0; 4096];
                let output = Output::Half(&mut alone);
                crate::kernel::run(
                    isa,
                    &layer,
                    Buffers { input, second, output, scratch: &mut scratch, planes: Planes::default() },
                );
                let output = Output::Half(&mut shared_output);
                let mut buffers =
                    Buffers { input, second, output, scratch: &mut scratch, planes: Planes::default() };
                assert!(shared(isa, &layer, &mut buffers, &mut team), "{layer:?}");
                assert_eq!(alone, shared_output, "{layer:?} on {threads} threads");
            }
        }
    }

    #[test]
    fn every_part_is_taken_once() {
        let mut team = Team::new(NonZeroUsize::new(3).unwrap(), 0).unwrap().unwrap();
        let (x, mut to, taken) = (halves(12), vec![0; 12], AtomicUsize::new(0));
        let parts = x.chunks(2).zip(to.chunks_mut(2)).inspect(|_| {
            taken.fetch_add(1, Ordering::Relaxed);
        });
        let parts = parts.map(|(input, to)| (Layer::Copy, input, Second::None, Output::Half(to)));
        all(Isa::Portable, &mut team, &mut [], parts);
        assert_eq!((taken.load(Ordering::Relaxed), to), (6, x.clone()));
    }
}
