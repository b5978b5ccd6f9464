//! One layer, dense or a pair, with weights of 8 bits.

use faer::{Mat, Side};
use rayon::prelude::*;

use super::inputs::Moments;
use super::metric::Metric;
use super::round::{Row, best, round_all, round_at};
use super::scale::THIN;
use crate::export::LayerWeights;

/// What the largest weight of a thin row is made, in bytes: the whole range, a little less, or more, which cuts it off.
const PEAKS: [f64; 5] = [127.0, 122.0, 132.0, 138.0, 144.0];
/// Share of the mean variance of a thin half's outputs that keeps the expanding half near its old weights.
const NEAR: f64 = 1e-3;

/// Gives `weights` weights of 8 bits with `rows` rows of results. `moments` are those of what the layer reads; without them each weight is
/// rounded by itself. Returns how much the outputs change on the calibration inputs as a share of how much they vary (root of
/// the mean square); of the weights where there are none.
pub fn quantise(weights: &mut LayerWeights, rows: usize, moments: Option<&Moments>) -> f64 {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<f64>>();
    let first = wide(&weights.weight);
    let matrix = match &weights.expand {
        None => to_matrix(&first, rows),
        Some(expand) => {
            let expand = to_matrix(&wide(expand), rows);
            let thin = to_matrix(&first, expand.ncols());
            &expand * &thin
        }
    };
    let metric = moments.map_or_else(Metric::plain, |moments| Metric::new(&moments.covariance));
    let rounded = match &weights.expand {
        None => {
            let rows = round_all(&first, matrix.ncols(), &metric);
            (weights.weight, weights.scales) = stored(&rows);
            of_rows(&rows)
        }
        Some(expand) => {
            let expand = to_matrix(&wide(expand), rows);
            let rank = expand.ncols();
            let (thin, factors): (Vec<Row>, Vec<f64>) =
                first.par_chunks_exact(first.len() / rank).map(|row| thin_row(row, &metric)).unzip();
            let expand = Mat::from_fn(rows, rank, |i, k| expand[(i, k)] * factors[k]);
            let thin_matrix = of_rows(&thin);
            let (expand, metric) = match moments {
                None => (expand, Metric::plain()),
                Some(moments) => refitted(&expand, &thin_matrix, &matrix, &moments.covariance),
            };
            let flat: Vec<f64> = (0..rows * rank).map(|at| expand[(at / rank, at % rank)]).collect();
            let expand = round_all(&flat, rank, &metric);
            weights.weight = stored(&thin).0;
            let (values, scales) = stored(&expand);
            (weights.expand, weights.scales) = (Some(values), scales);
            of_rows(&expand) * thin_matrix
        }
    };
    let lost = &matrix - &rounded;
    if let Some(Moments { mean, .. }) = moments {
        for (row, bias) in weights.bias.iter_mut().enumerate() {
            let shift: f64 = mean.iter().enumerate().map(|(column, mean)| lost[(row, column)] * mean).sum();
            *bias = (f64::from(*bias) + shift) as f32;
        }
    }
    let size = |matrix: &Mat<f64>| match moments {
        Some(moments) => energy(matrix, &moments.covariance),
        None => matrix.squared_norm_l2(),
    };
    let whole = size(&matrix);
    if whole > 0.0 { (size(&lost).max(0.0) / whole).sqrt() } else { 0.0 }
}

/// Σ over the rows m of mᵀ·C·m.
fn energy(matrix: &Mat<f64>, covariance: &Mat<f64>) -> f64 {
    let product = matrix * covariance;
    let cells = (0..matrix.ncols()).flat_map(|j| (0..matrix.nrows()).map(move |i| (i, j)));
    cells.map(|at| product[at] * matrix[at]).sum()
}

/// A thin row, made as large as bytes are, and rounded; and by what the column of the expanding half has to be multiplied.
fn thin_row(row: &[f64], metric: &Metric) -> (Row, f64) {
    let largest = row.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    if largest == 0.0 {
        return (Row { bytes: vec![0; row.len()], scale: THIN, error: 0.0 }, 0.0);
    }
    let tried = PEAKS.map(|peak| {
        let factor = peak * THIN / largest;
        let scaled: Vec<f64> = row.iter().map(|value| value * factor).collect();
        let rounded = round_at(&scaled, THIN, metric);
        // As an error of the row as it was.
        Row { error: rounded.error / (factor * factor), scale: 1.0 / factor, ..rounded }
    });
    let found = best(tried.into_iter()).expect("there are several");
    let factor = found.scale;
    (Row { scale: THIN, ..found }, factor)
}

/// The expanding half that makes of the rounded thin half's outputs what comes nearest to the layer's (least squares, near `expand`), and
/// the metric of these outputs.
fn refitted(
    expand: &Mat<f64>,
    thin: &Mat<f64>,
    matrix: &Mat<f64>,
    covariance: &Mat<f64>,
) -> (Mat<f64>, Metric) {
    let seen = thin * covariance;
    let moments = &seen * thin.transpose();
    let metric = Metric::new(&moments);
    let rank = moments.nrows();
    let mean = (0..rank).map(|k| moments[(k, k)]).sum::<f64>() / rank as f64;
    let damped = Mat::from_fn(rank, rank, |i, j| moments[(i, j)] + if i == j { NEAR * mean } else { 0.0 });
    let Some(factored) = damped.llt(Side::Lower).ok().filter(|_| mean > 0.0) else {
        return (expand.clone(), metric);
    };
    // (M − E·T)·C·Tᵀ = Δ·(T·C·Tᵀ + λ), solved for the transposed Δ.
    let gap = &seen * (matrix - expand * thin).transpose();
    let change = faer::linalg::solvers::Solve::solve(&factored, &gap);
    (expand + change.transpose(), metric)
}

/// Row-major values as a matrix.
fn to_matrix(values: &[f64], rows: usize) -> Mat<f64> {
    let columns = values.len() / rows.max(1);
    Mat::from_fn(rows, columns, |i, j| values[i * columns + j])
}

/// What rows stand for.
fn of_rows(rows: &[Row]) -> Mat<f64> {
    let columns = rows.first().map_or(0, |row| row.bytes.len());
    Mat::from_fn(rows.len(), columns, |i, j| f64::from(rows[i].bytes[j]) * rows[i].scale)
}

/// Weights, row-major, and scales, all of which f32 holds exactly.
fn stored(rows: &[Row]) -> (Vec<f32>, Option<Vec<f32>>) {
    let values = rows.iter().flat_map(Row::values).map(|value| value as f32).collect();
    (values, Some(rows.iter().map(|row| row.scale as f32).collect()))
}
