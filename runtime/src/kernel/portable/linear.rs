//! Fully connected layers: dense and pair.

use super::tile::LINEAR_CHUNK;
use super::{Buffers, Epilogue, LayerWeights, Output, Primitives, Second, finish};

/// A vector to multiply.
#[derive(Clone, Copy)]
enum Vector<'a> {
    Half(&'a [u16]),
    Full(&'a [f32]),
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn run<P: Primitives<L>, const N: usize, const L: usize>(
    weights: &LayerWeights<'_>,
    epilogue: Epilogue<'_>,
    buffers: &mut Buffers<'_>,
) {
    let x = Vector::Half(buffers.input);
    let chunks = buffers.scratch.split_at_mut_checked(LINEAR_CHUNK * (N + 1));
    let Some((chunks, middle)) = chunks else { return };
    match weights {
        LayerWeights::Dense(weights) | LayerWeights::Depthwise(weights) => {
            product::<P, N, L>(x, weights, chunks, |first, sums| {
                store::<P, L>(epilogue, first, sums, &mut buffers.output);
            });
        }
        LayerWeights::Pair { thin, expand, rank } => {
            let Some(middle) = middle.get_mut(..*rank) else { return };
            product::<P, N, L>(x, thin, chunks, |first, sums| {
                let to = middle.get_mut(first..first + sums.len());
                to.into_iter().for_each(|to| to.copy_from_slice(sums));
            });
            product::<P, N, L>(Vector::Full(middle), expand, chunks, |first, sums| {
                store::<P, L>(epilogue, first, sums, &mut buffers.output);
            });
        }
    }
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
fn store<P: Primitives<L>, const L: usize>(
    epilogue: Epilogue<'_>,
    first: usize,
    sums: &mut [f32],
    output: &mut Output<'_>,
) {
    let bias = epilogue.bias.get(first..).unwrap_or_default();
    sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += *bias);
    finish::<P, L>(sums, first, epilogue.activation, Second::None, output);
}

/// Rows of `weights` times `x`; `each` gets the index of the first of some sums, and these.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
fn product<P: Primitives<L>, const N: usize, const L: usize>(
    x: Vector<'_>,
    weights: &[u16],
    chunks: &mut [f32],
    mut each: impl FnMut(usize, &mut [f32]),
) {
    let length = match x {
        Vector::Half(x) => x.len(),
        Vector::Full(x) => x.len(),
    };
    if length == 0 {
        return;
    }
    for (i, rows) in weights.chunks((length * N).max(1)).enumerate() {
        let count = rows.len() / length;
        let mut sums = dots::<P, N, L>(x, length, rows, chunks);
        sums.get_mut(..count).into_iter().for_each(|sums| each(i * N, sums));
    }
}

/// Up to `N` rows of weights, each multiplied with `x` and summed; `L` partial sums a row. Sums without a row mean
/// nothing.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
fn dots<P: Primitives<L>, const N: usize, const L: usize>(
    x: Vector<'_>,
    length: usize,
    rows: &[u16],
    chunks: &mut [f32],
) -> [f32; N] {
    let mut sums = [P::splat(0.0); N];
    let (wide_x, wide_rows) = chunks.split_at_mut(LINEAR_CHUNK);
    for from in (0..length).step_by(LINEAR_CHUNK) {
        let count = LINEAR_CHUNK.min(length - from);
        let lanes = count.next_multiple_of(L);
        fill(wide_x, count, lanes, |to| match x {
            Vector::Half(x) => x.get(from..from + count).into_iter().for_each(|x| P::widen(x, to)),
            Vector::Full(x) => {
                let x = x.get(from..).unwrap_or_default();
                to.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
            }
        });
        for (row, wide) in rows.chunks_exact(length).zip(wide_rows.chunks_exact_mut(LINEAR_CHUNK)) {
            fill(wide, count, lanes, |to| {
                row.get(from..from + count).into_iter().for_each(|row| P::widen(row, to));
            });
        }
        for (sums, wide) in sums.iter_mut().zip(wide_rows.chunks_exact(LINEAR_CHUNK)) {
            let (wide, x) = (wide.chunks_exact(L), wide_x.chunks_exact(L));
            for (w, x) in wide.zip(x).take(lanes / L) {
                if let (Some(w), Some(x)) = (w.first_chunk(), x.first_chunk()) {
                    *sums = P::mul_add(P::load(w), P::load(x), *sums);
                }
            }
        }
    }
    sums.map(|sums| {
        let mut lanes = [0.0; L];
        P::store(sums, &mut lanes);
        lanes.iter().sum()
    })
}

/// Lets `write` fill the first `count` elements and clears the rest up to `lanes`.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
fn fill(to: &mut [f32], count: usize, lanes: usize, write: impl FnOnce(&mut [f32])) {
    let Some((values, rest)) = to.get_mut(..lanes).and_then(|to| to.split_at_mut_checked(count)) else {
        return;
    };
    write(values);
    rest.fill(0.0);
}
