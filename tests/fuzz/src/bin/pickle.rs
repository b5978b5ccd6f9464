//! The pickle inside a file of PyTorch: packed as `torch.save` packs it, as damage to the archive is found by its sums.
#![no_main]

use std::io::{Cursor, Write};

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::{in_file, says};
use lrpet_network::Checkpoint;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fuzz_target!(|bytes: &[u8]| {
    let storage = [0x3f; 256];
    let entries: [(&str, &[u8]); 4] = [
        ("weights/data.pkl", bytes),
        ("weights/byteorder", b"little"),
        ("weights/data/0", &storage),
        ("weights/version", b"3\n"),
    ];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(name, options).and_then(|()| Ok(zip.write_all(bytes)?)).expect("an entry");
    }
    let archive = zip.finish().expect("an archive").into_inner();
    match in_file("fuzzed.pth", &archive, Checkpoint::read) {
        Ok(checkpoint) => {
            let read: usize = checkpoint.tensors.values().map(|array| array.values.len()).sum();
            assert!(read < 1 << 24, "{read} values from a storage of 64");
        }
        Err(error) => says(&error),
    }
});
