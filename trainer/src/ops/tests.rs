//! The kernels against plain f64 references and finite differences, on random shapes.

use candle_core::{Device, Tensor, Var};
use lrpet_runtime::model::{Activation, Shape, Window};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};

use super::*;

/// Random geometry: odd sizes, strides and paddings by axis and side.
fn geometry() -> impl Strategy<Value = (Shape, u32, Window, usize)> {
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

fn random(len: usize, seed: u64) -> Vec<f32> {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution_and_gradients_match_f64((input, n, window, batch) in geometry(), seed: u64) {
        let conv = Conv::new(input, n, &window).unwrap();
        let (x_len, y_len) = (conv.input_len(), conv.output_len());
        let x = random(batch * x_len, seed);
        let dy = random(batch * y_len, seed ^ 1);
        let w = random(conv.weight_len(), seed ^ 2);
        let held = random(batch * x_len, seed ^ 3);
        let mut exact_y = vec![Exact::default(); y_len * batch];
        let mut exact_dx = vec![Exact::default(); x_len * batch];
        let mut exact_dw = vec![Exact::default(); w.len()];
        for image in 0..batch {
            for_each_product(input, n, &window, |y, xi, wi| {
                let (y, xi) = (image * y_len + y, image * x_len + xi);
                exact_y[y].add(x[xi], w[wi]);
                exact_dx[xi].add(dy[y], w[wi]);
                exact_dw[wi].add(x[xi], dy[y]);
            });
        }
        for isa in Isa::available() {
            let op = ConvNorm::new(conv.clone(), Activation::None, isa);
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
    }

    #[test]
    fn candle_operation_matches_candle((input, n, window, batch) in geometry(), seed: u64) {
        let device = Device::Cpu;
        let shape = (batch, input.channels as usize, input.height as usize, input.width as usize);
        let x = random(batch * input.len(), seed);
        let x = Var::from_tensor(&Tensor::from_vec(x, shape, &device).unwrap()).unwrap();
        let [kh, kw] = window.kernel.map(usize::from);
        let w = random(n as usize * shape.1 * kh * kw, seed ^ 1);
        let w = Var::from_tensor(&Tensor::from_vec(w, (n as usize, shape.1, kh, kw), &device).unwrap()).unwrap();
        let ours = conv2d(&x, &w, &window).unwrap();
        // candle: stride 1 on explicitly padded f64 values, then every stride-th row and column.
        let [top, left, bottom, right] = window.padding.map(usize::from);
        let wide = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap();
        let padded = wide(&x).pad_with_zeros(2, top, bottom).unwrap().pad_with_zeros(3, left, right).unwrap();
        let full = padded.conv2d(&wide(&w), 0, 1, 1, 1).unwrap();
        let every = |axis: usize| {
            let size = full.dim(axis).unwrap() as u32;
            Tensor::arange_step(0u32, size, u32::from(window.stride[axis - 2]), &device).unwrap()
        };
        let theirs = full.index_select(&every(2), 2).unwrap().index_select(&every(3), 3).unwrap();
        prop_assert_eq!(ours.dims(), theirs.dims());
        let slope = Tensor::from_vec(random(ours.elem_count(), seed ^ 2), ours.shape(), &device).unwrap();
        let ours_back = (&ours * &slope).unwrap().sum_all().unwrap().backward().unwrap();
        let theirs_back = (&theirs * &wide(&slope)).unwrap().sum_all().unwrap().backward().unwrap();
        for (ours, theirs) in [
            (&ours, &theirs),
            (ours_back.get(&x).unwrap(), theirs_back.get(&x).unwrap()),
            (ours_back.get(&w).unwrap(), theirs_back.get(&w).unwrap()),
        ] {
            let largest = wide(theirs).abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            let error = (wide(ours) - wide(theirs)).unwrap().abs().unwrap().max_all().unwrap();
            prop_assert!(error.to_scalar::<f64>().unwrap() <= 1e-5 * (1.0 + largest));
        }
    }
}
