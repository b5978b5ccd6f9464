//! The shortest decimal that is read as the same f32, in a few hundred bytes of code.
//!
//! Burger and Dybvig, "Printing floating-point numbers quickly and accurately" (PLDI 1996), free format, in whole numbers of 192 bits: slow,
//! for the two numbers of a sample's report. The crate `ryu` takes 5 KB more, of tables and of `memmove`, which nothing else needs.

use core::cmp::Ordering;

/// Most digits that an f32 needs.
const DIGITS: usize = 9;

/// A finite f32 without its sign: 0.d₁d₂… · 10^`point`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: [u8; DIGITS],
    length: usize,
    point: i32,
}

/// Hands the text of `value`, which is finite, to `push`, piece by piece: `-12.5`, `0.001`, `1e-7`, `3.4e38`.
pub(crate) fn write(value: f32, mut push: impl FnMut(&[u8])) {
    if value.is_sign_negative() {
        push(b"-");
    }
    if value == 0.0 {
        return push(b"0.0");
    }
    let Decimal { digits, length, point } = shortest(value.abs());
    let digits = digits.get(..length).unwrap_or_default();
    match point {
        1..=13 => {
            let (whole, rest) = digits.split_at_checked(point as usize).unwrap_or((digits, &[]));
            push(whole);
            (length..point as usize).for_each(|_| push(b"0"));
            push(b".");
            push(if rest.is_empty() { b"0" } else { rest });
        }
        -5..=0 => {
            push(b"0.");
            (point..0).for_each(|_| push(b"0"));
            push(digits);
        }
        _ => {
            let (first, rest) = digits.split_at_checked(1).unwrap_or_default();
            push(first);
            if !rest.is_empty() {
                push(b".");
                push(rest);
            }
            push(if point < 1 { b"e-" } else { b"e" });
            let exponent = (point - 1).unsigned_abs() as u8;
            if exponent >= 10 {
                push(&[b'0' + exponent / 10]);
            }
            push(&[b'0' + exponent % 10]);
        }
    }
}

/// Of a finite positive number.
fn shortest(value: f32) -> Decimal {
    let bits = value.to_bits();
    let (biased, fraction) = (bits >> 23, bits & 0x7f_ffff);
    // value = mantissa · 2^exponent, and all of this in quarters of 2^exponent.
    let mantissa = if biased == 0 { fraction } else { fraction | 0x80_0000 };
    let exponent = biased.max(1) as i32 - 150;
    let even = mantissa % 2 == 0;
    // Half of the way to the next number above, and to the one below, which is nearer where the exponent changes.
    let below = if fraction == 0 && biased > 1 { 1 } else { 2 };
    let up = exponent.max(0) as u32;
    let (mut rest, mut above, mut below) = (Big::of(4 * mantissa, up), Big::of(2, up), Big::of(below, up));
    let mut one = Big::of(4, exponent.min(0).unsigned_abs());
    // What lies exactly between two numbers is read as the even one.
    let reaches = |sum: &Big, one: &Big| if even { sum >= one } else { sum > one };
    let mut point = 0;
    while reaches(&rest.plus(&above), &one) {
        one.times_ten();
        point += 1;
    }
    loop {
        let mut sum = rest.plus(&above);
        sum.times_ten();
        if reaches(&sum, &one) {
            break;
        }
        [&mut rest, &mut above, &mut below].into_iter().for_each(Big::times_ten);
        point -= 1;
    }
    let mut decimal = Decimal { digits: [b'0'; DIGITS], length: 0, point };
    for slot in &mut decimal.digits {
        [&mut rest, &mut above, &mut below].into_iter().for_each(Big::times_ten);
        let mut digit = b'0';
        while rest >= one {
            rest.minus(&one);
            digit += 1;
        }
        let low = if even { rest <= below } else { rest < below };
        let high = reaches(&rest.plus(&above), &one);
        // Both will do: the nearer one, and of two as near the even one.
        let nearer = match rest.plus(&rest).cmp(&one) {
            Ordering::Less => false,
            Ordering::Equal => digit % 2 == 1,
            Ordering::Greater => true,
        };
        let up = high && (!low || nearer);
        *slot = digit + u8::from(up);
        decimal.length += 1;
        if low || high {
            break;
        }
    }
    decimal
}

/// 32 bits each.
const WORDS: usize = 6;

/// A whole number. All here are below 2^159: 10 · 4 · 2^149 at most, and 10 · 4 · 10^39.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Big {
    /// The highest first, so that they are compared as numbers are.
    words: [u32; WORDS],
}

impl Big {
    /// `value` · 2^`shift`.
    fn of(value: u32, shift: u32) -> Self {
        let mut words = [0; WORDS];
        let wide = u64::from(value) << (shift % 32);
        let mut places = words.iter_mut().rev().skip(shift as usize / 32);
        for part in [wide as u32, (wide >> 32) as u32] {
            if let Some(place) = places.next() {
                *place = part;
            }
        }
        Self { words }
    }

    #[inline(never)]
    fn times_ten(&mut self) {
        let mut carry = 0;
        for word in self.words.iter_mut().rev() {
            let product = u64::from(*word) * 10 + carry;
            (*word, carry) = (product as u32, product >> 32);
        }
    }

    #[inline(never)]
    fn plus(&self, other: &Self) -> Self {
        let (mut sum, mut carry) = (*self, 0);
        for (word, more) in sum.words.iter_mut().zip(&other.words).rev() {
            let total = u64::from(*word) + u64::from(*more) + carry;
            (*word, carry) = (total as u32, total >> 32);
        }
        sum
    }

    /// Takes one away that is not larger.
    #[inline(never)]
    fn minus(&mut self, other: &Self) {
        let mut borrow = false;
        for (word, less) in self.words.iter_mut().zip(&other.words).rev() {
            let (difference, first) = word.overflowing_sub(*less);
            let (difference, second) = difference.overflowing_sub(borrow.into());
            (*word, borrow) = (difference, first || second);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn text(value: f32) -> String {
        let mut text = Vec::new();
        write(value, |piece| text.extend_from_slice(piece));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_number_is_written_as_ryu_writes_it() {
        let known =
            [0.0, 1.0, 10.0, 0.1, 1e13, 1e14, 1e-5, 9.9e-7, 16_777_216.0, f32::MAX, f32::MIN_POSITIVE];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let any = (0..2000).map(|_| f32::from_bits(rng.random()));
        // Powers of two and their neighbours, where the number below is nearer than the one above; and numbers of few digits.
        let powers = (0..255u32).flat_map(|e| [e << 23, (e << 23) + 1, (e << 23).wrapping_sub(1)]);
        let few = (-45..39).flat_map(|e| (1..10).map(move |d| d as f32 * 10f32.powi(e)));
        let small = (1..200).map(f32::from_bits);
        let all = known.into_iter().chain(any).chain(powers.map(f32::from_bits)).chain(few).chain(small);
        for value in all.filter(|value| value.is_finite()) {
            for value in [value, -value] {
                assert_eq!(text(value), ryu::Buffer::new().format_finite(value), "{:08x}", value.to_bits());
                assert_eq!(text(value).parse(), Ok(value));
            }
        }
    }
}
