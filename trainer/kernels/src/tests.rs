//! The kernels against plain f64 references and finite differences, on random shapes.

use candle_core::{Device, Tensor, Var};
use lrpet_runtime::model::{Activation, Shape, Window};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use super::*;

/// Added to variances.
const EPSILON: f64 = 1e-5;

/// Random geometry: odd sizes, strides and paddings by axis and side.
pub(super) fn geometry() -> impl Strategy<Value = (Shape, u32, Window, usize)> {
    let window = ([1u16..=5, 1u16..=5], [1u16..=3, 1u16..=3], [0u16..=3, 0u16..=3, 0u16..=3, 0u16..=3]);
    let sizes = (1u32..=37, 1u32..=13, 1u32..=15, 1u32..=50);
    (sizes, window, 1usize..=3).prop_filter_map(
        "window larger than image",
        |((c, h, w, n), window, batch)| {
            let window = Window { kernel: window.0, stride: window.1, padding: window.2 };
            window.output(h, w).map(|_| (Shape::new(c, h, w), n, window, batch))
        },
    )
}

pub(super) fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// What a convolution connects: calls `f(output index, input index, weight index)` for every product of one image.
fn for_each_product(input: Shape, n: u32, window: &Window, mut f: impl FnMut(usize, usize, usize)) {
    let (oh, ow) = window.output(input.height, input.width).unwrap();
    let [h, w, c] = [input.height, input.width, input.channels].map(|size| size as usize);
    let [oh, ow, n] = [oh, ow, n].map(|size| size as usize);
    let [kh, kw] = window.kernel.map(usize::from);
    for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
        for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
            let row = (oy * usize::from(window.stride[0]) + i).checked_sub(usize::from(window.padding[0]));
            let col = (ox * usize::from(window.stride[1]) + j).checked_sub(usize::from(window.padding[1]));
            let (Some(row), Some(col)) = (row, col) else { continue };
            if row >= h || col >= w {
                continue;
            }
            for (m, within) in (0..n).flat_map(|m| (0..c).map(move |within| (m, within))) {
                f((oy * ow + ox) * n + m, (row * w + col) * c + within, ((m * c + within) * kh + i) * kw + j);
            }
        }
    }
}

/// A sum of products in f64 with the sum of their magnitudes, from which the error bound follows.
#[derive(Clone, Copy, Default)]
struct Exact {
    value: f64,
    magnitude: f64,
    terms: f64,
}

impl Exact {
    fn add(&mut self, a: f32, b: f32) {
        let product = f64::from(a) * f64::from(b);
        self.value += product;
        self.magnitude += product.abs();
        self.terms += 1.0;
    }

    /// |computed − exact| ≤ terms·ε·Σ|products| (Higham, Accuracy and Stability, section 3.1), with one rounding more
    /// for kernels without a fused multiply-add.
    fn check(&self, computed: f32, what: &str) -> Result<(), TestCaseError> {
        let bound = (self.terms + 2.0) * f64::from(f32::EPSILON) * self.magnitude;
        let error = (f64::from(computed) - self.value).abs();
        prop_assert!(error <= bound, "{what}: {computed} for {}, error {error:e} over {bound:e}", self.value);
        Ok(())
    }
}

/// A batch through `conv` and both its gradients on every instruction set against sums in f64; `products` calls its
/// argument as [`for_each_product`] does.
fn check_convolution(
    conv: &(impl Convolution + Clone + 'static),
    batch: usize,
    seed: u64,
    products: impl Fn(&mut dyn FnMut(usize, usize, usize)),
) -> Result<(), TestCaseError> {
    let (x_len, y_len) = (conv.input_len(), conv.output_len());
    let x = random(batch * x_len, seed);
    let dy = random(batch * y_len, seed ^ 1);
    let w = random(conv.weight_len(), seed ^ 2);
    let held = random(batch * x_len, seed ^ 3);
    let mut exact_y = vec![Exact::default(); y_len * batch];
    let mut exact_dx = vec![Exact::default(); x_len * batch];
    let mut exact_dw = vec![Exact::default(); w.len()];
    for image in 0..batch {
        products(&mut |y, xi, wi| {
            let (y, xi) = (image * y_len + y, image * x_len + xi);
            exact_y[y].add(x[xi], w[wi]);
            exact_dx[xi].add(dy[y], w[wi]);
            exact_dw[wi].add(x[xi], dy[y]);
        });
    }
    for isa in Isa::available() {
        let op = ConvNorm::new(conv.clone(), Activation::None, EPSILON, isa);
        let mut y = vec![f32::NAN; batch * y_len];
        op.convolve(&x, &w, &mut y);
        for (exact, y) in exact_y.iter().zip(&y) {
            exact.check(*y, "forward")?;
        }
        let slope = |image: usize, to: &mut [f32]| to.copy_from_slice(&dy[image * y_len..][..y_len]);
        let mut dx = vec![f32::NAN; batch * x_len];
        let dw = op.convolution_gradients(&x, &w, slope, InputGradient::Write(&mut dx), &mut Vec::new());
        for (exact, dx) in exact_dx.iter().zip(&dx) {
            exact.check(*dx, "input gradient")?;
        }
        for (exact, dw) in exact_dw.iter().zip(&dw) {
            exact.check(*dw, "weight gradient")?;
        }
        let mut added = held.clone();
        op.convolution_gradients(&x, &w, slope, InputGradient::Add(&mut added), &mut Vec::new());
        for ((exact, added), held) in exact_dx.iter().zip(&added).zip(&held) {
            let mut exact = *exact;
            exact.add(*held, 1.0);
            exact.check(*added, "added input gradient")?;
        }
    }
    Ok(())
}

/// With so many weights that a batch shares one gradient, several images at a time.
#[test]
fn wide_convolutions_match_f64() {
    let (input, n) = (Shape::new(120, 4, 3), 140);
    for window in [Window::square(3, 1, 1), Window { kernel: [3, 4], stride: [2, 1], padding: [0, 1, 1, 2] }]
    {
        let conv = Conv::new(input, n, &window).unwrap();
        assert!(conv.packed_len() >= super::gradients::WIDE);
        check_convolution(&conv, 7, 11, |f| for_each_product(input, n, &window, f)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution_and_gradients_match_f64((input, n, window, batch) in geometry(), seed: u64) {
        let conv = Conv::new(input, n, &window).unwrap();
        check_convolution(&conv, batch, seed, |f| for_each_product(input, n, &window, f))?;
    }

    /// One channel at a time is a dense convolution of one channel.
    #[test]
    fn depthwise_convolution_matches_f64((input, _, window, batch) in geometry(), seed: u64) {
        let conv = Depthwise::new(input, &window).unwrap();
        let (c, taps) = (input.channels as usize, window.taps() as usize);
        check_convolution(&conv, batch, seed, |f| {
            let plane = Shape { channels: 1, ..input };
            for_each_product(plane, 1, &window, |y, x, w| {
                for channel in 0..c {
                    f(y * c + channel, x * c + channel, channel * taps + w);
                }
            });
        })?;
    }

}

/// A channels-last batch as a candle variable, channels first, in f64.
fn wide_var(values: &[f32], [h, w, c]: [usize; 3]) -> Var {
    let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    let batch = values.len() / (h * w * c);
    let last = Tensor::from_vec(values, (batch, h, w, c), &Device::Cpu).unwrap();
    Var::from_tensor(&last.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()).unwrap()
}

/// The values of a channels-first tensor, channels last where it is a batch of feature maps.
fn plain(tensor: &Tensor, maps: bool) -> Vec<f64> {
    let tensor = if maps { tensor.permute((0, 2, 3, 1)).unwrap() } else { tensor.clone() };
    tensor.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, relative to the largest value.
fn difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(1e-3, |most: f64, value| most.max(value.abs()));
    let error = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs());
    error.fold(0.0, |most: f64, value| if value.is_nan() { f64::INFINITY } else { most.max(value) }) / largest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The fused operation against candle's own operations and gradients in f64.
    #[test]
    fn fused_normalisation_matches_candle(
        (input, n, window, batch) in geometry(), seed: u64, with_residual: bool,
        act in prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)],
    ) {
        let conv = Conv::new(input, n, &window).unwrap();
        let output = conv.output();
        // With very few values a variance near zero amplifies every rounding.
        prop_assume!(batch * output[0] * output[1] >= 8);
        let sizes = [input.height, input.width, input.channels].map(|size| size as usize);
        let (y_len, n) = (batch * conv.output_len(), n as usize);
        let x = random(batch * conv.input_len(), seed);
        let w = random(conv.weight_len(), seed ^ 1);
        let gamma: Vec<f32> = random(n, seed ^ 2).iter().map(|value| 3.0 * value).collect();
        let beta = random(n, seed ^ 3);
        let residual = random(y_len, seed ^ 4);
        let dz = random(y_len, seed ^ 5);

        let (vx, vr, slope) = (wide_var(&x, sizes), wide_var(&residual, output), wide_var(&dz, output));
        let [kh, kw] = window.kernel.map(usize::from);
        let narrow = Tensor::from_slice(&w, (n, sizes[2], kh, kw), &Device::Cpu).unwrap();
        let vw = Var::from_tensor(&narrow.to_dtype(candle_core::DType::F64).unwrap()).unwrap();
        let per_channel = |values: &[f32]| {
            let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            Var::from_tensor(&Tensor::from_vec(values, (1, n, 1, 1), &Device::Cpu).unwrap()).unwrap()
        };
        let (vg, vb) = (per_channel(&gamma), per_channel(&beta));
        let [top, left, bottom, right] = window.padding.map(usize::from);
        let padded = vx.pad_with_zeros(2, top, bottom).unwrap().pad_with_zeros(3, left, right).unwrap();
        let full = padded.conv2d(&vw, 0, 1, 1, 1).unwrap();
        let every = |axis: usize| {
            let size = full.dim(axis).unwrap() as u32;
            Tensor::arange_step(0u32, size, u32::from(window.stride[axis - 2]), &Device::Cpu).unwrap()
        };
        let vy = full.index_select(&every(2), 2).unwrap().index_select(&every(3), 3).unwrap();
        let mean = vy.mean_keepdim((0, 2, 3)).unwrap();
        let centred = vy.broadcast_sub(&mean).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap();
        let scale = (&variance + EPSILON).unwrap().sqrt().unwrap().recip().unwrap();
        let hat = centred.broadcast_mul(&scale).unwrap();
        let before = hat.broadcast_mul(&vg).unwrap().broadcast_add(&vb).unwrap();
        let before = if with_residual { (before + vr.as_tensor()).unwrap() } else { before };
        // A value within rounding of a kink may fall on either side: such draws say nothing.
        let near = |kink: f64| {
            let distance = (&before - kink).unwrap().abs().unwrap().min_all().unwrap();
            act != Activation::None && distance.to_scalar::<f64>().unwrap() < 1e-4
        };
        prop_assume!(!near(0.0) && (act == Activation::Relu || !near(6.0)));
        let vz = match act {
            Activation::None => before,
            Activation::Relu => before.relu().unwrap(),
            Activation::Relu6 => before.clamp(0f64, 6f64).unwrap(),
            other => panic!("not drawn: {other:?}"),
        };
        let back = vz.mul(slope.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();

        for isa in Isa::available() {
            let op = ConvNorm::new(conv.clone(), act, EPSILON, isa);
            let (mut y, mut z) = (vec![f32::NAN; y_len], vec![f32::NAN; y_len]);
            let moments = op.convolve(&x, &w, &mut y);
            let residual = with_residual.then_some(residual.as_slice());
            op.normalise(&y, &moments, &gamma, &beta, residual, &mut z);
            prop_assert!(difference(&z, &plain(&vz, true)) < 2e-5, "result");
            let variance: Vec<f32> = moments.variance.iter().map(|value| *value as f32).collect();
            prop_assert!(difference(&variance, &plain(&plain_variance(&vy), false)) < 1e-5, "variance");

            let affine = |channel: usize| {
                let scale = f64::from(gamma[channel]) / (moments.variance[channel] + EPSILON).sqrt();
                (scale as f32, (f64::from(beta[channel]) - moments.mean[channel] * scale) as f32)
            };
            let (scale, shift): (Vec<f32>, Vec<f32>) = (0..n).map(affine).unzip();
            let mut inferred = vec![f32::NAN; y_len];
            op.infer(&x, &w, &scale, &shift, residual, &mut inferred);
            prop_assert!(difference(&inferred, &plain(&vz, true)) < 2e-5, "inference");

            let mut dz = dz.clone();
            let mut dx = vec![f32::NAN; x.len()];
            let past = Past { x: &x, y: &y, z: &z, moments: &moments, residual: with_residual };
            let found = op.backward(
                &past, &w, &gamma, &beta, &mut dz, InputGradient::Write(&mut dx), &mut Vec::new(),
            );
            let gradient = |var: &Var, maps| plain(back.get(var).unwrap(), maps);
            // 1/√variance amplifies the rounding of y.
            let least = moments.variance.iter().fold(1.0f64, |least, value| least.min(*value));
            let bound = 5e-5 / (least + EPSILON).sqrt();
            prop_assert!(difference(&found.beta, &gradient(&vb, false)) < bound, "β");
            prop_assert!(difference(&found.gamma, &gradient(&vg, false)) < bound, "γ");
            prop_assert!(difference(&dx, &gradient(&vx, true)) < bound, "input");
            prop_assert!(difference(&found.weight, &gradient(&vw, false)) < bound, "weight");
            if with_residual {
                prop_assert!(difference(&dz, &gradient(&vr, true)) < bound, "residual");
            }
        }
    }
}

/// Biased variance of each channel of a channels-first batch.
fn plain_variance(y: &Tensor) -> Tensor {
    let mean = y.mean_keepdim((0, 2, 3)).unwrap();
    y.broadcast_sub(&mean).unwrap().sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap()
}

#[test]
fn moments_survive_a_large_mean() {
    let conv = Conv::new(Shape::new(1, 16, 16), 1, &Window::square(1, 1, 0)).unwrap();
    let x: Vec<f32> = random(4 * 256, 7).iter().map(|value| 1000.0 + value).collect();
    let mut y = vec![0.0; x.len()];
    let moments = ConvNorm::new(conv, Activation::None, EPSILON, Isa::best()).convolve(&x, &[1.0], &mut y);
    let mean = x.iter().map(|value| f64::from(*value)).sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / x.len() as f64;
    assert!((moments.mean[0] - mean).abs() < 1e-4);
    assert!((moments.variance[0] / variance - 1.0).abs() < 1e-5);
}

#[test]
fn results_do_not_depend_on_threads() {
    fn check(conv: impl Convolution + 'static) {
        let op = ConvNorm::new(conv, Activation::Relu, EPSILON, Isa::best());
        let (x, w) = (random(37 * op.conv().input_len(), 1), random(op.conv().weight_len(), 2));
        let channels = op.channels();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut y = vec![0.0; 37 * op.conv().output_len()];
                let moments = op.convolve(&x, &w, &mut y);
                let (gamma, beta) = (random(channels, 3), random(channels, 4));
                let past = Past { x: &x, y: &y, z: &y, moments: &moments, residual: false };
                let (mut dz, mut dx) = (random(y.len(), 5), vec![0.0; x.len()]);
                let target = InputGradient::Write(&mut dx);
                let found = op.backward(&past, &w, &gamma, &beta, &mut dz, target, &mut Vec::new());
                (dx, found.weight, found.gamma, moments.mean.clone())
            })
        };
        let once = run(1);
        assert!((2..=5).all(|threads| run(threads) == once));
    }
    check(Conv::new(Shape::new(16, 9, 11), 24, &Window::square(3, 2, 1)).unwrap());
    check(Conv::new(Shape::new(128, 3, 2), 128, &Window::square(3, 1, 1)).unwrap());
    check(Depthwise::new(Shape::new(40, 7, 6), &Window::square(3, 2, 1)).unwrap());
}
