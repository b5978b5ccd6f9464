//! The report of `cargo xtask bench arm`.

use super::{Measured, Share};

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn per_mac(instructions: f64, macs: u64) -> String {
    if macs == 0 { String::new() } else { format!("{:.3}", instructions / macs as f64) }
}

fn cycles(estimate: Option<f64>) -> String {
    estimate.map_or_else(|| "–".to_owned(), |cycles| grouped(cycles.round() as u64))
}

/// Prints one model on one core.
pub fn print(measured: &Measured, top: usize) {
    let Measured { core, model, emulator, kernels, macs, instructions, .. } = measured;
    println!("\n{core} ({emulator} in QEMU), kernels {kernels}: {model}, {} multiply-adds", grouped(*macs));
    let spread = if measured.inferences.iter().all(|count| count == instructions) {
        "every inference the same".to_owned()
    } else {
        let counts: Vec<String> = measured.inferences.iter().map(|count| grouped(*count)).collect();
        format!("inferences differ: {}", counts.join(", "))
    };
    println!(
        "  {} instructions an inference, {} a multiply-add ({spread})",
        grouped(*instructions),
        per_mac(*instructions as f64, *macs)
    );
    if let Some(counted) = measured.counted_by_board {
        println!("  {} by the board's own counter", grouped(counted));
    }
    if let (Some(estimate), Some(method)) = (measured.cycles_estimate, &measured.estimate_method) {
        println!(
            "  estimate: {} cycles, {} a multiply-add",
            cycles(Some(estimate)),
            per_mac(estimate, *macs)
        );
        println!("  (estimated, not measured: {method})");
    }
    println!(
        "  {:24} {:>14} {:>14} {:>9} {:>7} {:>16}",
        "layer", "multiply-adds", "instructions", "per MAC", "share", "cycles, estimate"
    );
    for layer in &measured.layers {
        println!(
            "  {:24} {:>14} {:>14} {:>9} {:>5.1} % {:>16}",
            layer.name,
            grouped(layer.macs),
            grouped(layer.instructions),
            per_mac(layer.instructions as f64, layer.macs),
            100.0 * layer.instructions as f64 / (*instructions).max(1) as f64,
            cycles(layer.cycles_estimate)
        );
    }
    list("function", &measured.functions, *instructions, top);
    list("mnemonic", &measured.mnemonics, *instructions, top);
}

fn list(what: &str, shares: &[Share], all: u64, top: usize) {
    if top == 0 {
        return;
    }
    println!("  {:>14} {:>7}   {what}", "instructions", "share");
    for share in shares.iter().take(top) {
        println!(
            "  {:>14} {:>5.1} %   {}",
            grouped(share.instructions),
            100.0 * share.instructions as f64 / all.max(1) as f64,
            share.name
        );
    }
}

/// Prints all runs, a line each.
pub fn table(all: &[Measured]) {
    println!(
        "\n{:12} {:24} {:>14} {:>14} {:>9} {:>16} {:>9}",
        "core", "model", "multiply-adds", "instructions", "per MAC", "cycles, estimate", "per MAC"
    );
    for measured in all {
        println!(
            "{:12} {:24} {:>14} {:>14} {:>9} {:>16} {:>9}",
            measured.core,
            measured.model,
            grouped(measured.macs),
            grouped(measured.instructions),
            per_mac(measured.instructions as f64, measured.macs),
            cycles(measured.cycles_estimate),
            measured.cycles_estimate.map_or_else(String::new, |cycles| per_mac(cycles, measured.macs))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }
}
