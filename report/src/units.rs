//! Numbers as people read them. Counts and bytes come in three significant digits here; the exact figure goes into a
//! `title` beside them.

use crate::Kind;

/// Decimals that leave three significant digits of `value`, at most two of them.
fn decimals(value: f64) -> usize {
    match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    }
}

/// `value` in the largest unit that leaves at least 1; numbers below `base` are printed in full.
fn scaled(value: f64, base: f64, units: [&str; 4]) -> String {
    let mut value = value;
    let mut unit = 0;
    // 999.5 K would be printed as 1000 K
    while unit + 1 < units.len() && value >= base - if unit == 0 { 0.0 } else { 0.5 } {
        value /= base;
        unit += 1;
    }
    let decimals = if unit == 0 { 0 } else { decimals(value) };
    format!("{value:.decimals$} {}", units[unit]).trim_end().to_owned()
}

/// A count: `12.5 M`.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, ["", "K", "M", "G"])
}

/// Bytes, 1 KB = 1024 bytes as in the data sheets of boards: `152 KB`.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, ["B", "KB", "MB", "GB"])
}

/// A whole number in groups of three digits, with no-break spaces: `12 501 632`.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value < 0.0 { "−" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// So many of what `one` of them is called: `1 image`, `2 images`, `12 501 other classes`, with no-break spaces in the number.
pub fn things(count: u64, one: &str) -> String {
    let end = match one {
        _ if count == 1 => "",
        one if ["s", "x", "tch", "sh"].iter().any(|end| one.ends_with(end)) => "es",
        _ => "s",
    };
    format!("{} {one}{end}", grouped(count as f64))
}

/// A share of 1 as per cent, two decimals: `91.20 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A share of 1 as whole per cent: `45 %`.
pub fn percent_short(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A difference of two shares in percentage points, signed: `−0.58`.
pub fn points(difference: f64) -> String {
    let points = difference * 100.0;
    let sign = if points >= 0.005 {
        "+"
    } else if points <= -0.005 {
        "−"
    } else {
        "±"
    };
    format!("{sign}{:.2}", points.abs())
}

/// A ratio: `0.45×`.
pub fn times(ratio: f64) -> String {
    format!("{ratio:.*}×", decimals(ratio))
}

/// Milliseconds, in the unit that suits: `0.271 ms`, `42.0 µs`, `20 ns`.
pub fn milliseconds(ms: f64) -> String {
    let (value, unit) = match ms {
        ms if ms.abs() < 0.000_995 => (ms * 1e6, "ns"),
        ms if ms.abs() < 0.0995 => (ms * 1e3, "µs"),
        ms if ms.abs() < 999.5 => (ms, "ms"),
        _ => (ms / 1e3, "s"),
    };
    let decimals = match unit {
        "ns" => 0,
        "ms" if value.abs() < 0.9995 => 3,
        _ => decimals(value),
    };
    format!("{value:.decimals$} {unit}")
}

/// A figure of a counter, as its name in the document is ([`crate::Kind::name`]): time in the unit that suits, anything else as a
/// count of it: `0.203 ms`, `1.52 M instructions`.
pub fn counted(count: f64, counter: &str) -> String {
    if counter == Kind::Nanoseconds.name() {
        milliseconds(count / 1e6)
    } else {
        format!("{} {counter}", self::count(count))
    }
}

/// What a counter counts, in words: `time`, or the counter's own name.
pub fn measure_of(counter: &str) -> &str {
    if counter == Kind::Nanoseconds.name() { "time" } else { counter }
}

/// A duration: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes_keep_three_digits() {
        let counts = [0.0, 999.0, 1000.0, 9_994.0, 12_501_632.0, 999_499.0, 999_600.0, 5e9];
        let wanted = ["0", "999", "1.00 K", "9.99 K", "12.5 M", "999 K", "1.00 M", "5.00 G"];
        assert_eq!(counts.map(count), wanted);
        let sizes = [0.0, 1023.0, 1024.0, 155_800.0, 1_048_100.0, 3_145_728.0];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.00 KB", "152 KB", "1.00 MB", "3.00 MB"]);
    }

    #[test]
    fn exact_figures_are_grouped() {
        let exact = [0.0, 7.0, 123.0, 1234.0, 12_501_632.0].map(|n| grouped(n).replace('\u{a0}', " "));
        assert_eq!(exact, ["0", "7", "123", "1 234", "12 501 632"]);
    }

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| things(n, "image")), ["0 images", "1 image", "2 images"]);
        assert_eq!([1, 3].map(|n| things(n, "other class")), ["1 other class", "3 other classes"]);
        assert_eq!(
            (things(1234, "batch"), things(2, "epoch")),
            ("1\u{a0}234 batches".into(), "2 epochs".into())
        );
    }

    #[test]
    fn differences_carry_their_sign() {
        assert_eq!([0.0058, -0.0058, 0.0, -0.000_01].map(points), ["+0.58", "−0.58", "±0.00", "±0.00"]);
    }

    #[test]
    fn time_is_never_a_count_of_nanoseconds() {
        let times = [20.0, 42_100.0, 1_040_000.0, 2_500_000_000.0].map(|ns| counted(ns, "nanoseconds"));
        assert_eq!(times, ["20 ns", "42.1 µs", "1.04 ms", "2.50 s"]);
        assert_eq!(counted(1_520_000.0, "instructions"), "1.52 M instructions");
        assert_eq!(["nanoseconds", "cycles"].map(measure_of), ["time", "cycles"]);
    }

    #[test]
    fn times_and_durations() {
        assert_eq!([0.4567, 1.0, 12.34].map(times), ["0.46×", "1.00×", "12.3×"]);
        assert_eq!(
            [0.000_02, 0.0421, 0.2714, 4.1, 1500.0].map(milliseconds),
            ["20 ns", "42.1 µs", "0.271 ms", "4.10 ms", "1.50 s"]
        );
        assert_eq!([0.84, 41.6, 200.0, 7530.0].map(duration), ["0.8 s", "42 s", "3 min 20 s", "2 h 5 min"]);
    }
}
