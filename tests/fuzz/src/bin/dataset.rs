//! Files of data sets: IDX, CIFAR-10's official files, its sheets of PNG with their labels in JSON, arrays of values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_data::{idx, load, values};
use lrpet_fuzz::{in_file, in_folder, says};

/// Bytes of a file's length in front of two files.
const LENGTH: usize = 2;

// First a byte that says which files follow, then the length of the first of two.
fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let (first, second) = match rest.split_first_chunk::<LENGTH>() {
        Some((length, rest)) => rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len())),
        None => (rest, &[][..]),
    };
    let train =
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];
    match kind % 5 {
        0 => match in_file("fuzzed-idx3-ubyte", rest, idx::read) {
            Ok(array) => assert_eq!(array.values.len(), array.dims.iter().product::<usize>()),
            Err(error) => says(&error),
        },
        1 => {
            let files = [("images", first), ("labels", second)];
            let read = in_folder(&files, |folder| {
                idx::read_dataset(&folder.join("images"), &folder.join("labels"), &["a", "b", "c"])
            });
            match read {
                Ok(set) => {
                    assert_eq!(set.images.len(), set.labels.len() * set.shape.len());
                    assert!(set.labels.iter().all(|label| *label < 3));
                }
                Err(error) => says(&error),
            }
        }
        4 => {
            let files = [("train_x.npy", first), ("train_y.npy", second)];
            let read = in_folder(&files, |folder| {
                values::find(&values::Ask { folder, classes: None, test_share: 0.5 })
            });
            match read {
                Ok(found) => {
                    let counts = found.summary();
                    let samples = counts.shape.iter().product::<u32>() as usize * counts.test;
                    assert_eq!(found.test.samples.images.len(), samples);
                    assert_eq!(counts.test_by_class.iter().sum::<usize>(), counts.test);
                }
                Err(error) => says(&error),
            }
        }
        kind => {
            let ending = if kind == 2 { "bin" } else { "png" };
            let names: Vec<String> = train.iter().map(|name| format!("{name}.{ending}")).collect();
            let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), first)).collect();
            if kind == 3 {
                files.extend([("train_lables.json", second), ("test_lables.json", second)]);
            }
            let read = in_folder(&files, |folder| {
                let read = load("cifar10", Some(folder), true);
                // The other kind finds none of them.
                for (name, _) in &files {
                    std::fs::remove_file(folder.join(name)).expect("a file that was written");
                }
                read
            });
            match read {
                Ok(set) => assert_eq!(set.train.images.len(), set.train.labels.len() * set.train.shape.len()),
                Err(error) => says(&error),
            }
        }
    }
});
