//! Files that are damaged, or beyond all measure.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::operations::ALL;
use super::{SMALL, read};
use crate::network::Known;

/// Files with random damage are read or refused: no panic, little time, and what is read is written as the same.
#[test]
fn damaged_files_are_refused_or_harmless() {
    let start = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let seeds: Vec<String> = ["resnet8", "ds_cnn", "googlenet"]
        .iter()
        .map(|name| {
            let known = Known::named(name).unwrap();
            known.build(known.input, known.classes).unwrap().to_text()
        })
        .chain([SMALL, SMALL, ALL, ALL].map(str::to_owned))
        .collect();
    let numbers = [
        "0",
        "-1",
        "1",
        "65535",
        "65536",
        "2147483647",
        "4294967295",
        "99999999999999999999",
        "1e999",
        "[]",
        "{}",
    ];
    let (mut read_whole, mut refused) = (0, 0);
    for _ in 0..6000 {
        let seed = &seeds[rng.random_range(0..seeds.len())];
        let mut lines: Vec<String> = seed.lines().map(str::to_owned).collect();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..lines.len());
            match rng.random_range(0..6) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[rng.random_range(0..lines.len())].clone()),
                2 => {
                    let other = rng.random_range(0..lines.len());
                    lines.swap(at, other);
                }
                3 => {
                    let field = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{field}= {}", numbers[rng.random_range(0..numbers.len())]);
                }
                4 => {
                    let mut bytes = lines[at].clone().into_bytes();
                    bytes.insert(rng.random_range(0..=bytes.len()), rng.random_range(0..128));
                    lines[at] = String::from_utf8_lossy(&bytes).into_owned();
                }
                _ => {
                    let value =
                        lines[rng.random_range(0..lines.len())].split('=').nth(1).unwrap_or("1").to_owned();
                    let field = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{field}={value}");
                }
            }
        }
        match read(&lines.join("\n")) {
            Ok(network) => {
                read_whole += 1;
                assert!(network.value_shapes().is_some());
                let _ = network.cost();
                assert_eq!(read(&network.to_text()).unwrap(), network);
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 1000, "{error}");
            }
        }
    }
    assert!(read_whole > 300 && refused > 2000, "{read_whole} read, {refused} refused");
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn files_beyond_all_measure_are_refused_at_once() {
    let head = "version = 1\nname = \"n\"\n[input]\nchannels = 2\nwidth = 1\n[output]\nclasses = 2\n";
    let layer = |index: usize| format!("[[layer]]\nop = \"linear\"\nname = \"a{index}\"\nout = 2\n");
    let of = |count: usize| format!("{head}{}", (0..count).map(layer).collect::<String>());
    assert_eq!(read(&of(4096)).unwrap().layers.len(), 4096);
    assert!(read(&of(4097)).unwrap_err().to_string().contains("4096 layers at most"));
    let deep = format!("a{} = 1", ".a".repeat(100_000));
    assert!(read(&deep).is_err());
    assert!(read(&format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(read(&" ".repeat(9 << 20)).unwrap_err().to_string().contains("bytes at most"));
    // A linear layer of 2³¹ weights and more.
    let large = of(1).replace("channels = 2", "channels = 100000").replace("out = 2", "out = 100000");
    let large = large.replace("classes = 2", "classes = 100000");
    assert!(read(&large).unwrap_err().to_string().contains("10000000000 weights"));
}
