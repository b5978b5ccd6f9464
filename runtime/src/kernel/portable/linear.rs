//! Fully connected layers: dense and pair.

use super::super::tile::LINEAR_CHUNK;
use super::{Buffers, Epilogue, LayerWeights, Output, Primitives, Second, finish};

/// A vector to multiply.
#[derive(Clone, Copy)]
enum Vector<'a> {
    Half(&'a [u16]),
    Full(&'a [f32]),
}

#[inline(always)]
pub(super) fn run<P: Primitives, const N: usize, const L: usize>(
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
                store::<P>(epilogue, first, sums, &mut buffers.output);
            });
        }
        LayerWeights::Pair { thin, expand, rank } => {
            let Some(middle) = middle.get_mut(..*rank) else { return };
            product::<P, N, L>(x, thin, chunks, |first, sums| {
                let to = middle.get_mut(first..first + sums.len());
                to.into_iter().for_each(|to| to.copy_from_slice(sums));
            });
            product::<P, N, L>(Vector::Full(middle), expand, chunks, |first, sums| {
                store::<P>(epilogue, first, sums, &mut buffers.output);
            });
        }
    }
}

#[inline(always)]
fn store<P: Primitives>(epilogue: Epilogue<'_>, first: usize, sums: &mut [f32], output: &mut Output<'_>) {
    let bias = epilogue.bias.get(first..).unwrap_or_default();
    sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += *bias);
    finish::<P>(sums, first, epilogue.activation, Second::None, output);
}

/// Rows of `weights` times `x`; `each` gets the index of the first of some sums, and these.
#[inline(always)]
fn product<P: Primitives, const N: usize, const L: usize>(
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
    for (i, rows) in weights.chunks(length * N).enumerate() {
        let mut sums = [0.0; N];
        let count = rows.len() / length;
        if count == N {
            sums = dots::<P, N, L>(x, length, rows, chunks);
        } else {
            for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(length)) {
                [*sum] = dots::<P, 1, L>(x, length, row, chunks);
            }
        }
        sums.get_mut(..count).into_iter().for_each(|sums| each(i * N, sums));
    }
}

/// `N` rows of weights, each multiplied with `x` and summed; `L` partial sums a row.
#[inline(always)]
fn dots<P: Primitives, const N: usize, const L: usize>(
    x: Vector<'_>,
    length: usize,
    rows: &[u16],
    chunks: &mut [f32],
) -> [f32; N] {
    let mut sums = [[0.0; L]; N];
    let (wide_x, wide_rows) = chunks.split_at_mut(LINEAR_CHUNK);
    for from in (0..length).step_by(LINEAR_CHUNK) {
        let count = LINEAR_CHUNK.min(length - from);
        let lanes = count.next_multiple_of(L);
        fill(wide_x, count, lanes, |to| match x {
            Vector::Half(x) => x.get(from..from + count).into_iter().for_each(|x| P::widen(x, to)),
            Vector::Full(x) => x.get(from..from + count).into_iter().for_each(|x| to.copy_from_slice(x)),
        });
        for (row, wide) in rows.chunks_exact(length).zip(wide_rows.chunks_exact_mut(LINEAR_CHUNK)) {
            fill(wide, count, lanes, |to| {
                row.get(from..from + count).into_iter().for_each(|row| P::widen(row, to));
            });
        }
        for (sums, wide) in sums.iter_mut().zip(wide_rows.chunks_exact(LINEAR_CHUNK)) {
            let pairs = wide.chunks_exact(L).zip(wide_x.chunks_exact(L)).take(lanes / L);
            for (w, x) in pairs {
                for (sum, (w, x)) in sums.iter_mut().zip(w.iter().zip(x)) {
                    *sum = P::mul_add(*w, *x, *sum);
                }
            }
        }
    }
    sums.map(|sums| sums.iter().sum())
}

/// Lets `write` fill the first `count` elements and clears the rest up to `lanes`.
#[inline(always)]
fn fill(to: &mut [f32], count: usize, lanes: usize, write: impl FnOnce(&mut [f32])) {
    let Some((values, rest)) = to.get_mut(..lanes).and_then(|to| to.split_at_mut_checked(count)) else {
        return;
    };
    write(values);
    rest.fill(0.0);
}
