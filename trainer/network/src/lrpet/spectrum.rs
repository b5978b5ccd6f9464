//! The singular values and the leading singular vectors of a layer, by way of a Gram matrix.
//!
//! Projection and factorisation need the leading vectors of one side only. Those of the smaller side are the
//! eigenvectors of M̃·M̃ᵀ (n×n) or M̃ᵀ·M̃ (c·k² × c·k²), which in f64 is accurate far beyond f32 weights and
//! much cheaper than a full decomposition.

use faer::{Mat, MatRef, Side};

use super::LrpetError;

/// α = γ / sqrt(σ² + ε) for each output channel: what a batch normalisation multiplies its convolution's rows
/// by at inference (paper, section III, BN rectification).
pub fn bn_scale(gamma: &[f32], variance: &[f32], epsilon: f64) -> Vec<f64> {
    let scale = |(&gamma, &variance): (&f32, &f32)| f64::from(gamma) / (f64::from(variance) + epsilon).sqrt();
    gamma.iter().zip(variance).map(scale).collect()
}

/// A layer's BN-rectified matrix M̃ = diag(α)·M with its singular values and the singular vectors of its
/// smaller side.
#[derive(Debug, Clone)]
pub struct Spectrum {
    matrix: Mat<f64>,
    /// Orthonormal columns in descending order of singular value: left vectors (n × m) where `left`, else right
    /// vectors (c·k² × m).
    vectors: Mat<f64>,
    left: bool,
    singular_values: Vec<f64>,
}

/// Leading singular vectors of one side with what they make of the matrix, so that the rank-r truncation is
/// `vectors · inner` (left) or `inner · vectorsᵀ` (right).
pub(super) struct Leading<'a> {
    /// U_r (n × r) or V_r (c·k² × r).
    pub vectors: MatRef<'a, f64>,
    /// U_rᵀ·M̃ (r × c·k²) or M̃·V_r (n × r).
    pub inner: Mat<f64>,
    /// True for U_r.
    pub left: bool,
}

impl Leading<'_> {
    /// The truncated matrix M̃_r.
    pub fn product(&self) -> Mat<f64> {
        if self.left { self.vectors * &self.inner } else { &self.inner * self.vectors.transpose() }
    }
}

impl Spectrum {
    /// Decomposes the layer `name`: `weight` is M row-major with `rows` rows, `alpha` one scale a row (none:
    /// 1).
    ///
    /// # Errors
    /// [`LrpetError::NotFinite`], [`LrpetError::NoConvergence`].
    ///
    /// # Panics
    /// Where the lengths do not match, which is the caller's mistake.
    pub fn new(
        name: &str,
        weight: &[f32],
        rows: usize,
        alpha: Option<&[f64]>,
    ) -> Result<Spectrum, LrpetError> {
        let columns = weight.len().checked_div(rows).unwrap_or(0);
        assert!(
            columns > 0 && rows * columns == weight.len(),
            "layer {name}: {rows} rows of {} weights",
            weight.len()
        );
        assert!(alpha.is_none_or(|alpha| alpha.len() == rows), "layer {name}: one scale a row");
        let not_finite = |what| LrpetError::NotFinite { layer: name.to_owned(), what };
        if !weight.iter().all(|value| value.is_finite()) {
            return Err(not_finite("weight"));
        }
        if !alpha.is_none_or(|alpha| alpha.iter().all(|value| value.is_finite())) {
            return Err(not_finite("scale of its batch normalisation"));
        }
        let scale = |row| alpha.map_or(1.0, |alpha| alpha[row]);
        let matrix =
            Mat::from_fn(rows, columns, |row, column| scale(row) * f64::from(weight[row * columns + column]));
        let left = rows <= columns;
        let gram = if left { &matrix * matrix.transpose() } else { matrix.transpose() * &matrix };
        let eigen = gram
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| LrpetError::NoConvergence { layer: name.to_owned() })?;
        // faer gives eigenvalues in ascending order.
        let m = gram.nrows();
        let singular_values = (0..m).map(|i| eigen.S()[m - 1 - i].max(0.0).sqrt()).collect();
        let vectors = Mat::from_fn(m, m, |row, column| eigen.U()[(row, m - 1 - column)]);
        Ok(Spectrum { matrix, vectors, left, singular_values })
    }

    /// M̃.
    pub(super) fn matrix(&self) -> &Mat<f64> {
        &self.matrix
    }

    /// The min(n, c·k²) singular values of M̃, largest first.
    pub fn singular_values(&self) -> &[f64] {
        &self.singular_values
    }

    /// Energy of M̃: the sum of its squared singular values, which is its squared Frobenius norm.
    pub fn energy(&self) -> f64 {
        self.matrix.squared_norm_l2()
    }

    /// Share of the energy in the `rank` largest singular values, 0 to 1 (1 for a zero matrix).
    pub fn energy_kept(&self, rank: usize) -> f64 {
        let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let total = energy(&self.singular_values);
        if total == 0.0 {
            1.0
        } else {
            energy(&self.singular_values[..rank.min(self.singular_values.len())]) / total
        }
    }

    /// Smallest rank, at least 1, that keeps the share `threshold` of the energy.
    pub fn rank_for_energy(&self, threshold: f64) -> usize {
        let m = self.singular_values.len();
        (1..m).find(|&rank| self.energy_kept(rank) >= threshold).unwrap_or(m)
    }

    /// The leading `rank` vectors and what they make of the matrix.
    pub(super) fn leading(&self, rank: usize) -> Leading<'_> {
        let vectors = self.vectors.as_ref().subcols(0, rank.min(self.vectors.ncols()));
        let inner = if self.left { vectors.transpose() * &self.matrix } else { &self.matrix * vectors };
        Leading { vectors, inner, left: self.left }
    }
}
