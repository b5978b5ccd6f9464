//! Which of two operations computes a convolution or a pooling: the first form, of version 1, has the fast kernels.

use lrpet_runtime::model::{Conv, GeneralConv, GeneralPool, Op, Pool, PoolKind, Reduction, Weights, Window};

/// The operation that computes `conv` over an input of `channels` channels: of the first form, where it has no more options.
pub(crate) fn convolution(conv: GeneralConv<String>, channels: u32) -> Op<String> {
    let weights = match conv.groups {
        1 => conv.weights,
        groups if groups == channels && groups == conv.out_channels => Weights::Depthwise,
        _ => return Op::GeneralConv(conv),
    };
    if conv.transposed.is_some() || !is_plain(&conv.window, conv.dilation) {
        return Op::GeneralConv(conv);
    }
    let GeneralConv { name, input, out_channels, window, residual, activation, .. } = conv;
    Op::Conv(Conv { name, input, out_channels, window, weights, residual, activation })
}

/// The operation that computes `pool`: of the first form, where it has no more options.
pub(crate) fn pooling(pool: GeneralPool) -> Op<String> {
    let kind = match pool.kind {
        Reduction::Max => PoolKind::Max,
        Reduction::Mean => PoolKind::Average,
        Reduction::Sum => return Op::GeneralPool(pool),
    };
    if pool.counted != [0; 4] || !is_plain(&pool.window, pool.dilation) {
        return Op::GeneralPool(pool);
    }
    Op::Pool(Pool { input: pool.input, kind, window: pool.window })
}

/// Whether a window is one of the first form: taps side by side, and every padding smaller than the kernel.
fn is_plain(window: &Window, dilation: [u16; 2]) -> bool {
    let [top, left, bottom, right] = window.padding;
    let [height, width] = window.kernel;
    dilation == [1, 1] && top.max(bottom) < height && left.max(right) < width
}
