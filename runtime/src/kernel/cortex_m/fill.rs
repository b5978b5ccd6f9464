//! The patch under a tile.

use super::conv::Area;
use super::forms::take;
use super::micro;
use super::tile::Geometry;
use crate::kernel::{Operations, Set, f16};

/// How the part of a plane under a tile becomes its patch; the same for every channel.
pub(in super::super) struct Filler {
    geometry: Geometry,
    /// Elements of one phase of a row, and phases.
    pub pitch: usize,
    phases: usize,
    /// Elements of a row, in the image's order, from which on and up to which they lie in the image.
    pub begin: usize,
    pub end: usize,
    /// Column of the image at `begin`.
    pub column: usize,
    /// Patch rows above the image, and inside.
    pub above: usize,
    pub inside: usize,
    /// Rows of the image from one patch row to the next.
    pub step: usize,
    /// First of the rows inside.
    pub first: usize,
    /// Row of the padded image at the first patch row.
    top: usize,
}

impl Filler {
    pub fn new(geometry: &Geometry, area: &Area) -> Self {
        let (height, width) = (geometry.input.height as usize, geometry.input.width as usize);
        let ([sy, sx], [top, left]) = (geometry.stride, geometry.before);
        let (phases, pitch) = (geometry.phases(), geometry.pitch(area.columns));
        let (column, row) = (area.x * sx, area.y * sy);
        let length = pitch * sx;
        let begin = left.saturating_sub(column).min(length);
        let end = (width + left).saturating_sub(column).clamp(begin, length);
        let rows = geometry.patch_rows(area.rows);
        // Rows of the image from one patch row to the next: a kernel of one row skips some.
        let step = if geometry.row_step() == 1 { sy.max(1) } else { 1 };
        let above = top.saturating_sub(row).div_ceil(step).min(rows);
        let inside = (height + top).saturating_sub(row).div_ceil(step).clamp(above, rows) - above;
        Self {
            geometry: *geometry,
            pitch,
            phases,
            begin,
            end,
            column: (column + begin).saturating_sub(left),
            above,
            inside,
            step,
            first: (row + above * step).saturating_sub(top),
            top: row,
        }
    }

    /// True where patch rows are rows of the image with every value, or every second one, in its place.
    pub fn in_rows(&self) -> bool {
        let [sy, sx] = self.geometry.stride;
        let skips = (2..sy).contains(&self.geometry.row_step());
        sx <= 2 && !skips && self.begin < self.end
    }

    /// Where the first value of a plane lies that is under the tile.
    pub fn begins(&self) -> usize {
        self.first * self.geometry.input.width as usize + self.column
    }

    /// The rows of a plane under a strip, where the stride is one.
    pub(super) fn lines(&self) -> micro::Lines {
        micro::Lines {
            inside: self.inside,
            from_row: self.step * self.geometry.input.width as usize,
            columns: self.end - self.begin,
            before: self.begin,
            above: self.above,
        }
    }

    /// Widens the part under the tile of planes that begin `plane` apart, each to its part of a patch, of `channel` elements, with zeros
    /// for the padding.
    pub(super) fn fill_channels<U: Operations>(
        &self,
        (planes, plane): (&[u16], usize),
        channel: usize,
        patch: &mut [f32],
    ) {
        let (row, from_row) = (self.pitch * self.phases, self.step * self.geometry.input.width as usize);
        let (plane, channel) = (plane.max(1), channel.max(1));
        let count = planes.len().div_ceil(plane);
        if !self.in_rows() {
            if take::<U>(Set::ELEMENTS) {
                let patches = patch.chunks_exact_mut(channel);
                let all = planes.chunks(plane).zip(patches);
                all.for_each(|(plane, patch)| self.by_element(plane, patch, f16::widen));
            }
            return;
        }
        let of = micro::Channels {
            count,
            from_plane: plane,
            to_plane: channel,
            rows: self.inside,
            from_row,
            pitch: self.pitch,
            phases: self.phases,
            stride: self.geometry.stride[1],
            begin: self.begin,
            end: self.end,
        };
        let from = planes.get(self.begins()..).unwrap_or_default();
        micro::widen_channels::<U>(from, &of, patch.get_mut(self.above * row..).unwrap_or_default());
        let inside = (self.above + self.inside) * row;
        if self.above * row + channel > inside {
            for patch in patch.chunks_exact_mut(channel).take(count) {
                patch.get_mut(..self.above * row).unwrap_or_default().fill(0.0);
                patch.get_mut(inside..).unwrap_or_default().fill(0.0);
            }
        }
    }

    /// Strides of more than two, and kernels of several rows that are shorter than their stride.
    pub fn by_element<T: Copy + Default>(&self, plane: &[u16], patch: &mut [T], convert: impl Fn(u16) -> T) {
        let (height, width) = (self.geometry.input.height as usize, self.geometry.input.width as usize);
        let ([sy, sx], step) = (self.geometry.stride.map(|s| s.max(1)), self.geometry.row_step().max(1));
        let top = self.geometry.before[0];
        for (i, line) in patch.chunks_exact_mut((self.pitch * self.phases).max(1)).enumerate() {
            line.fill(T::default());
            // A kernel shorter than its stride skips rows, which are not in the patch.
            let y = self.top + (i / step) * sy + i % step;
            let Some(y) = y.checked_sub(top).filter(|y| *y < height) else { continue };
            let from = y * width + self.column;
            let source = plane.get(from..from + (self.end - self.begin)).unwrap_or_default();
            for (phase, line) in line.chunks_exact_mut(self.pitch.max(1)).enumerate() {
                // The first element of this phase at or behind `begin`.
                let first = self.begin.saturating_sub(phase).div_ceil(sx);
                let skip = first * sx + phase - self.begin;
                let source = source.get(skip..).unwrap_or_default().iter().step_by(sx);
                let line = line.get_mut(first..).unwrap_or_default();
                line.iter_mut().zip(source).for_each(|(to, from)| *to = convert(*from));
            }
        }
    }
}
