//! Budgets on the command line.

/// Bytes of a number of KB.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim()[digits.len()..].to_ascii_lowercase();
    let factor = match unit.as_str() {
        "b" => 1.0,
        "" | "kb" | "kib" => 1024.0,
        "mb" | "mib" => 1024.0 * 1024.0,
        _ => return Err("a number of KB, such as 128, 128KB or 1.5MB".to_owned()),
    };
    positive(digits, factor)
}

/// Nanoseconds of a time, or a number of instructions.
pub(super) fn latency(text: &str) -> Result<u64, String> {
    let digits = text.trim().trim_end_matches(|c: char| c.is_alphabetic());
    let factor = match &text.trim()[digits.len()..] {
        "ms" => 1e6,
        "us" | "µs" => 1e3,
        "s" => 1e9,
        "" => 1.0,
        "k" | "K" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        _ => return Err("a time such as 0.3ms, or a number of instructions such as 12M".to_owned()),
    };
    positive(digits, factor)
}

fn positive(digits: &str, factor: f64) -> Result<u64, String> {
    let number: f64 = digits.trim().parse().map_err(|_| format!("`{digits}` is no number"))?;
    let count = (number * factor).round();
    if count >= 1.0 && count < 2f64.powi(53) {
        Ok(count as u64)
    } else {
        Err(format!("{number} is no budget"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read() {
        assert_eq!(bytes("128"), Ok(128 << 10));
        assert_eq!(bytes("1.5MB"), Ok(3 << 19));
        assert_eq!(bytes("64 kb"), Ok(64 << 10));
        assert_eq!(latency("0.3ms"), Ok(300_000));
        assert_eq!(latency("250µs"), Ok(250_000));
        assert_eq!(latency("12.5M"), Ok(12_500_000));
        for text in ["", "KB", "-3", "0", "12 parsecs", "nan", "1e300"] {
            assert!(bytes(text).is_err() && latency(text).is_err(), "{text}");
        }
    }
}
