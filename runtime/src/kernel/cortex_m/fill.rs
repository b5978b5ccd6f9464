//! The patch under a tile.

use super::conv::Area;
use super::micro;
use super::tile::Geometry;

/// Widens the part of one input plane under a tile into its patch, with zeros for the padding.
pub(super) fn fill(geometry: &Geometry, area: &Area, plane: &[u16], patch: &mut [f32]) {
    let (height, width) = (geometry.input.height as usize, geometry.input.width as usize);
    let ([sy, sx], [top, left]) = (geometry.stride, geometry.before);
    let (phases, pitch) = (geometry.phases(), geometry.pitch(area.columns));
    // Elements of a row in the image's order: from which one on, and up to which, they lie in the image.
    let column = area.x * sx;
    let length = pitch * sx;
    let begin = left.saturating_sub(column).min(length);
    let end = (width + left).saturating_sub(column).clamp(begin, length);
    let skipped = (column + begin).saturating_sub(left);
    let (step, row) = (geometry.row_step(), pitch * phases);
    if sx == 1 && step == sy && begin < end {
        // One phase, and every row between the first and the last.
        let rows = geometry.patch_rows(area.rows);
        let first = area.y * sy;
        let above = top.saturating_sub(first).min(rows);
        let inside = (height + top).saturating_sub(first).clamp(above, rows) - above;
        let from = plane.get((first + above - top.min(first + above)) * width + skipped..).unwrap_or_default();
        let Some((zeros, rest)) = patch.split_at_mut_checked(above * row) else { return };
        let Some((image, below)) = rest.split_at_mut_checked(inside * row) else { return };
        zeros.fill(0.0);
        micro::widen_rows(from, width, inside, image, [begin, end - begin, pitch - end]);
        below.fill(0.0);
        return;
    }
    let mut y = area.y * sy;
    let mut in_step = 0;
    for line in patch.chunks_exact_mut(row) {
        let source = y.checked_sub(top).filter(|y| *y < height).map(|y| y * width + skipped);
        // The rows between those that a kernel shorter than its stride meets are not in the patch.
        in_step += 1;
        y += 1;
        if in_step == step && step < sy {
            (in_step, y) = (0, y + sy - step);
        }
        let Some(source) = source.and_then(|from| plane.get(from..)?.get(..end - begin)) else {
            line.fill(0.0);
            continue;
        };
        match (sx, phases) {
            (2, 2) => split(line, begin, end, source),
            _ => phased(line, [pitch, sx], begin, source),
        }
    }
}

/// A row by its two phases: even elements first.
fn split(line: &mut [f32], begin: usize, end: usize, source: &[u16]) {
    let Some((even, odd)) = line.split_at_mut_checked(line.len() / 2) else { return };
    let whole = even.len() * 2;
    for outside in (0..begin).chain(end..whole) {
        let phase = if outside % 2 == 0 { &mut *even } else { &mut *odd };
        phase.get_mut(outside / 2).into_iter().for_each(|to| *to = 0.0);
    }
    let mut source = source;
    let mut at = begin;
    if at % 2 == 1 && let Some((first, rest)) = source.split_first() {
        odd.get_mut(at / 2).into_iter().for_each(|to| *to = micro::widen_one(*first));
        (source, at) = (rest, at + 1);
    }
    let (Some(even), Some(odd)) = (even.get_mut(at / 2..), odd.get_mut(at / 2..)) else { return };
    micro::widen_pairs(source, even, odd);
    if source.len() % 2 == 1 && let (Some(last), Some(to)) = (source.last(), even.get_mut(source.len() / 2)) {
        *to = micro::widen_one(*last);
    }
}

/// A row by its phases, of which only those before `line`'s end are kept.
fn phased(line: &mut [f32], [pitch, stride]: [usize; 2], begin: usize, source: &[u16]) {
    line.fill(0.0);
    for (phase, line) in line.chunks_exact_mut(pitch).enumerate() {
        // The first element of this phase at or behind `begin`.
        let first = begin.saturating_sub(phase).div_ceil(stride);
        let skip = first * stride + phase - begin;
        let source = source.get(skip..).unwrap_or_default().iter().step_by(stride);
        let line = line.get_mut(first..).unwrap_or_default();
        line.iter_mut().zip(source).for_each(|(to, from)| *to = micro::widen_one(*from));
    }
}
