//! Builds a network layer by layer.

use lrpet_runtime::model::{
    Activation, Concat, Conv, Inputs, Linear, Op, PadShortcut, Pool, PoolKind, Shape, Value, Weights, Window,
};

use super::{Layer, Network, Norm};

/// Collects layers; each method returns the value that its layer makes.
pub(crate) struct Builder {
    layers: Vec<Layer>,
    /// Shapes of the values so far; [`NOTHING`] for an empty image, and for the result of a layer that does not take its
    /// input.
    shapes: Vec<Shape>,
}

/// The shape of what cannot be.
const NOTHING: Shape = Shape::new(0, 0, 0);

impl Builder {
    pub(crate) fn new(input: Shape) -> Self {
        Self { layers: Vec::new(), shapes: vec![if input.is_empty() { NOTHING } else { input }] }
    }

    fn push(&mut self, op: Op<String>, norm: Option<&str>) -> Value {
        let inputs: Vec<Shape> = op.inputs().values().iter().map(|&value| self.shape(value)).collect();
        let output = op.output_shape(inputs[0]).filter(|output| op.joins(*output, &inputs));
        self.shapes.push(output.unwrap_or(NOTHING));
        self.layers.push(match norm {
            Some(norm) => Layer::normalised(op, Norm::new(norm)),
            None => Layer::new(op),
        });
        Value::try_from(self.layers.len()).expect("a network has fewer than 65 536 layers")
    }

    /// Shape of a value.
    fn shape(&self, value: Value) -> Shape {
        self.shapes.get(usize::from(value)).copied().unwrap_or(NOTHING)
    }

    /// Convolution, batch normalisation, residual, activation.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn conv(
        &mut self,
        name: &str,
        norm: &str,
        input: Value,
        out_channels: u32,
        window: Window,
        residual: Option<Value>,
        activation: Activation,
    ) -> Value {
        let conv = Conv {
            name: name.to_owned(),
            input,
            out_channels,
            window,
            weights: Weights::Dense,
            residual,
            activation,
        };
        self.push(Op::Conv(conv), Some(norm))
    }

    /// Convolution of each channel by a filter of its own, batch normalisation, activation.
    pub(crate) fn depthwise(
        &mut self,
        name: &str,
        norm: &str,
        input: Value,
        window: Window,
        activation: Activation,
    ) -> Value {
        let conv = Conv {
            name: name.to_owned(),
            input,
            out_channels: self.shape(input).channels,
            window,
            weights: Weights::Depthwise,
            residual: None,
            activation,
        };
        self.push(Op::Conv(conv), Some(norm))
    }

    pub(crate) fn max_pool(&mut self, input: Value, window: Window) -> Value {
        self.push(Op::Pool(Pool { input, kind: PoolKind::Max, window }), None)
    }

    pub(crate) fn pad_shortcut(&mut self, input: Value, out_channels: u32, stride: u16) -> Value {
        self.push(Op::PadShortcut(PadShortcut { input, out_channels, stride }), None)
    }

    /// Joins the channels of up to four values.
    pub(crate) fn concat(&mut self, values: &[Value]) -> Value {
        let inputs = Inputs::new(values).expect("1 to 4 values");
        let out_channels = values.iter().map(|&value| self.shape(value).channels).sum();
        self.push(Op::Concat(Concat { inputs, out_channels }), None)
    }

    pub(crate) fn global_average_pool(&mut self, input: Value) -> Value {
        self.push(Op::GlobalAveragePool { input }, None)
    }

    pub(crate) fn linear(&mut self, name: &str, input: Value, out_features: u32) -> Value {
        let linear = Linear {
            name: name.to_owned(),
            input,
            out_features,
            weights: Weights::Dense,
            activation: Activation::None,
        };
        self.push(Op::Linear(linear), None)
    }

    /// The window over `input` with padding [`same`].
    pub(crate) fn same(&self, input: Value, kernel: [u16; 2], stride: [u16; 2]) -> Window {
        same(self.shape(input), kernel, stride)
    }

    /// The network; `None` where its layers do not chain, as for an image that is too small.
    pub(crate) fn finish(self, name: &str, classes: u32) -> Option<Network> {
        let (input, chains) = (self.shapes[0], !self.shapes.contains(&NOTHING));
        chains.then(|| Network::new(name, input, classes, self.layers))
    }
}

/// The window over `input` with TensorFlow's padding `SAME`: ceil(size / stride) outputs on each axis, the padding
/// split evenly, an odd pixel of it at the bottom or right.
pub(super) fn same(input: Shape, kernel: [u16; 2], stride: [u16; 2]) -> Window {
    let Shape { height, width, .. } = input;
    let axis = |size: u32, kernel: u16, stride: u16| {
        let outputs = size.div_ceil(u32::from(stride));
        let covered = outputs.saturating_sub(1) * u32::from(stride) + u32::from(kernel);
        // Less than the kernel, which is a u16.
        let padding = covered.saturating_sub(size) as u16;
        (padding / 2, padding - padding / 2)
    };
    let (top, bottom) = axis(height, kernel[0], stride[0]);
    let (left, right) = axis(width, kernel[1], stride[1]);
    Window { kernel, stride, padding: [top, left, bottom, right] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_tensorflows() {
        let padding = |[h, w]: [u32; 2], kernel, stride| {
            let net = Builder::new(Shape::new(1, h, w));
            let window = net.same(0, kernel, stride);
            assert_eq!(
                window.output(h, w),
                Some((h.div_ceil(u32::from(stride[0])), w.div_ceil(u32::from(stride[1]))))
            );
            window.padding
        };
        assert_eq!(padding([96, 96], [3, 3], [2, 2]), [0, 0, 1, 1]);
        assert_eq!(padding([97, 96], [3, 3], [2, 2]), [1, 0, 1, 1]);
        assert_eq!(padding([49, 10], [10, 4], [2, 2]), [4, 1, 5, 1]);
        assert_eq!(padding([7, 5], [3, 3], [1, 1]), [1, 1, 1, 1]);
        assert_eq!(padding([8, 8], [1, 1], [2, 2]), [0; 4]);
    }

    #[test]
    fn what_does_not_chain_is_no_network() {
        let mut net = Builder::new(Shape::new(1, 4, 4));
        let small = net.max_pool(0, Window::square(2, 2, 0));
        let joined = net.concat(&[0, small]);
        let pooled = net.global_average_pool(joined);
        net.linear("fc", pooled, 2);
        assert!(net.finish("joins two sizes", 2).is_none());
    }
}
