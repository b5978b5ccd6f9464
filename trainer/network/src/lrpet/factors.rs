//! The paired thin convolutions that replace a layer (paper, section III; method: thin = sqrt(S_r)·V_rᵀ, expand
//! = U_r·sqrt(S_r)).

use super::{LrpetError, Spectrum};

/// A layer's BN-rectified weight as the product expand·thin.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// The thin convolution's weight `[r, c, kh, kw]`: sqrt(S_r)·V_rᵀ, r × c·kh·kw, row-major.
    pub thin: Vec<f32>,
    /// The 1×1 expand convolution's weight `[n, r, 1, 1]`: U_r·sqrt(S_r), n × r, row-major.
    pub expand: Vec<f32>,
    /// Rank r.
    pub rank: usize,
    /// Share of the energy of M̃ that the factors keep, 0 to 1, before any transfer.
    pub energy_kept: f64,
}

impl Factors {
    /// Factors of the best rank-`rank` approximation of M̃ in the Frobenius norm. With `energy_transfer` the
    /// kept singular values are raised so that the product has all the energy of M̃: for a weight that was
    /// never projected (on a projected one it does nothing).
    ///
    /// Singular values are shared evenly by the two factors, which keeps both in the range of f16.
    pub fn new(spectrum: &Spectrum, rank: usize, energy_transfer: bool) -> Factors {
        let leading = spectrum.leading(rank);
        let rank = leading.vectors.ncols();
        let (energy, kept) = (spectrum.energy(), leading.inner.squared_norm_l2());
        let gain = if energy_transfer && kept > 0.0 { (energy / kept).sqrt() } else { 1.0 };
        // Component k of the truncation is (unit vector) × (vector of length s_k); its length is measured,
        // which is more accurate for small values than the root of an eigenvalue. A component of length 0 adds
        // nothing: both its halves are 0.
        let mut unit_scale = vec![0.0; rank];
        let mut inner_scale = vec![0.0; rank];
        for k in 0..rank {
            let length =
                if leading.left { leading.inner.row(k).norm_l2() } else { leading.inner.col(k).norm_l2() };
            if length > 0.0 {
                unit_scale[k] = (gain * length).sqrt();
                inner_scale[k] = (gain / length).sqrt();
            }
        }
        let (rows, columns) = (spectrum.matrix().nrows(), spectrum.matrix().ncols());
        let fill = |rows: usize, columns: usize, value: &dyn Fn(usize, usize) -> f64| {
            (0..rows * columns).map(|at| value(at / columns, at % columns) as f32).collect::<Vec<f32>>()
        };
        let (expand, thin) = if leading.left {
            (
                fill(rows, rank, &|i, k| leading.vectors[(i, k)] * unit_scale[k]),
                fill(rank, columns, &|k, j| leading.inner[(k, j)] * inner_scale[k]),
            )
        } else {
            (
                fill(rows, rank, &|i, k| leading.inner[(i, k)] * inner_scale[k]),
                fill(rank, columns, &|k, j| leading.vectors[(j, k)] * unit_scale[k]),
            )
        };
        let energy_kept = if energy > 0.0 { (kept / energy).min(1.0) } else { 1.0 };
        Factors { thin, expand, rank, energy_kept }
    }

    /// Decomposes a weight and factors it (see [`Spectrum::new`] and [`Factors::new`]).
    ///
    /// # Errors
    /// Those of [`Spectrum::new`].
    pub fn of_weight(
        name: &str,
        weight: &[f32],
        rows: usize,
        alpha: Option<&[f64]>,
        rank: usize,
        energy_transfer: bool,
    ) -> Result<Factors, LrpetError> {
        Ok(Factors::new(&Spectrum::new(name, weight, rows, alpha)?, rank, energy_transfer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LayerWeight, Options, project};
    use super::*;
    use crate::support::decaying;
    use proptest::prelude::*;

    fn product(factors: &Factors, rows: usize, columns: usize) -> Vec<f64> {
        let cell = |at: usize| {
            let (i, j) = (at / columns, at % columns);
            (0..factors.rank)
                .map(|k| {
                    f64::from(factors.expand[i * factors.rank + k]) * f64::from(factors.thin[k * columns + j])
                })
                .sum()
        };
        (0..rows * columns).map(cell).collect()
    }

    fn norm(values: impl Iterator<Item = f64>) -> f64 {
        values.map(|value| value * value).sum::<f64>().sqrt()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// After a projection the truncation loses nothing: the factors rebuild diag(α)·M', on both sides of n
        /// = c·k².
        #[test]
        fn factors_rebuild_the_projected_weight(
            (rows, columns) in prop_oneof![(1..24_usize, 1..60_usize), (20..70_usize, 1..20_usize)],
            rank in 0.0..1.0_f64, seed: u64,
        ) {
            let rank = 1 + (rank * rows.min(columns) as f64) as usize;
            let (mut weight, alpha) = decaying(rows, columns, seed);
            let mut layer =
                LayerWeight { name: "layer", weight: &mut weight, rows, alpha: Some(alpha.clone()), rank };
            project(&mut layer, &Options::default()).unwrap();
            let factors = Factors::of_weight("layer", &weight, rows, Some(&alpha), rank, false).unwrap();
            prop_assert_eq!((factors.thin.len(), factors.expand.len()), (rank * columns, rows * rank));
            let expected: Vec<f64> =
                weight.iter().enumerate().map(|(at, &w)| alpha[at / columns] * f64::from(w)).collect();
            let rebuilt = product(&factors, rows, columns);
            let off = norm(rebuilt.iter().zip(&expected).map(|(a, b)| a - b));
            prop_assert!(off <= 1e-6 * norm(expected.iter().copied()), "{off}");
            prop_assert!((factors.energy_kept - 1.0).abs() < 1e-9);
        }

        /// The truncation of an unprojected weight is the best of its rank (Eckart and Young): what is lost are
        /// the dropped singular values; with energy transfer the product has the whole energy.
        #[test]
        fn truncation_is_the_best_of_its_rank(
            (rows, columns) in prop_oneof![(2..24_usize, 2..60_usize), (20..70_usize, 2..20_usize)],
            rank in 0.0..1.0_f64, seed: u64,
        ) {
            let m = rows.min(columns);
            let rank = 1 + (rank * m as f64) as usize;
            let (weight, _) = decaying(rows, columns, seed);
            let matrix = faer::Mat::from_fn(rows, columns, |i, j| f64::from(weight[i * columns + j]));
            let singular = matrix.singular_values().unwrap();
            let total = norm(singular.iter().copied());
            let factors = Factors::of_weight("layer", &weight, rows, None, rank, false).unwrap();
            let rebuilt = product(&factors, rows, columns);
            let lost = norm(rebuilt.iter().zip(&weight).map(|(a, &b)| a - f64::from(b)));
            prop_assert!((lost - norm(singular[rank..].iter().copied())).abs() <= 1e-6 * total, "{lost}");
            let kept = (norm(singular[..rank].iter().copied()) / total).powi(2);
            prop_assert!((factors.energy_kept - kept).abs() <= 1e-6);
            let raised = Factors::of_weight("layer", &weight, rows, None, rank, true).unwrap();
            let energy = norm(product(&raised, rows, columns).into_iter());
            prop_assert!((energy / total - 1.0).abs() <= 1e-6);
        }
    }

    #[test]
    fn a_zero_weight_has_zero_factors() {
        let factors = Factors::of_weight("layer", &[0.0; 12], 3, None, 2, true).unwrap();
        assert!(factors.thin.iter().chain(&factors.expand).all(|&value| value == 0.0));
    }
}
