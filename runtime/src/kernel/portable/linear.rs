//! Fully connected layers: dense and pair.

use super::super::WeightMatrix;
use super::tile::LINEAR_CHUNK;
use super::{Buffers, Epilogue, LayerWeights, Operations, Output, Primitives, Second, Set, finish};

/// A vector to multiply.
#[derive(Clone, Copy)]
enum Vector<'a> {
    Half(&'a [u16]),
    Full(&'a [f32]),
}

#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
pub(super) fn run<U: Operations, P: Primitives<L>, const N: usize, const L: usize>(
    weights: &LayerWeights<'_>,
    epilogue: Epilogue<'_>,
    buffers: &mut Buffers<'_>,
) {
    let x = Vector::Half(buffers.input);
    let chunks = buffers.scratch.split_at_mut_checked(LINEAR_CHUNK * (N + 1));
    let Some((chunks, middle)) = chunks else { return };
    match weights {
        LayerWeights::Dense(weights) if U::USED.has(Set::LINEAR) => {
            product::<P, N, L>(x, *weights, chunks, |first, sums| {
                store::<P, L>(epilogue, first, sums, &mut buffers.output);
            });
        }
        LayerWeights::Pair { thin, expand, rank } if U::USED.has(Set::LINEAR_PAIR) => {
            let Some(middle) = middle.get_mut(..*rank) else { return };
            product::<P, N, L>(x, *thin, chunks, |first, sums| {
                let to = middle.get_mut(first..first + sums.len());
                to.into_iter().for_each(|to| to.copy_from_slice(sums));
            });
            product::<P, N, L>(Vector::Full(middle), *expand, chunks, |first, sums| {
                store::<P, L>(epilogue, first, sums, &mut buffers.output);
            });
        }
        // The program has no other.
        _ => {}
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
    weights: WeightMatrix<'_>,
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
    let all = weights.len() / length;
    for first in (0..all).step_by(N.max(1)) {
        let count = N.min(all - first);
        let Some(rows) = weights.rows(first..first + count, length) else { return };
        let mut sums = dots::<P, N, L>(x, (length, count), rows, chunks);
        sums.get_mut(..count).into_iter().for_each(|sums| each(first, sums));
    }
}

/// Up to `N` rows of weights, each multiplied with `x` and summed; `L` partial sums a row. Sums without a row mean
/// nothing.
#[cfg_attr(target_arch = "x86_64", inline(always))]
#[cfg_attr(not(target_arch = "x86_64"), inline(never))]
fn dots<P: Primitives<L>, const N: usize, const L: usize>(
    x: Vector<'_>,
    (length, count): (usize, usize),
    rows: WeightMatrix<'_>,
    chunks: &mut [f32],
) -> [f32; N] {
    let mut sums = [P::splat(0.0); N];
    let (wide_x, wide_rows) = chunks.split_at_mut(LINEAR_CHUNK);
    for from in (0..length).step_by(LINEAR_CHUNK) {
        let some = LINEAR_CHUNK.min(length - from);
        let lanes = some.next_multiple_of(L);
        fill(wide_x, some, lanes, |to| match x {
            Vector::Half(x) => x.get(from..from + some).into_iter().for_each(|x| P::widen(x, to)),
            Vector::Full(x) => {
                let x = x.get(from..).unwrap_or_default();
                to.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
            }
        });
        for (row, wide) in wide_rows.chunks_exact_mut(LINEAR_CHUNK).take(count).enumerate() {
            let Some(row) = rows.after(row, length, from) else { continue };
            fill(wide, some, lanes, |to| {
                row.in_halves(some, |row, columns| to.get_mut(columns).map(|to| P::widen(row, to)).is_some());
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
