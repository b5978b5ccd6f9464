//! Poolings with every option.

use candle_core::{Result, Tensor, bail};
use lrpet_runtime::model::{GeneralPool, Reduction, Window};

use super::convolution::Taps;

/// Largest value or mean under each window.
pub(super) fn pool(pool: &GeneralPool, x: &Tensor) -> Result<Tensor> {
    let [kh, kw] = pool.window.kernel.map(usize::from);
    let places = || (0..kh).flat_map(|row| (0..kw).map(move |column| (row, column)));
    match pool.kind {
        Reduction::Max => {
            let taps = Taps::new(x, &pool.window, pool.dilation, Some(f64::from(f32::MIN)))?;
            let mut most: Option<Tensor> = None;
            for (row, column) in places() {
                let tap = taps.tap(row, column)?;
                // Not candle's maximum: of equal taps the first has the gradient.
                most = Some(match most {
                    Some(most) => tap.gt(&most)?.where_cond(&tap, &most)?,
                    None => tap,
                });
            }
            match most {
                Some(most) => Ok(most),
                None => bail!("a pooling with an empty window"),
            }
        }
        Reduction::Mean => sum(x, &pool.window, pool.dilation)?.broadcast_div(&divisor(pool, x)?),
        Reduction::Sum => sum(x, &pool.window, pool.dilation),
    }
}

fn sum(x: &Tensor, window: &Window, dilation: [u16; 2]) -> Result<Tensor> {
    let [kh, kw] = window.kernel.map(usize::from);
    let taps = Taps::new(x, window, dilation, None)?;
    let mut sum: Option<Tensor> = None;
    for (row, column) in (0..kh).flat_map(|row| (0..kw).map(move |column| (row, column))) {
        let tap = taps.tap(row, column)?;
        sum = Some(match sum {
            Some(sum) => (sum + tap)?,
            None => tap,
        });
    }
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("a pooling with an empty window"),
    }
}

/// Taps that count in each mean, `[1, 1, oh, ow]`: those inside the input and in the padding that is counted.
fn divisor(pool: &GeneralPool, x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let [top, left, bottom, right] = pool.counted.map(usize::from);
    let ones = Tensor::ones((1, 1, top + height + bottom, left + width + right), x.dtype(), x.device())?;
    // The rest of the padding lies around what is counted.
    let mut rest = pool.window.padding;
    for (rest, counted) in rest.iter_mut().zip(pool.counted) {
        *rest = rest.saturating_sub(counted);
    }
    sum(&ones, &Window { padding: rest, ..pool.window }, pool.dilation)
}
