//! A row of weights becomes bytes times one scale.
//!
//! Rounded one after another, each weight takes over what those before it have added to the output (Babai's nearest plane, which GPTQ
//! is for a row of weights: Frantar et al. 2022, Chen et al. 2025, "The geometry of LLM quantization").

use rayon::prelude::*;

use super::metric::Metric;
use super::scale::{LARGEST_BYTE, at_least, below};

/// Scales that are tried: the smallest that holds the largest weight, and smaller ones, which cut off a few.
const SCALES: usize = 5;

/// A row as bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The bytes.
    pub bytes: Vec<i8>,
    /// A weight is its byte times this.
    pub scale: f64,
    /// The error of the output, in the metric.
    pub error: f64,
}

impl Row {
    /// The weights.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.bytes.iter().map(|&byte| f64::from(byte) * self.scale)
    }
}

/// Rounds `row` at the legal scale that moves the output least.
pub fn round(row: &[f64], metric: &Metric) -> Row {
    let largest = row.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    if largest == 0.0 {
        return Row { bytes: vec![0; row.len()], scale: 1.0, error: 0.0 };
    }
    let first = at_least(largest / f64::from(LARGEST_BYTE));
    let scales = std::iter::successors(Some(first), |scale| below(*scale)).take(SCALES);
    let rows = scales.map(|scale| round_at(row, scale, metric));
    best(rows).unwrap_or_else(|| nearest(row, first, metric))
}

/// Rounds all rows of a matrix (row-major, `columns` long each).
pub fn round_all(matrix: &[f64], columns: usize, metric: &Metric) -> Vec<Row> {
    matrix.par_chunks_exact(columns).map(|row| round(row, metric)).collect()
}

/// The row of least error, the first of equals.
pub fn best(rows: impl Iterator<Item = Row>) -> Option<Row> {
    rows.reduce(|best, row| if row.error < best.error { row } else { best })
}

/// Rounds `row` at `scale`: in the metric, or each weight by itself where that is better.
pub fn round_at(row: &[f64], scale: f64, metric: &Metric) -> Row {
    let plain = nearest(row, scale, metric);
    best([fed_back(row, scale, metric), plain].into_iter()).expect("there are two")
}

/// Each weight to the nearest.
fn nearest(row: &[f64], scale: f64, metric: &Metric) -> Row {
    let bytes: Vec<i8> = row.iter().map(|value| byte(value / scale)).collect();
    let errors: Vec<f64> =
        row.iter().zip(&bytes).map(|(value, &byte)| value - f64::from(byte) * scale).collect();
    Row { bytes, scale, error: metric.error(&errors) }
}

/// From the last weight to the first, each to what is nearest with the errors of those behind it.
fn fed_back(row: &[f64], scale: f64, metric: &Metric) -> Row {
    let mut bytes = vec![0; row.len()];
    let mut errors = vec![0.0; row.len()];
    let mut error = 0.0;
    for j in (0..row.len()).rev() {
        let (own, carried) = match metric.column(j) {
            Some([own, rest @ ..]) => {
                let carried: f64 = rest.iter().zip(&errors[j + 1..]).map(|(l, error)| l * error).sum();
                (*own, carried / own)
            }
            _ => (1.0, 0.0),
        };
        bytes[j] = byte((row[j] + carried) / scale);
        errors[j] = row[j] - f64::from(bytes[j]) * scale;
        error += (own * (errors[j] + carried)).powi(2);
    }
    Row { bytes, scale, error }
}

/// The nearest byte.
fn byte(value: f64) -> i8 {
    let most = f64::from(LARGEST_BYTE);
    // Within an i8.
    value.round_ties_even().clamp(-most, most) as i8
}

#[cfg(test)]
mod tests {
    use faer::Mat;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Weights, and second moments of inputs of which each is a mixture of a few.
    fn drawn(columns: usize, hidden: usize, seed: u64) -> (Vec<f64>, Mat<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let row = (0..columns).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mixture = Mat::from_fn(columns, hidden, |_, _| rng.random_range(-1.0..1.0));
        (row, &mixture * mixture.transpose())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_output_moves_no_more_than_by_nearest_rounding(
            columns in 1..40_usize, hidden in 1..40_usize, seed: u64,
        ) {
            let (row, moments) = drawn(columns, hidden, seed);
            let metric = Metric::new(&moments);
            let rounded = round(&row, &metric);
            let errors: Vec<f64> = row.iter().zip(rounded.values()).map(|(a, b)| a - b).collect();
            // The error that it states is the one that it makes.
            prop_assert!((metric.error(&errors) - rounded.error).abs() <= 1e-9 * (1.0 + rounded.error));
            let scale = at_least(row.iter().fold(0.0_f64, |most, value| most.max(value.abs())) / 127.0);
            prop_assert!(rounded.error <= nearest(&row, scale, &metric).error);
        }

        #[test]
        fn inputs_alike_give_nearest_rounding(columns in 1..40_usize, seed: u64) {
            let (row, _) = drawn(columns, 1, seed);
            let same = Metric::new(&Mat::identity(columns, columns));
            for metric in [same, Metric::plain()] {
                let rounded = round(&row, &metric);
                for (value, byte) in row.iter().zip(&rounded.bytes) {
                    prop_assert_eq!(super::byte(value / rounded.scale), *byte);
                }
            }
        }
    }

    /// Of correlated inputs the errors make up for each other.
    #[test]
    fn feedback_moves_the_output_much_less() {
        let (mut fed, mut plain) = (0.0, 0.0);
        for seed in 0..20 {
            let (row, moments) = drawn(60, 8, seed);
            let metric = Metric::new(&moments);
            fed += round_at(&row, 0.0078125, &metric).error;
            plain += nearest(&row, 0.0078125, &metric).error;
        }
        assert!(fed < 0.5 * plain, "{fed} of {plain}");
    }

    #[test]
    fn a_row_of_zeros_has_a_legal_scale() {
        let row = round(&[0.0; 4], &Metric::plain());
        assert_eq!((row.bytes, row.scale, row.error), (vec![0; 4], 1.0, 0.0));
    }
}
