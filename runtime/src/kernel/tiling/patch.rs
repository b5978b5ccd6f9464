//! The part of the input under a tile of whole output rows, for convolutions on packed weights. Depends on shapes alone;
//! how many rows, and how they lie, is each instruction set's choice.
// Elsewhere only what a plan needs is in use.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]

use super::Form;
use crate::model::{Shape, Window};

/// Bytes of a cache line, at which a patch begins.
pub(in crate::kernel) const CACHE_LINE: usize = 64;

/// Largest stride; the portable code has larger ones.
pub(in crate::kernel) const MAX_STRIDE: usize = 4;

/// Where pixels lie in a patch.
///
/// For each channel and each row phase of the stride there are `planes` planes of `pitch` columns: element x of plane j
/// is input column x·stride + j − left. A plane for each column phase serves several taps, one a shift; where the pixels
/// of all rows are one run (`joined`), there is a plane for each tap column instead, as wide as the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Patch {
    /// Elements of a register.
    pub lanes: usize,
    /// True where the pixels of all rows are one run.
    pub joined: bool,
    /// Output rows of a full tile, and output columns.
    pub rows: usize,
    pub width: usize,
    /// Row phases and rows of each.
    pub phases: usize,
    pub phase_rows: usize,
    pub planes: usize,
    pub pitch: usize,
    /// Columns that some tap meets.
    pub columns: usize,
    pub channels: usize,
    /// Elements that the last register may touch behind the last channel.
    pub beyond: usize,
    /// The window whose taps meet the pixels there.
    pub window: Window,
}

impl Patch {
    /// The patch of one output row, with a plane for each column phase and nothing behind it; `None` where there is
    /// nothing to compute, or the stride is too large.
    pub fn one_row(
        lanes: usize,
        (input, output): (Shape, Shape),
        window: &Window,
        form: Form,
    ) -> Option<Patch> {
        let [kh, kw] = window.kernel.map(usize::from);
        let [sy, sx] = window.stride.map(usize::from);
        let (height, width) = (output.height as usize, output.width as usize);
        let strides = 1..=MAX_STRIDE;
        let empty = [kh, kw, height, width, input.height as usize, input.width as usize].contains(&0);
        if empty || !strides.contains(&sy) || !strides.contains(&sx) {
            return None;
        }
        let columns = width + (kw - 1) / sx;
        let patch = Patch {
            lanes,
            joined: false,
            rows: 0,
            width,
            phases: kh.min(sy),
            phase_rows: 0,
            planes: kw.min(sx),
            pitch: columns,
            columns,
            channels: if form == Form::Depthwise { 1 } else { input.channels as usize },
            beyond: 0,
            window: *window,
        };
        Some(patch.with_rows(1))
    }

    /// The same for tiles of `rows` output rows.
    pub fn with_rows(self, rows: usize) -> Patch {
        let ([kh, _], [sy, _]) = (self.window.kernel, self.window.stride);
        Patch { rows, phase_rows: rows + usize::from((kh - 1) / sy), ..self }
    }

    /// Elements of one channel.
    pub fn channel(&self) -> usize {
        self.phases.saturating_mul(self.planes).saturating_mul(self.phase_rows).saturating_mul(self.pitch)
    }

    /// Elements of the patch.
    pub fn len(&self) -> usize {
        self.channels.saturating_mul(self.channel()).saturating_add(self.beyond)
    }

    /// Where plane `plane` of a row phase begins in a channel.
    pub fn plane(&self, phase: usize, plane: usize) -> usize {
        (phase * self.planes + plane) * self.phase_rows * self.pitch
    }

    /// Where each tap's pixels begin, in the order of the weights.
    pub fn offsets(&self) -> std::vec::Vec<u32> {
        let [kh, kw] = self.window.kernel.map(usize::from);
        let [sy, sx] = self.window.stride.map(usize::from);
        let mut offsets = std::vec::Vec::with_capacity(self.channels * kh * kw);
        for channel in 0..self.channels {
            for ky in 0..kh {
                for kx in 0..kw {
                    let (plane, shift) = if self.joined { (kx, 0) } else { (kx % sx, kx / sx) };
                    let at = self.plane(ky % sy, plane) + ky / sy * self.pitch + shift;
                    offsets.push((channel * self.channel() + at) as u32);
                }
            }
        }
        offsets
    }
}
