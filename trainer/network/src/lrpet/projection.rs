//! One projection of the training: BN rectification, truncation to rank r, energy transfer, and back (paper,
//! section III).

use rayon::prelude::*;

use super::{LrpetError, Spectrum};

/// Keeps the division by α² away from zero on the way back from M̃ to M (paper).
pub const BACK_EPSILON: f64 = 1e-5;
/// A layer whose largest singular value is below this is left alone: there is no direction to keep (paper).
pub const SMALLEST_LEADING_VALUE: f64 = 1e-4;

/// What a projection does; the paper's choice is the default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Raise the kept singular values so that the energy (squared Frobenius norm) stays; without it, plain
    /// truncation.
    pub energy_transfer: bool,
    /// Project diag(α)·M, the weight that inference uses once the batch normalisation is merged; without it, M.
    pub rectification: bool,
    /// Residual factor ρ in [0, 1): dropped singular values are multiplied by it (0 in every published run).
    pub residual: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { energy_transfer: true, rectification: true, residual: 0.0 }
    }
}

/// A layer's weight, to be projected in place.
#[derive(Debug)]
pub struct LayerWeight<'a> {
    /// Name of the layer, for errors and reports.
    pub name: &'a str,
    /// The matrix M, n × c·kh·kw, row-major.
    pub weight: &'a mut [f32],
    /// Rows n.
    pub rows: usize,
    /// α of the batch normalisation that follows, one a row ([`super::bn_scale`]); none where none follows.
    pub alpha: Option<Vec<f64>>,
    /// Rank to project to; at most min(n, c·kh·kw).
    pub rank: usize,
}

/// What a projection found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// Share of the energy of M̃ in the kept singular values, before the transfer, 0 to 1.
    pub energy_kept: f64,
    /// Factor by which the kept singular values were raised.
    pub gain: f64,
    /// Largest singular value of M̃.
    pub largest: f64,
    /// True where the layer was left alone because its largest singular value is below 1e-4.
    pub skipped: bool,
}

/// Projects one layer's weight in place to its rank.
///
/// M̃ = diag(α)·M = U·diag(s)·Vᵀ; kept values become s·a with a = sqrt((E − ρ²·(E − E_r)) / E_r), dropped ones
/// ρ·s, and M' = diag(α / (α² + 1e-5))·M̃'. Without α (no batch normalisation, or rectification off) M' = M̃'.
/// Without energy transfer a = 1.
///
/// # Errors
/// [`LrpetError::NotFinite`], [`LrpetError::NoConvergence`]; the weight is then unchanged.
pub fn project(layer: &mut LayerWeight<'_>, options: &Options) -> Result<Projection, LrpetError> {
    let alpha = layer.alpha.as_deref().filter(|_| options.rectification);
    let spectrum = Spectrum::new(layer.name, layer.weight, layer.rows, alpha)?;
    let largest = spectrum.singular_values()[0];
    if largest < SMALLEST_LEADING_VALUE {
        return Ok(Projection {
            energy_kept: spectrum.energy_kept(layer.rank),
            gain: 1.0,
            largest,
            skipped: true,
        });
    }
    let leading = spectrum.leading(layer.rank);
    let (energy, kept) = (spectrum.energy(), leading.inner.squared_norm_l2());
    let residual = options.residual;
    let gain = match options.energy_transfer {
        // Rounding can leave E_r a hair above E.
        true => ((energy - residual.powi(2) * (energy - kept).max(0.0)) / kept).sqrt(),
        false => 1.0,
    };
    let truncated = leading.product();
    let columns = layer.weight.len() / layer.rows;
    for (row, values) in layer.weight.chunks_exact_mut(columns).enumerate() {
        let back = alpha.map_or(1.0, |alpha| alpha[row] / (alpha[row].powi(2) + BACK_EPSILON));
        for (column, value) in values.iter_mut().enumerate() {
            let kept = truncated[(row, column)];
            let dropped = spectrum.matrix()[(row, column)] - kept;
            *value = (back * (gain * kept + residual * dropped)) as f32;
        }
    }
    Ok(Projection { energy_kept: (kept / energy).min(1.0), gain, largest, skipped: false })
}

/// Projects every layer, in parallel; the result does not depend on the number of threads.
///
/// # Errors
/// Those of [`project`], of the first layer that fails.
pub fn project_all(layers: &mut [LayerWeight<'_>], options: &Options) -> Result<Vec<Projection>, LrpetError> {
    // Collected before the first error is looked for, so that it is the same error whatever the threads do.
    let results: Vec<_> = layers.par_iter_mut().map(|layer| project(layer, options)).collect();
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::decaying;
    use faer::Mat;
    use proptest::prelude::*;

    fn rectified(weight: &[f32], rows: usize, alpha: &[f64]) -> Mat<f64> {
        let columns = weight.len() / rows;
        Mat::from_fn(rows, columns, |i, j| alpha[i] * f64::from(weight[i * columns + j]))
    }

    /// The method written out with a full singular value decomposition.
    fn reference(weight: &[f32], rows: usize, alpha: &[f64], rank: usize, options: &Options) -> Mat<f64> {
        let ones = vec![1.0; rows];
        let alpha = if options.rectification { alpha } else { &ones };
        let matrix = rectified(weight, rows, alpha);
        let svd = matrix.thin_svd().unwrap();
        let s: Vec<f64> = (0..rows.min(matrix.ncols())).map(|i| svd.S()[i]).collect();
        let energy: f64 = s.iter().map(|s| s * s).sum();
        let kept: f64 = s[..rank].iter().map(|s| s * s).sum();
        let rho = options.residual;
        let gain = if options.energy_transfer {
            ((energy - rho * rho * (energy - kept)) / kept).sqrt()
        } else {
            1.0
        };
        Mat::from_fn(rows, matrix.ncols(), |i, j| {
            let value: f64 = (0..s.len())
                .map(|k| svd.U()[(i, k)] * s[k] * (if k < rank { gain } else { rho }) * svd.V()[(j, k)])
                .sum();
            if options.rectification { value * alpha[i] / (alpha[i].powi(2) + 1e-5) } else { value }
        })
    }

    fn projected(
        weight: &[f32],
        rows: usize,
        alpha: &[f64],
        rank: usize,
        options: &Options,
    ) -> (Vec<f32>, Projection) {
        let mut weight = weight.to_vec();
        let mut layer =
            LayerWeight { name: "layer", weight: &mut weight, rows, alpha: Some(alpha.to_vec()), rank };
        let found = project(&mut layer, options).unwrap();
        (weight, found)
    }

    fn any_options() -> impl Strategy<Value = Options> {
        (any::<bool>(), any::<bool>(), prop_oneof![Just(0.0), 0.0..0.9]).prop_map(
            |(energy_transfer, rectification, residual)| Options { energy_transfer, rectification, residual },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Any shape (wide, tall, a single row or column), any rank from 1 to m, every option: the method
        /// written out.
        #[test]
        fn is_the_method_by_full_decomposition(
            (rows, columns) in prop_oneof![(1..24_usize, 1..60_usize), (20..70_usize, 1..20_usize)],
            rank in 0.0..1.0_f64, seed: u64, options in any_options(),
        ) {
            let m = rows.min(columns);
            let rank = 1 + (rank * m as f64) as usize;
            let (weight, alpha) = decaying(rows, columns, seed);
            let (found, _) = projected(&weight, rows, &alpha, rank, &options);
            let expected = reference(&weight, rows, &alpha, rank, &options);
            let scale = expected.norm_max();
            for i in 0..rows {
                for j in 0..columns {
                    let difference = (f64::from(found[i * columns + j]) - expected[(i, j)]).abs();
                    prop_assert!(difference <= 2e-6 * scale, "{difference} of {scale} at {i}, {j}");
                }
            }
        }

        /// The projected weight has rank r, the energy of the rectified weight is kept to 1e-6 of itself, and a
        /// second projection changes nothing but what the 1e-5 of the way back leaves.
        #[test]
        fn rank_energy_and_repetition(
            (rows, columns) in prop_oneof![(2..24_usize, 2..60_usize), (20..70_usize, 2..20_usize)],
            rank in 0.0..1.0_f64, seed: u64, rectification: bool,
        ) {
            let m = rows.min(columns);
            let rank = 1 + (rank * m as f64) as usize;
            let (weight, alpha) = decaying(rows, columns, seed);
            let options = Options { rectification, ..Options::default() };
            let (once, report) = projected(&weight, rows, &alpha, rank, &options);
            let ones = vec![1.0; rows];
            let used = if rectification { &alpha } else { &ones };

            let singular = rectified(&once, rows, used).singular_values().unwrap();
            if rank < m {
                prop_assert!(singular[rank] <= 1e-6 * singular[0], "{:?}", &singular[..=rank]);
            }
            prop_assert!(report.energy_kept > 0.0 && report.energy_kept <= 1.0 && report.gain >= 1.0 - 1e-12);
            prop_assert!((report.gain.powi(2) * report.energy_kept - 1.0).abs() < 1e-9);

            // What the way back takes from each row is undone before the energies are compared.
            let undone: Vec<f64> = match rectification {
                true => alpha.iter().map(|alpha| (alpha.powi(2) + 1e-5) / alpha).collect(),
                false => ones.clone(),
            };
            let before = rectified(&weight, rows, used).squared_norm_l2();
            let after = rectified(&once, rows, &undone).squared_norm_l2();
            prop_assert!((after / before - 1.0).abs() <= 1e-6, "{before} {after}");

            let (twice, _) = projected(&once, rows, &alpha, rank, &options);
            let smallest = used.iter().fold(f64::INFINITY, |least, alpha| least.min(alpha.abs()));
            let slack = if rectification { 4e-5 / smallest.powi(2) } else { 0.0 } + 2e-6;
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let moved = norm(&mut once.iter().zip(&twice).map(|(a, b)| f64::from(a - b)));
            let size = norm(&mut once.iter().map(|&a| f64::from(a)));
            prop_assert!(moved <= slack * size, "{moved} of {size}");
        }
    }

    #[test]
    fn residual_keeps_the_energy_and_the_rank_of_the_matrix() {
        let (weight, alpha) = decaying(12, 27, 5);
        let options = Options { rectification: false, residual: 0.3, ..Options::default() };
        let (soft, _) = projected(&weight, 12, &alpha, 4, &options);
        let ones = [1.0; 12];
        let energy = |weight: &[f32]| rectified(weight, 12, &ones).squared_norm_l2();
        assert!((energy(&soft) / energy(&weight) - 1.0).abs() < 1e-6);
        let before = rectified(&weight, 12, &ones).singular_values().unwrap();
        let after = rectified(&soft, 12, &ones).singular_values().unwrap();
        assert!((after[4] / before[4] - 0.3).abs() < 1e-5);
    }

    #[test]
    fn vanishing_layers_are_skipped_and_broken_ones_refused() {
        let mut tiny = vec![1e-6_f32; 12];
        let mut layer = LayerWeight { name: "tiny", weight: &mut tiny, rows: 3, alpha: None, rank: 1 };
        assert!(project(&mut layer, &Options::default()).unwrap().skipped);
        assert_eq!(tiny, [1e-6; 12]);

        let mut good = vec![1.0_f32; 12];
        let mut bad = [1.0, f32::NAN, 1.0, 1.0];
        let mut layers = [
            LayerWeight { name: "good", weight: &mut good, rows: 3, alpha: None, rank: 1 },
            LayerWeight { name: "layer2.0.conv1", weight: &mut bad, rows: 2, alpha: None, rank: 1 },
        ];
        let error = project_all(&mut layers, &Options::default()).unwrap_err().to_string();
        assert!(error.contains("layer2.0.conv1") && error.contains("NaN"), "{error}");
        let alpha = Some(vec![f64::INFINITY; 3]);
        let mut layer = LayerWeight { name: "scaled", weight: &mut good, rows: 3, alpha, rank: 1 };
        assert!(project(&mut layer, &Options::default()).unwrap_err().to_string().contains("normalisation"));
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut weights: Vec<_> = (0..6).map(|seed| decaying(16, 144, seed)).collect();
            let mut layers: Vec<_> = weights
                .iter_mut()
                .map(|(weight, alpha)| LayerWeight {
                    name: "layer",
                    weight,
                    rows: 16,
                    alpha: Some(alpha.clone()),
                    rank: 6,
                })
                .collect();
            pool.install(|| project_all(&mut layers, &Options::default())).unwrap();
            weights
        };
        assert_eq!(run(1), run(3));
    }
}
