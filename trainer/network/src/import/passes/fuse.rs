//! What goes into the operation before it: padding, scales and shifts, activations, sums.

use lrpet_runtime::model::{Activation, BinaryKind, PadMode, Reduction};

use super::Plan;
use crate::import::step::What;
use crate::import::view::Stored;

impl Plan {
    /// Zeros around an image are the padding of a convolution or pooling, where its kernel is larger.
    pub(super) fn pads(&mut self) {
        for value in 1..=self.steps.len() {
            let of = self.steps[value - 1].inputs[0];
            let Some(pad) = self.maker(of) else { continue };
            let What::Pad {
                before: [0, top, left],
                after: [0, bottom, right],
                mode: PadMode::Constant(filled),
            } = pad.what
            else {
                continue;
            };
            let (inner, sides) = (pad.inputs[0], [top, left, bottom, right]);
            let positive = self.maker(inner).is_some_and(|step| step.is_positive());
            let (frame, counted) = match &mut self.steps[value - 1].what {
                What::Convolution(of) if filled == 0.0 && of.transposed.is_none() => (&mut of.frame, None),
                What::Pool { kind: Reduction::Max, frame, .. }
                    if filled == f32::NEG_INFINITY || (filled == 0.0 && positive) =>
                {
                    (frame, None)
                }
                What::Pool { kind: Reduction::Mean, frame, counted } if filled == 0.0 => {
                    (frame, Some(counted))
                }
                _ => continue,
            };
            let sum: [usize; 4] = std::array::from_fn(|side| frame.padding[side] + sides[side]);
            if (0..4).any(|side| sum[side] >= frame.kernel[side % 2]) {
                continue;
            }
            frame.padding = sum;
            if let Some(counted) = counted {
                counted.iter_mut().zip(sides).for_each(|(counted, side)| *counted += side);
            }
            self.steps[value - 1].inputs[0] = inner;
            self.see("padding, taken into the operation behind it");
        }
    }

    /// A scale and shift for each channel goes into the convolution or linear layer before it.
    pub(super) fn affines(&mut self) {
        for value in 1..=self.steps.len() {
            let What::Affine { scale, shift } = &self.steps[value - 1].what else { continue };
            if scale.contains(&0.0) {
                continue;
            }
            let (scale, shift) = (scale.clone(), shift.clone());
            let of = self.steps[value - 1].inputs[0];
            if self.readers()[of] != 1 {
                continue;
            }
            let Some(at) = of.checked_sub(1) else { continue };
            if self.steps[at].activation != Activation::None {
                continue;
            }
            let scaled = |values: &mut Vec<f32>, per_row: usize| {
                values
                    .chunks_exact_mut(per_row)
                    .zip(&scale)
                    .for_each(|(row, scale)| row.iter_mut().for_each(|x| *x *= scale));
            };
            let shifted = |values: &mut Vec<f32>| {
                values
                    .iter_mut()
                    .zip(&scale)
                    .zip(&shift)
                    .for_each(|((x, scale), shift)| *x = *x * scale + shift);
            };
            match &mut self.steps[at].what {
                What::Convolution(convolution) if !convolution.residual => {
                    let rows = convolution.out_channels;
                    if let Some(norm) = &mut convolution.norm {
                        scaled(&mut norm.gamma, 1);
                        shifted(&mut norm.beta);
                    } else {
                        if scale.iter().any(|scale| *scale != 1.0) {
                            let per_row = convolution.weight.len() / rows;
                            scaled(&mut convolution.weight, per_row);
                        }
                        shifted(convolution.bias.get_or_insert_with(|| vec![0.0; rows]));
                    }
                }
                What::Linear { weight, bias } => {
                    let per_row = weight.len() / bias.len();
                    scaled(weight, per_row);
                    shifted(bias);
                }
                What::Affine { scale: inner, shift: offset } => {
                    scaled(inner, 1);
                    shifted(offset);
                }
                _ => continue,
            }
            let activation = self.steps[value - 1].activation;
            self.steps[at].activation = activation;
            self.replace(value, of);
            self.see("scale and shift, taken into the layer before them");
        }
    }

    /// An activation goes into the operation before it.
    pub(super) fn activations(&mut self) {
        for value in 1..=self.steps.len() {
            let Some((activation, of)) = self.activated(value) else { continue };
            if self.readers()[of] != 1 || !self.maker(of).is_some_and(|step| step.takes_activation()) {
                continue;
            }
            self.steps[of - 1].activation = activation;
            self.replace(value, of);
        }
    }

    /// A sum goes into the later of its convolutions.
    pub(super) fn residuals(&mut self) {
        for value in 1..=self.steps.len() {
            let sum = &self.steps[value - 1];
            let (What::Binary(BinaryKind::Add), &[a, b]) = (&sum.what, &sum.inputs[..]) else { continue };
            let (shape, activation) = (sum.shape, sum.activation);
            let readers = self.readers();
            let fits = |of: Stored| {
                let Some(step) = self.maker(of) else { return false };
                let free = matches!(&step.what, What::Convolution(convolution) if !convolution.residual);
                free && readers[of] == 1 && step.activation == Activation::None
            };
            if a == b || self.shape(a) != shape || self.shape(b) != shape {
                continue;
            }
            let Some((of, other)) =
                [(a.max(b), a.min(b)), (a.min(b), a.max(b))].into_iter().find(|(of, _)| fits(*of))
            else {
                continue;
            };
            // In the sum's place, where both are known.
            let mut step = self.steps[of - 1].clone();
            if let What::Convolution(convolution) = &mut step.what {
                convolution.residual = true;
            }
            step.inputs.push(other);
            step.activation = activation;
            self.steps[of - 1].what = What::Reshape;
            self.steps[value - 1] = step;
            self.see("sum, taken into the convolution before it");
        }
    }
}
