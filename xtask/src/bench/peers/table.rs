//! The tables: latency of every engine, and the share of a cut in multiply-adds that becomes a cut in time.

use std::fmt::Write;

use serde::Serialize;

use super::{Comparison, Engine, Measured};

/// Share of the processors' time that other programs may use before the figures are doubtful.
const QUIET: f64 = 0.1;

/// What one engine makes of a low-rank network: (time dense / time low-rank) / (multiply-adds dense / multiply-adds
/// low-rank); 1 is ideal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Realisation {
    network: String,
    prune: f64,
    engine: Engine,
    median: f64,
    least: f64,
}

/// Median and least.
fn pair(median: f64, least: f64, decimals: usize) -> String {
    format!("{median:.decimals$} ({least:.decimals$})")
}

fn of(comparison: &Comparison, engine: Engine) -> Option<&Measured> {
    comparison.engines.iter().find(|measured| measured.engine == engine)
}

/// How many times faster ours is than the better of the engines to beat, by medians and by least times.
fn faster(comparison: &Comparison) -> Option<(f64, f64)> {
    let ours = of(comparison, Engine::Lrpet)?;
    let rivals = || comparison.engines.iter().filter(|measured| measured.engine.is_rival());
    let median = rivals().map(|rival| rival.median_ms).reduce(f64::min)?;
    let least = rivals().map(|rival| rival.least_ms).reduce(f64::min)?;
    Some((median / ours.median_ms, least / ours.least_ms))
}

/// Ours, as a share of the multiply-adds that the cores could do.
fn peak_share(comparison: &Comparison) -> Option<f64> {
    let ours = of(comparison, Engine::Lrpet)?;
    let peak = comparison.peak_gmacs? * f64::from(comparison.threads);
    Some(comparison.macs as f64 / (ours.least_ms * 1e6) / peak)
}

/// Of every low-rank network whose dense one was measured too, for each engine.
pub fn realisations(networks: &[Comparison]) -> Vec<Realisation> {
    let mut all = Vec::new();
    for low in networks.iter().filter(|network| network.subject.prune > 0.0) {
        let is_dense =
            |other: &&Comparison| other.subject.network == low.subject.network && other.subject.prune == 0.0;
        let Some(dense) = networks.iter().find(is_dense) else { continue };
        let cut = dense.macs as f64 / low.macs as f64;
        for measured in &low.engines {
            let Some(full) = of(dense, measured.engine) else { continue };
            all.push(Realisation {
                network: low.subject.network.clone(),
                prune: low.subject.prune,
                engine: measured.engine,
                median: full.median_ms / measured.median_ms / cut,
                least: full.least_ms / measured.least_ms / cut,
            });
        }
    }
    all
}

/// Both tables, in Markdown, and what is to be known about them.
pub fn text(networks: &[Comparison]) -> String {
    let mut text = String::new();
    let Some(first) = networks.first() else { return text };
    let heads =
        first.engines.iter().map(|measured| format!("{} {}", measured.engine.name(), measured.version));
    let heads: Vec<String> = heads.collect();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let name = |network: &str, prune: f64| match prune {
        0.0 => format!("{network} dense"),
        g => format!("{network} g = {g}"),
    };
    let dash = || "–".to_owned();
    let cells = |first: &[&str], middle: &[String], last: &[&str]| -> Vec<String> {
        let own = |text: &&str| (*text).to_owned();
        first.iter().map(own).chain(middle.iter().cloned()).chain(last.iter().map(own)).collect()
    };

    lines.push(cells(
        &["network", "images", "multiply-adds"],
        &heads,
        &["times faster than the best of ONNX Runtime and OpenVINO", "of the peak"],
    ));
    lines.push(vec!["---".to_owned(); heads.len() + 5]);
    for network in networks {
        let times = network.engines.iter().map(|measured| pair(measured.median_ms, measured.least_ms, 3));
        let faster = faster(network).map_or_else(dash, |(median, least)| pair(median, least, 2));
        let share = peak_share(network).map_or_else(dash, |share| format!("{:.0} %", 100.0 * share));
        let macs = format!("{:.2} M", network.macs as f64 / 1e6);
        let label = name(&network.subject.network, network.subject.prune);
        let input = network.input.map(|size| size.to_string()).join("×");
        lines.push(cells(&[&label, &input, &macs], &times.collect::<Vec<_>>(), &[&faster, &share]));
    }
    let realised = realisations(networks);
    if !realised.is_empty() {
        let engines: Vec<Engine> = first.engines.iter().map(|measured| measured.engine).collect();
        let names: Vec<String> = engines.iter().map(|engine| engine.name().to_owned()).collect();
        lines.push(Vec::new());
        lines.push(cells(&["realisation"], &names, &[]));
        lines.push(vec!["---".to_owned(); names.len() + 1]);
        for one in realised.chunks(engines.len()) {
            let Some(Realisation { network, prune, .. }) = one.first() else { continue };
            let shares: Vec<String> = one.iter().map(|one| pair(one.median, one.least, 2)).collect();
            lines.push(cells(&[&name(network, *prune)], &shares, &[]));
        }
    }
    for line in lines {
        let _ = match line.as_slice() {
            [] => writeln!(text),
            cells => writeln!(text, "| {} |", cells.join(" | ")),
        };
    }
    let _ = writeln!(text);
    let peak = networks.iter().filter_map(|network| network.peak_gmacs).reduce(f64::max);
    let packed: Vec<String> = networks.iter().map(|network| network.packed_bytes.to_string()).collect();
    let _ = writeln!(
        text,
        "lrpet: {}, f16 storage, f32 sums; packed weights {} bytes; a loop of multiply-adds on one core \
         reaches {} here",
        first.isa,
        packed.join(", "),
        peak.map_or_else(dash, |peak| format!("{peak:.1} GMAC/s")),
    );
    for measured in &first.engines {
        if let Some(call) = measured.call_us {
            let _ = writeln!(
                text,
                "{}: f32; a call from Python that computes nothing takes {call:.1} µs",
                measured.engine.name()
            );
        }
    }
    let difference = |network: &Comparison| format!("{:.0e}", network.difference);
    let differences: Vec<String> = networks.iter().map(difference).collect();
    let _ = writeln!(text, "logits agree to {} of the largest", differences.join(", "));
    let others = networks.iter().filter_map(|network| network.others).reduce(f64::max);
    if let Some(others) = others.filter(|others| *others > QUIET) {
        let _ = writeln!(
            text,
            "other programs used up to {:.0} % of the processors: measure again on an idle machine",
            100.0 * others
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Subject;
    use super::*;

    fn comparison(prune: f64, macs: u64, times: [(Engine, f64); 3]) -> Comparison {
        let engines = times.map(|(engine, least_ms)| Measured {
            engine,
            version: "1".to_owned(),
            median_ms: least_ms * 2.0,
            least_ms,
            inferences: 10,
            call_us: None,
        });
        Comparison {
            subject: Subject { network: "net".to_owned(), prune },
            input: [3, 224, 224],
            macs,
            threads: 1,
            isa: "avx2".to_owned(),
            packed_bytes: 7,
            peak_gmacs: Some(50.0),
            difference: 1e-5,
            engines: engines.to_vec(),
            others: Some(0.5),
        }
    }

    fn both() -> [Comparison; 2] {
        use Engine::{Lrpet, OnnxRuntime, OpenVino};
        [
            comparison(0.0, 40_000_000, [(Lrpet, 1.0), (OnnxRuntime, 0.9), (OpenVino, 1.2)]),
            comparison(0.8, 10_000_000, [(Lrpet, 0.25), (OnnxRuntime, 0.6), (OpenVino, 0.5)]),
        ]
    }

    #[test]
    fn the_tables_have_ratios_to_the_better_rival_and_realisation() {
        let text = text(&both());
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert_eq!(
            row("| net dense"),
            "| net dense | 3×224×224 | 40.00 M | 2.000 (1.000) | 1.800 (0.900) | 2.400 (1.200) | 0.90 (0.90) | 80 % |"
        );
        assert!(row("| net g = 0.8 | 3×224×224 | 10").ends_with("| 2.00 (2.00) | 80 % |"), "{text}");
        assert!(text.contains("| net g = 0.8 | 1.00 (1.00) | 0.38 (0.38) | 0.60 (0.60) |"), "{text}");
        assert!(text.contains("other programs used up to 50 %"), "{text}");
    }

    #[test]
    fn without_a_dense_network_nothing_is_realised() {
        let [_, low] = both();
        assert!(realisations(std::slice::from_ref(&low)).is_empty());
        assert!(!text(&[low]).contains("realisation"));
    }
}
