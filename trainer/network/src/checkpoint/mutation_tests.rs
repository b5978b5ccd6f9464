//! Checkpoints that were cut, changed, or made to do harm: one error or sound weights, no panic, no memory without end.

use lrpet_runtime::model::Shape;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

use super::tests::{Raw, file, raw};
use super::torch_tests::{archive, pth, saved};
use super::*;
use crate::network::Network;

/// A network of few weights, so that thousands of files are read in a moment.
fn small() -> Network {
    Network::by_name("ds_cnn", Shape::new(1, 12, 10), 3).unwrap()
}

/// What comes of the bytes; weights that are found must be of sound numbers.
fn read(network: &Network, bytes: &[u8]) -> Result<(), String> {
    let checkpoint = Checkpoint::from_bytes(bytes)?;
    for purpose in [Purpose::Model, Purpose::Training { new_head: true }] {
        let fitted = checkpoint.clone().fit(network, purpose).map_err(|error| error.to_string())?;
        let values = fitted.checkpoint.tensors.values().flat_map(|array| &array.values);
        assert!(values.into_iter().all(|value| value.is_finite()));
    }
    Ok(())
}

fn mutate(whole: &[u8], head: usize) {
    let network = small();
    read(&network, whole).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut refused = 0;
    // All cuts in the front and the back, some between.
    let ends = (0..head.min(300)).chain((whole.len() - 200)..whole.len());
    let cuts: Vec<usize> = ends.chain((0..100).map(|_| rng.random_range(0..whole.len()))).collect();
    for &cut in &cuts {
        let error = read(&network, &whole[..cut]).unwrap_err();
        assert!(!error.is_empty() && error.len() < 1000, "{error}");
    }
    for _ in 0..2000 {
        let mut bytes = whole.to_vec();
        for _ in 0..rng.random_range(1..4) {
            // Mostly where names, sizes and instructions are.
            let most = if rng.random_bool(0.9) { head } else { bytes.len() };
            let at = rng.random_range(0..most.min(bytes.len()));
            match rng.random_range(0..5) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random(),
                2 => bytes[at] = *b"0129[]{},\":.tuRQ)\xff".get(rng.random_range(0..18)).unwrap(),
                3 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.random()),
            }
        }
        if let Err(error) = read(&network, &bytes) {
            assert!(!error.is_empty() && error.len() < 2000, "{error}");
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused} of 2000");
}

#[test]
fn damaged_safetensors_are_refused_without_a_panic() {
    let checkpoint = Checkpoint::random(&small(), 1);
    let tensors: Vec<Raw> = (checkpoint.tensors.iter())
        .map(|(name, array)| (name.clone(), Dtype::F16, array.shape.clone(), raw(Dtype::F16, &array.values)))
        .collect();
    let whole = file(&tensors, &[("format", "pt"), ("tied", "conv1.weight")]);
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    mutate(&whole, 8 + header);
}

#[test]
fn damaged_archives_are_refused_without_a_panic() {
    let whole = pth(&saved(&Checkpoint::random(&small(), 1), &[Dtype::F16]));
    let pickle = whole.windows(17).position(|window| window == b"weights/byteorder").unwrap();
    mutate(&whole, pickle);
}

#[test]
fn changed_pickles_in_sound_archives_are_refused_without_a_panic() {
    let (network, mut rng) = (small(), ChaCha8Rng::seed_from_u64(2));
    let tensors = saved(&Checkpoint::random(&network, 1), &[Dtype::F16]);
    let whole = pth(&tensors);
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&whole)).unwrap();
    let mut pickle = Vec::new();
    std::io::Read::read_to_end(&mut zip.by_name("weights/data.pkl").unwrap(), &mut pickle).unwrap();
    for _ in 0..2000 {
        let mut bytes = pickle.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => {
                    bytes[at] =
                        *b"0129(tuRQ)}]sabeqh.\x85\x86\x87\x93\x94".get(rng.random_range(0..24)).unwrap()
                }
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let _ = read(&network, &super::torch_tests::pack(&bytes, &tensors));
    }
}

#[test]
fn what_would_take_memory_without_end_is_refused() {
    let refused = |bytes: &[u8]| read(&small(), bytes).unwrap_err();
    // Lengths of terabytes.
    refused(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    refused(&[&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat());
    let header = br#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    refused(&[&(header.len() as u64).to_le_bytes()[..], header].concat());
    refused(&archive(&[("a/data.pkl", b"\x80\x02X\xff\xff\xff\xff.")]));
    // An archive that says that its entry is far longer than the file.
    let mut bytes = pth(&saved(&Checkpoint::random(&small(), 1), &[Dtype::F16]));
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[directory + 20..directory + 28].fill(0x7f);
    refused(&bytes);
    // Names for one tensor, each of which would be a copy of it.
    let big = ("x.weight".to_owned(), Dtype::F32, vec![1 << 20], vec![0; 4 << 20]);
    let names: Vec<String> = super::check::layers(&small()).iter().flat_map(|layer| layer.names()).collect();
    let tied: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x.weight")).collect();
    let checkpoint = Checkpoint::from_bytes(&file(&[big], &tied)).unwrap();
    let named = checkpoint.named_for(&small(), None).unwrap();
    assert!(named.tensors.values().map(|array| array.values.len()).sum::<usize>() <= 2 << 20);
}
