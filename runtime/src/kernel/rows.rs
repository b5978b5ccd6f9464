//! Rows of planes, moved to the front of their planes and copied to others.
#![allow(unsafe_code)]

/// Values of each plane from `from` on that are moved to its front: `count` of them, of a map whose planes lie `plane` apart. Where a
/// plane has fewer, nothing of it moves.
pub(crate) fn move_rows(map: &mut [u16], plane: usize, from: usize, count: usize) {
    if plane == 0 || count == 0 || from + count > plane {
        return;
    }
    let planes = (map.len() + plane - (from + count)) / plane;
    let to = map.as_mut_ptr();
    // SAFETY: in each plane `from` + `count` values are there.
    unsafe { copy([to.wrapping_add(from), to], [plane, plane], planes, count) }
}

/// Copies `count` values of each of some planes: those of `from` lie `strides[0]` apart and those of `to` `strides[1]`. `None`, and
/// nothing done, where that is more than there is.
pub(crate) fn copy_rows(
    from: &[u16],
    to: &mut [u16],
    strides: [usize; 2],
    planes: usize,
    count: usize,
) -> Option<()> {
    let last = planes.checked_sub(1)?;
    let [read, written] = strides.map(|stride| last.checked_mul(stride)?.checked_add(count));
    if read? > from.len() || written? > to.len() {
        return None;
    }
    // SAFETY: the values of every plane are there, checked above.
    unsafe { copy([from.as_ptr().cast_mut(), to.as_mut_ptr()], strides, planes, count) };
    Some(())
}

/// Copies from the first of two places to the second, value by value from the first on.
///
/// # Safety
/// The values of every plane are there. Where the two overlap, the second lies before the first.
#[cfg(not(all(target_arch = "arm", target_os = "none")))]
unsafe fn copy([mut from, mut to]: [*mut u16; 2], strides: [usize; 2], planes: usize, count: usize) {
    for _ in 0..planes {
        // SAFETY: the caller's lengths.
        unsafe { core::ptr::copy(from, to, count) };
        (from, to) = (from.wrapping_add(strides[0]), to.wrapping_add(strides[1]));
    }
}

/// As above: four words at a time, at once where they lie at words.
///
/// # Safety
/// As above.
#[cfg(all(target_arch = "arm", target_os = "none"))]
unsafe fn copy([from, to]: [*mut u16; 2], strides: [usize; 2], planes: usize, count: usize) {
    if planes == 0 || count == 0 {
        return;
    }
    let bytes = count * size_of::<u16>();
    let [from_row, to_row] = strides.map(|stride| stride * size_of::<u16>());
    let words = (from as usize | to as usize | from_row | to_row).is_multiple_of(4);
    // From behind the last value to the first of the next plane.
    let [from_gap, to_gap] = strides.map(|stride| (stride * size_of::<u16>()).wrapping_sub(bytes));
    // SAFETY: the caller's lengths.
    unsafe {
        core::arch::asm!(
            "2:",
            "subs {left}, {bytes}, #16",
            "blo 4f",
            "cmp {words}, #0",
            "beq 3f",
            "8:",
            "ldmia {from}!, {{r2, r3, r4, r5}}",
            "stmia {to}!, {{r2, r3, r4, r5}}",
            "subs {left}, {left}, #16",
            "bhs 8b",
            "b 4f",
            "3:",
            "ldr r2, [{from}], #4",
            "ldr r3, [{from}], #4",
            "ldr r4, [{from}], #4",
            "ldr r5, [{from}], #4",
            "str r2, [{to}], #4",
            "str r3, [{to}], #4",
            "str r4, [{to}], #4",
            "str r5, [{to}], #4",
            "subs {left}, {left}, #16",
            "bhs 3b",
            // Its last four bits still say how much is left.
            "4:",
            "lsls {left}, {left}, #29",
            "bcc 5f",
            "ldr r2, [{from}], #4",
            "ldr r3, [{from}], #4",
            "str r2, [{to}], #4",
            "str r3, [{to}], #4",
            "5:",
            "lsls {left}, {left}, #1",
            "bcc 6f",
            "ldr r2, [{from}], #4",
            "str r2, [{to}], #4",
            "6:",
            "lsls {left}, {left}, #1",
            "bcc 7f",
            "ldrh r2, [{from}], #2",
            "strh r2, [{to}], #2",
            "7:",
            "add {from}, {from}, {from_gap}",
            "add {to}, {to}, {to_gap}",
            "subs {planes}, {planes}, #1",
            "bne 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            planes = inout(reg) planes => _,
            left = out(reg) _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
            words = in(reg) usize::from(words),
            bytes = in(reg) bytes,
            from_gap = in(reg) from_gap,
            to_gap = in(reg) to_gap,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn rows_move_to_the_front_of_every_plane() {
        let before: Vec<u16> = (0..38).collect();
        for (from, count) in [(3, 5), (1, 7), (7, 3), (0, 4), (5, 6), (2, 0)] {
            let mut map = before.clone();
            move_rows(&mut map, 10, from, count);
            for (at, value) in map.iter().enumerate() {
                let (plane, column) = (at / 10 * 10, at % 10);
                // The last plane has 8 values.
                let moved = from + count <= 10 && column < count && plane + from + count <= before.len();
                let expected = if moved { plane + column + from } else { at };
                assert_eq!(usize::from(*value), expected, "{from} {count} {at}");
            }
        }
    }

    #[test]
    fn rows_are_copied_to_planes_that_lie_otherwise() {
        let from: Vec<u16> = (0..20).collect();
        let mut to = [99u16; 12];
        assert_eq!(copy_rows(&from, &mut to, [8, 5], 3, 2), Some(()));
        assert_eq!(to, [0, 1, 99, 99, 99, 8, 9, 99, 99, 99, 16, 17]);
        for (planes, count) in [(4, 2), (3, 5), (0, 1)] {
            assert_eq!(copy_rows(&from, &mut to, [8, 5], planes, count), None);
        }
        assert_eq!(to, [0, 1, 99, 99, 99, 8, 9, 99, 99, 99, 16, 17]);
    }
}
