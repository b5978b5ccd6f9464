//! How much an error of a row of weights moves the layer's output.

use faer::{Mat, Side};

/// Share of the inputs' mean variance that is added to each: inputs that hardly vary in the calibration do so on other images.
const DAMPING: f64 = 0.01;

/// Second moments C of the inputs, damped, as L·Lᵀ: an error e of a row moves its output by eᵀ·C·e = |Lᵀ·e|² on average.
#[derive(Debug, Clone)]
pub struct Metric {
    /// The columns of L, lower triangular, each from its diagonal on; `None` stands for the identity.
    columns: Option<Vec<Vec<f64>>>,
}

impl Metric {
    /// All inputs alike and independent: the error of the weights themselves.
    pub fn plain() -> Metric {
        Metric { columns: None }
    }

    /// Of the inputs' second moments (or covariances), damped. Inputs that are all zero count alike.
    pub fn new(moments: &Mat<f64>) -> Metric {
        let n = moments.nrows();
        let mean = (0..n).map(|i| moments[(i, i)]).sum::<f64>() / n.max(1) as f64;
        // Roundings may leave a matrix of low rank a little negative: then more is added.
        let factored = [DAMPING, 10.0 * DAMPING, 1.0].into_iter().find_map(|share| {
            let damped = Mat::from_fn(n, n, |i, j| moments[(i, j)] + if i == j { share * mean } else { 0.0 });
            let usable = mean > 0.0 && mean.is_finite();
            damped.llt(Side::Lower).ok().filter(|_| usable)
        });
        let columns = factored.map(|factored| {
            let lower = factored.L();
            (0..n).map(|j| (j..n).map(|i| lower[(i, j)]).collect()).collect()
        });
        Metric { columns }
    }

    /// Column `j` of L from its diagonal on; `None` of the identity.
    pub fn column(&self, j: usize) -> Option<&[f64]> {
        self.columns.as_ref()?.get(j).map(Vec::as_slice)
    }

    /// |Lᵀ·e|².
    pub fn error(&self, error: &[f64]) -> f64 {
        (0..error.len()).map(|j| self.component(j, &error[j..]).powi(2)).sum()
    }

    /// Element `j` of Lᵀ·e, of the elements of e from `j` on.
    fn component(&self, j: usize, error: &[f64]) -> f64 {
        match self.column(j) {
            Some(column) => column.iter().zip(error).map(|(weight, error)| weight * error).sum(),
            None => error[0],
        }
    }
}
