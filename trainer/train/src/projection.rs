//! The projection with its two large products on the training device: the Gram matrix, and U·Uᵀ·M̃.
//!
//! Only the Gram matrices (m × m) come to the host, all in one transfer, and one matrix K of that size a layer goes back:
//! K = ρ·I + (a − ρ)·U_r·U_rᵀ, so that M̃' = K·M̃ (or M̃·K where the right side is the smaller). In f64 throughout, as
//! [`lrpet_network::lrpet::project`].

use candle_core::{DType, Tensor};
use faer::{Mat, Side};
use rayon::prelude::*;

use lrpet_network::lrpet::LrpetError;
use lrpet_network::lrpet::projection::{BACK_EPSILON, Options, Projection, SMALLEST_LEADING_VALUE};

/// A layer's weight on a device.
#[derive(Debug)]
pub struct DeviceLayer<'a> {
    /// Name of the layer, for errors and reports.
    pub name: &'a str,
    /// The weight, `[n, …]`.
    pub weight: Tensor,
    /// γ and running variance σ² of the batch normalisation that follows, `[n]` each, and its ε; none where none follows.
    pub norm: Option<(Tensor, Tensor, f64)>,
    /// Rank to project to; at most min(n, c·kh·kw).
    pub rank: usize,
}

/// Why a projection on a device failed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceProjectionError {
    /// A layer cannot be projected.
    #[error(transparent)]
    Layer(#[from] LrpetError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] candle_core::Error),
}

/// A layer's matrices on the device, f64.
struct Prepared {
    /// M̃.
    matrix: Tensor,
    /// α as a column, where the weight is rectified.
    alpha: Option<Tensor>,
    /// True where rows ≤ columns, so that the Gram matrix is M̃·M̃ᵀ.
    left: bool,
    /// The Gram matrix.
    gram: Tensor,
}

/// Projects every layer: the new weights, of the old shapes, or none where a layer is left alone.
///
/// # Errors
/// Those of [`lrpet_network::lrpet::project`], of the first layer that fails; candle's, where the device fails.
pub fn project_on_device(
    layers: &[DeviceLayer<'_>],
    options: &Options,
) -> Result<Vec<(Option<Tensor>, Projection)>, DeviceProjectionError> {
    let Some(first) = layers.first() else { return Ok(Vec::new()) };
    let device = first.weight.device().clone();
    let prepared: Vec<Prepared> =
        layers.iter().map(|layer| prepare(layer, options)).collect::<candle_core::Result<_>>()?;
    let mut parts = Vec::with_capacity(2 * prepared.len());
    for layer in &prepared {
        parts.push(layer.gram.flatten_all()?);
        // Its sum is finite where all of it is.
        parts.push(match &layer.alpha {
            Some(alpha) => alpha.sum_all()?.reshape(1)?,
            None => Tensor::zeros(1, DType::F64, &device)?,
        });
    }
    let values: Vec<f64> = Tensor::cat(&parts, 0)?.to_vec1()?;
    let mut rest = values.as_slice();
    let mut grams = Vec::with_capacity(layers.len());
    for layer in &prepared {
        let m = layer.gram.dim(0)?;
        let (gram, after) = rest.split_at(m * m);
        grams.push((m, gram, after[0]));
        rest = &after[1..];
    }
    // Collected before the first error is looked for, so that it is the same error whatever the threads do.
    let found: Vec<_> = (layers.par_iter().zip(grams))
        .map(|(layer, (m, gram, alpha))| solve(layer, m, gram, alpha, options))
        .collect();
    let found = found.into_iter().collect::<Result<Vec<_>, LrpetError>>()?;
    let uploaded: Vec<f64> = found.iter().flat_map(|(factor, _)| factor).flatten().copied().collect();
    let count = uploaded.len();
    let uploaded = Tensor::from_vec(uploaded, count, &device)?;
    let mut start = 0;
    let mut results = Vec::with_capacity(layers.len());
    for ((layer, prepared), (factor, projection)) in layers.iter().zip(&prepared).zip(found) {
        let Some(factor) = factor else {
            results.push((None, projection));
            continue;
        };
        let m = prepared.gram.dim(0)?;
        let factor = uploaded.narrow(0, start, factor.len())?.reshape((m, m))?;
        start += m * m;
        let mut weight = match prepared.left {
            true => factor.matmul(&prepared.matrix)?,
            false => prepared.matrix.matmul(&factor)?,
        };
        if let Some(alpha) = &prepared.alpha {
            weight = weight.broadcast_mul(&alpha.div(&(alpha.sqr()? + BACK_EPSILON)?)?)?;
        }
        results.push((Some(weight.to_dtype(DType::F32)?.reshape(layer.weight.shape())?), projection));
    }
    Ok(results)
}

fn prepare(layer: &DeviceLayer, options: &Options) -> candle_core::Result<Prepared> {
    let rows = layer.weight.dim(0)?;
    let weight = layer.weight.to_dtype(DType::F64)?.reshape((rows, ()))?;
    let alpha = match layer.norm.as_ref().filter(|_| options.rectification) {
        Some((gamma, variance, epsilon)) => {
            let deviation = (variance.to_dtype(DType::F64)? + *epsilon)?.sqrt()?;
            Some(gamma.to_dtype(DType::F64)?.div(&deviation)?.reshape((rows, 1))?)
        }
        None => None,
    };
    let matrix = match &alpha {
        Some(alpha) => weight.broadcast_mul(alpha)?,
        None => weight,
    };
    let left = rows <= matrix.dim(1)?;
    let gram = match left {
        true => matrix.matmul(&matrix.t()?)?,
        false => matrix.t()?.matmul(&matrix)?,
    };
    Ok(Prepared { matrix, alpha, left, gram })
}

/// K, row-major (symmetric), from the Gram matrix; none where the layer is left alone.
fn solve(
    layer: &DeviceLayer,
    m: usize,
    gram: &[f64],
    alpha: f64,
    options: &Options,
) -> Result<(Option<Vec<f64>>, Projection), LrpetError> {
    let not_finite = |what| LrpetError::NotFinite { layer: layer.name.to_owned(), what };
    if !alpha.is_finite() {
        return Err(not_finite("scale of its batch normalisation"));
    }
    if !gram.iter().all(|value| value.is_finite()) {
        return Err(not_finite("weight"));
    }
    let eigen = Mat::from_fn(m, m, |row, column| gram[row * m + column])
        .self_adjoint_eigen(Side::Lower)
        .map_err(|_| LrpetError::NoConvergence { layer: layer.name.to_owned() })?;
    // faer gives eigenvalues in ascending order.
    let energies: Vec<f64> = (0..m).map(|i| eigen.S()[m - 1 - i].max(0.0)).collect();
    let rank = layer.rank.min(m);
    let (energy, kept): (f64, f64) = (energies.iter().sum(), energies[..rank].iter().sum());
    let largest = energies[0].sqrt();
    let energy_kept = if energy == 0.0 { 1.0 } else { (kept / energy).min(1.0) };
    if largest < SMALLEST_LEADING_VALUE {
        return Ok((None, Projection { energy_kept, gain: 1.0, largest, skipped: true }));
    }
    let residual = options.residual;
    let gain = match options.energy_transfer {
        true => ((energy - residual.powi(2) * (energy - kept)) / kept).sqrt(),
        false => 1.0,
    };
    let vectors = eigen.U().subcols(m - rank, rank);
    let projector = vectors * vectors.transpose();
    let factor = (0..m * m).map(|at| {
        let (row, column) = (at / m, at % m);
        let identity = if row == column { residual } else { 0.0 };
        identity + (gain - residual) * projector[(row, column)]
    });
    Ok((Some(factor.collect()), Projection { energy_kept, gain, largest, skipped: false }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::decaying;
    use candle_core::Device;
    use lrpet_network::lrpet::{LayerWeight, bn_scale, project};

    fn tensor(values: &[f32], shape: &[usize], device: &Device) -> Tensor {
        Tensor::from_slice(values, shape, device).unwrap()
    }

    /// Wide, tall, square and tiny layers, with and without normalisation, every option: as on the host.
    #[test]
    fn is_the_projection_of_the_host() {
        let shapes = [
            ([16, 3, 3, 3], 5),
            ([8, 16, 3, 3], 3),
            ([64, 8, 1, 1], 8),
            ([20, 20, 1, 1], 7),
            ([10, 64, 1, 1], 1),
        ];
        for device in crate::cuda::tests::devices() {
            for (case, options) in [
                Options::default(),
                Options { energy_transfer: false, ..Options::default() },
                Options { rectification: false, residual: 0.3, ..Options::default() },
                Options { residual: 0.5, ..Options::default() },
            ]
            .into_iter()
            .enumerate()
            {
                let mut layers = Vec::new();
                let mut expected = Vec::new();
                for (index, (shape, rank)) in shapes.iter().enumerate() {
                    let (rows, columns) = (shape[0], shape[1..].iter().product());
                    let (mut weight, gamma) = decaying(rows, columns, (10 * case + index) as u64);
                    if index == 3 {
                        weight.fill(1e-6);
                    }
                    let gamma: Vec<f32> = gamma.iter().map(|&gamma| gamma as f32).collect();
                    let variance: Vec<f32> = (0..rows).map(|row| 0.2 + row as f32 / 9.0).collect();
                    let epsilon = [1e-5, 1e-3][index % 2];
                    let on = |values: &[f32]| tensor(values, &[rows], &device);
                    let norm = (index != 1).then(|| (on(&gamma), on(&variance), epsilon));
                    let alpha = norm.as_ref().map(|_| bn_scale(&gamma, &variance, epsilon));
                    let on_device = tensor(&weight, shape, &device);
                    layers.push(DeviceLayer { name: "layer", weight: on_device, norm, rank: *rank });
                    let mut layer =
                        LayerWeight { name: "layer", weight: &mut weight, rows, alpha, rank: *rank };
                    let found = project(&mut layer, &options).unwrap();
                    expected.push((weight, found));
                }
                let found = project_on_device(&layers, &options).unwrap();
                for (index, ((found, report), (expected, theirs))) in found.iter().zip(&expected).enumerate()
                {
                    assert_eq!(report.skipped, theirs.skipped);
                    assert_eq!((found.is_none(), index == 3), (report.skipped, report.skipped));
                    assert!((report.energy_kept - theirs.energy_kept).abs() < 1e-9);
                    assert!((report.gain - theirs.gain).abs() < 1e-9);
                    assert!((report.largest / theirs.largest - 1.0).abs() < 1e-9);
                    let Some(found) = found else { continue };
                    assert_eq!(found.dims(), layers[index].weight.dims());
                    let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() <= 2e-6 * largest, "{found} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn broken_layers_are_named() {
        let device = Device::Cpu;
        let layer = |weight: [f32; 4], gamma: f32| DeviceLayer {
            name: "layer2.0.conv1",
            weight: tensor(&weight, &[2, 2], &device),
            norm: Some((tensor(&[gamma; 2], &[2], &device), tensor(&[1.0; 2], &[2], &device), 1e-5)),
            rank: 1,
        };
        for (layer, what) in [
            (layer([1.0, f32::NAN, 1.0, 1.0], 1.0), "weight"),
            (layer([1.0; 4], f32::INFINITY), "normalisation"),
        ] {
            let error = project_on_device(&[layer], &Options::default()).unwrap_err().to_string();
            assert!(error.contains("layer2.0.conv1") && error.contains(what), "{error}");
        }
        assert!(project_on_device(&[], &Options::default()).unwrap().is_empty());
    }
}
