//! Speed of the convolutions of CIFAR ResNets and of wide networks, forward and backward, in GMAC/s over all threads.
//!
//! `cargo run --release -p lrpet-kernels --example conv_speed`

use std::time::Instant;

use lrpet_kernels::{Conv, ConvNorm, Convolution, InputGradient, Isa, Past};
use lrpet_runtime::model::{Activation, Shape, Window};

const BATCH: usize = 128;

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn best(mut f: impl FnMut()) -> f64 {
    (0..7).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        f();
        best.min(start.elapsed().as_secs_f64())
    })
}

fn main() {
    println!("threads {}, {:?}", rayon_threads(), Isa::best());
    println!("{:>22} {:>9} {:>9} {:>9} {:>9}  GMAC/s", "layer", "conv", "conv+norm", "backward", "ms all");
    for (c, n, size, kernel, stride) in [
        (3, 16, 32, 3, 1),
        (16, 16, 32, 3, 1),
        (16, 32, 32, 3, 2),
        (16, 32, 32, 1, 2),
        (32, 32, 16, 3, 1),
        (32, 64, 16, 3, 2),
        (64, 64, 8, 3, 1),
        (16, 16, 28, 3, 1),
        (64, 64, 32, 3, 1),
        (128, 128, 16, 3, 1),
        (256, 256, 8, 3, 1),
        (512, 512, 4, 3, 1),
        (512, 512, 2, 3, 1),
        (192, 64, 32, 1, 1),
        (480, 192, 16, 1, 1),
        (832, 384, 8, 1, 1),
        (16, 96, 32, 1, 1),
        (160, 960, 7, 1, 1),
    ] {
        let window = Window::square(kernel, stride, kernel / 2);
        let conv = Conv::new(Shape::new(c, size, size), n, &window).expect("the window fits");
        let macs = (BATCH * conv.output_len() * (conv.weight_len() / n as usize)) as f64;
        let op = ConvNorm::new(conv, Activation::Relu, 1e-5, Isa::best());
        let fill =
            |len: usize| (0..len).map(|i| ((i * 7919 % 1009) as f32) / 500.0 - 1.0).collect::<Vec<_>>();
        let (x, w) = (fill(BATCH * op.conv().input_len()), fill(op.conv().weight_len()));
        let (gamma, beta) = (vec![1.0; n as usize], vec![0.0; n as usize]);
        let mut y = fill(BATCH * op.conv().output_len());
        let (mut z, mut dz, mut dx) = (y.clone(), y.clone(), x.clone());
        let mut moments = op.convolve(&x, &w, &mut y);
        let forward = best(|| moments = op.convolve(&x, &w, &mut y));
        let normalise = best(|| op.normalise(&y, &moments, &gamma, &beta, None, &mut z));
        let mut partial = Vec::new();
        let past = Past { x: &x, y: &y, z: &z, moments: &moments, residual: false };
        let backward = best(|| {
            let dx = if c == 3 { InputGradient::Skip } else { InputGradient::Write(&mut dx) };
            op.backward(&past, &w, &gamma, &beta, &mut dz, dx, &mut partial);
        });
        let products = if c == 3 { 1.0 } else { 2.0 };
        println!(
            "{:>22} {:9.1} {:9.1} {:9.1} {:9.2}",
            format!("{c}→{n} {kernel}×{kernel}/{stride} {size}²"),
            macs / forward / 1e9,
            macs / (forward + normalise) / 1e9,
            products * macs / backward / 1e9,
            (forward + normalise + backward) * 1e3,
        );
    }
}

fn rayon_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
