//! Picture files of every kind that is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_data::{Preparation, picture};
use lrpet_fuzz::{in_file, says};
use lrpet_runtime::model::Shape;

/// Most pixels that are decoded: more only takes time.
const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    in_file("fuzzed", bytes, |path| {
        let header = match picture::header(path) {
            Ok(header) if u64::from(header.width) * u64::from(header.height) <= MOST => header,
            Ok(_) => return,
            Err(error) => return says(&error),
        };
        for channels in [1, 3] {
            match picture::read(path, channels) {
                Ok(picture) => {
                    assert_eq!((picture.width, picture.height), (header.width, header.height));
                    let length = u64::from(picture.width) * u64::from(picture.height) * u64::from(channels);
                    assert_eq!(picture.pixels.len() as u64, length);
                    let shape = Shape::new(channels, 8, 6);
                    let prepared = Preparation::for_model(shape, Some(1.0), [picture.height, picture.width]);
                    match prepared.and_then(|prepared| prepared.image(&picture)) {
                        Ok(image) => assert_eq!(image.len(), shape.len()),
                        Err(error) => says(&error),
                    }
                }
                Err(error) => says(&error),
            }
        }
    });
});
