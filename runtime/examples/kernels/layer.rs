//! A convolution with weights and buffers of its own.

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::{
    self, Arithmetic, Buffers, Isa, Layer, LayerWeights, Method, Output, PackedConv, Planes, Second,
    WeightMatrix,
};
use lrpet_runtime::model::{Activation, Conv, Op, Shape, Weights, Window};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cases::{Case, Workload};

/// One operation.
struct Owned {
    isa: Isa,
    input: Shape,
    output: Shape,
    window: Window,
    stored: Weights,
    /// Dense or thin weights.
    first: Vec<u16>,
    /// A pair's second half.
    expand: Vec<u16>,
    bias: Vec<f32>,
    activation: Activation,
    packed: Option<PackedConv>,
    result: AlignedBytes,
    scratch: AlignedBytes,
}

/// Operations behind each other.
pub struct Chain {
    input: Vec<u16>,
    layers: Vec<Owned>,
}

/// Random f16 bits between −1 and 1.
fn random(rng: &mut ChaCha8Rng, count: usize) -> Vec<u16> {
    (0..count).map(|_| half::f16::from_f32(rng.random_range(-1.0..1.0)).to_bits()).collect()
}

impl Owned {
    fn new(
        rng: &mut ChaCha8Rng,
        isa: Isa,
        input: Shape,
        n: u32,
        window: Window,
        stored: Weights,
    ) -> Option<Owned> {
        let (height, width) = window.output(input.height, input.width)?;
        let output = Shape::new(n, height, width);
        let columns = input.channels as usize * window.taps() as usize;
        let (first, expand) = match stored {
            Weights::Dense => (n as usize * columns, 0),
            Weights::Depthwise => (n as usize * window.taps() as usize, 0),
            Weights::Pair { rank } => (rank as usize * columns, n as usize * rank as usize),
        };
        let activation = Activation::Relu;
        let conv =
            Conv { name: "", input: 0, out_channels: n, window, weights: stored, residual: None, activation };
        let scratch = kernel::scratch(isa, &Op::Conv(conv), input);
        Some(Owned {
            isa,
            input,
            output,
            window,
            stored,
            first: random(rng, first),
            expand: random(rng, expand),
            bias: vec![0.0; n as usize],
            activation,
            packed: None,
            result: AlignedBytes::zeroed(output.len() * 2),
            scratch: AlignedBytes::zeroed(scratch * 4),
        })
    }

    fn layer(&self) -> Layer<'_> {
        Layer::Conv {
            input: self.input,
            output: self.output,
            window: self.window,
            weights: match self.stored {
                Weights::Dense => LayerWeights::Dense(WeightMatrix::Half(&self.first)),
                Weights::Depthwise => LayerWeights::Depthwise(&self.first),
                Weights::Pair { rank } => LayerWeights::Pair {
                    thin: WeightMatrix::Half(&self.first),
                    expand: WeightMatrix::Half(&self.expand),
                    rank: rank as usize,
                },
            },
            bias: &self.bias,
            activation: self.activation,
        }
    }

    /// Packs the weights; `None` where there is no such method.
    fn pack(&mut self, method: Method) -> Option<()> {
        let packed = PackedConv::new(self.isa, Arithmetic::F32, method, &self.layer())?;
        if let Method::Tiles(tile) = method {
            packed.tile().filter(|found| *found == tile)?;
        }
        let scratch = self.scratch.as_slice().len().max(packed.scratch() * 4);
        (self.scratch, self.packed) = (AlignedBytes::zeroed(scratch), Some(packed));
        Some(())
    }

    fn run(&mut self, input: &[u16]) {
        let Owned { result, scratch, .. } = self;
        let mut result = std::mem::replace(result, AlignedBytes::zeroed(0));
        let mut scratch = std::mem::replace(scratch, AlignedBytes::zeroed(0));
        let mut buffers = Buffers {
            planes: Planes::default(),
            input,
            second: Second::None,
            output: Output::Half(bytemuck::cast_slice_mut(result.as_mut_slice())),
            scratch: bytemuck::cast_slice_mut(scratch.as_mut_slice()),
        };
        match &self.packed {
            Some(packed) => {
                assert!(kernel::run_packed(self.isa, packed, &mut buffers, None), "packed for this machine")
            }
            None => kernel::run(self.isa, &self.layer(), buffers),
        }
        (self.result, self.scratch) = (result, scratch);
    }
}

impl Chain {
    /// What computes `workload`; `None` where there is no such variant.
    pub fn new(
        case: &Case,
        workload: Workload,
        isa: Isa,
        separate: bool,
        packed: Option<Method>,
    ) -> Option<Chain> {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (input, n, window) = (case.input, case.out_channels, case.window);
        let mut layers = match (workload, separate) {
            (Workload::Dense, false) => vec![Owned::new(rng, isa, input, n, window, Weights::Dense)?],
            (Workload::Depthwise, false) => vec![Owned::new(rng, isa, input, n, window, Weights::Depthwise)?],
            (Workload::Pair { rank, .. }, false) => {
                vec![Owned::new(rng, isa, input, n, window, Weights::Pair { rank })?]
            }
            (Workload::Pair { rank, .. }, true) => {
                let mut thin = Owned::new(rng, isa, input, rank, window, Weights::Dense)?;
                thin.activation = Activation::None;
                let expand = Owned::new(rng, isa, thin.output, n, Window::square(1, 1, 0), Weights::Dense)?;
                vec![thin, expand]
            }
            (Workload::Dense | Workload::Depthwise, true) => return None,
        };
        if let Some(method) = packed {
            layers.iter_mut().try_for_each(|layer| layer.pack(method))?;
        }
        Some(Chain { input: random(rng, input.len()), layers })
    }

    /// Executes all operations.
    pub fn run(&mut self) {
        let mut done: &[Owned] = &[];
        let mut rest = &mut self.layers[..];
        while let Some((layer, behind)) = rest.split_first_mut() {
            let input = match done {
                [.., last] => bytemuck::cast_slice(last.result.as_slice()),
                [] => &self.input,
            };
            layer.run(input);
            done = std::slice::from_ref(layer);
            rest = behind;
        }
    }

    /// Result of the last execution, f16 bits.
    pub fn result(&self) -> &[u8] {
        self.layers.last().map_or(&[], |layer| layer.result.as_slice())
    }
}
