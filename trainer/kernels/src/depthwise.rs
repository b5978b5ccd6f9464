//! The depthwise convolution: one filter a channel, weights `[c, 1, kh, kw]`.

use lrpet_runtime::model::{Shape, Window};

use super::convolution::Convolution;
use super::geometry::Geometry;
use super::isa::Isa;
use super::lanes::whole;
use super::planes::{self, Planes};

/// A depthwise convolution.
#[derive(Clone, Debug)]
pub struct Depthwise {
    geometry: Geometry,
    forward: Planes,
    weights: Planes,
    /// One for each phase of the geometry, with the place where its packed weights begin.
    phases: Vec<(Planes, usize)>,
}

impl Depthwise {
    /// A convolution of each channel of `input`; `None` where the window does not fit it or a size is zero.
    pub fn new(input: Shape, window: &Window) -> Option<Depthwise> {
        let channels = input.channels as usize;
        let geometry = Geometry::new(input, input.channels, window, whole(channels))?;
        let ([oh, ow, _], [kh, kw]) = (geometry.output, geometry.kernel);
        let (frame, slope) = (geometry.input_frame.pitch(), geometry.slope_frame.pitch());
        let forward = Planes {
            taps: [kh, kw],
            tap: frame,
            rows: oh,
            cols: ow,
            input: geometry.windows,
            output: geometry.results(),
            channels,
        };
        let weights = Planes { output: slope, ..forward };
        let mut packed = 0;
        let mut phases = Vec::new();
        for phase in &geometry.phases {
            let planes = Planes {
                taps: [phase.taps[0].len(), phase.taps[1].len()],
                tap: slope,
                rows: phase.rows,
                cols: phase.cols,
                input: slope,
                output: phase.pixels,
                channels,
            };
            phases.push((planes, packed));
            packed += planes.packed_len();
        }
        Some(Depthwise { geometry, forward, weights, phases })
    }

    /// Writes the weights of the kernel's rows and columns `taps` as `[row tap][column tap][whole vectors]`.
    fn pack_taps(&self, taps: [&[usize]; 2], weights: &[f32], packed: &mut [f32]) {
        let ([kh, kw], channels) = (self.geometry.kernel, self.forward.channels);
        let pairs = taps[0].iter().flat_map(|i| taps[1].iter().map(move |j| i * kw + j));
        for (lanes, tap) in packed.chunks_exact_mut(whole(channels)).zip(pairs) {
            let (values, rest) = lanes.split_at_mut(channels);
            for (channel, value) in values.iter_mut().enumerate() {
                *value = weights[channel * kh * kw + tap];
            }
            rest.fill(0.0);
        }
    }
}

impl Convolution for Depthwise {
    #[allow(private_interfaces)]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// c·kh·kw.
    fn weight_len(&self) -> usize {
        self.forward.channels * self.geometry.kernel.iter().product::<usize>()
    }

    fn packed_len(&self) -> usize {
        self.forward.packed_len()
    }

    fn pack(&self, _: Isa, weights: &[f32], packed: &mut [f32]) {
        let [rows, cols] = self.geometry.kernel.map(|size| Vec::from_iter(0..size));
        self.pack_taps([&rows, &cols], weights, packed);
    }

    fn packed_transposed_len(&self) -> usize {
        self.phases.iter().map(|(planes, _)| planes.packed_len()).sum()
    }

    fn pack_transposed(&self, _: Isa, weights: &[f32], packed: &mut [f32]) {
        for (phase, (planes, at)) in self.geometry.phases.iter().zip(&self.phases) {
            let [rows, cols] = &phase.taps;
            self.pack_taps([rows, cols], weights, &mut packed[*at..][..planes.packed_len()]);
        }
    }

    fn unpack(&self, _: Isa, packed: &[f32], gradient: &mut [f32]) {
        let (channels, taps) = (self.forward.channels, self.geometry.kernel.iter().product::<usize>());
        for (tap, lanes) in packed.chunks_exact(whole(channels)).enumerate() {
            for (channel, value) in lanes[..channels].iter().enumerate() {
                gradient[channel * taps + tap] = *value;
            }
        }
    }

    fn forward(&self, isa: Isa, frames: &[f32], packed: &[f32], output: &mut [f32]) {
        let images = output.len() / self.output_len();
        planes::correlate(isa, &self.forward, images, frames, packed, output, false);
    }

    fn input_gradient(
        &self,
        isa: Isa,
        slopes: &[f32],
        packed: &[f32],
        gradient: &mut [f32],
        accumulate: bool,
    ) {
        if !accumulate && self.phases.iter().any(|(planes, _)| planes.packed_len() == 0) {
            gradient.fill(0.0); // some pixels meet no tap
        }
        let images = gradient.len() / self.input_len();
        for (phase, (planes, at)) in self.geometry.phases.iter().zip(&self.phases) {
            let from = &slopes[phase.from.min(slopes.len())..];
            let to = &mut gradient[phase.to..];
            planes::correlate(isa, planes, images, from, &packed[*at..], to, accumulate);
        }
    }

    /// All in one.
    fn slices(&self, _: Isa) -> Vec<usize> {
        vec![self.packed_len()]
    }

    fn weight_gradient(&self, isa: Isa, _: usize, frames: &[f32], slopes: &[f32], gradient: &mut [f32]) {
        let images = slopes.len() / self.geometry.slope_frame.len();
        let slopes = &slopes[self.geometry.first_slope()..];
        planes::correlate_weights(isa, &self.weights, images, frames, slopes, gradient);
    }
}
