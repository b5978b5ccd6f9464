//! Files that are whole, cut, filled, repaired and damaged.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;

use super::super::picture::decode;
use super::*;

/// A picture without a smooth place, so that every block has data.
fn encoded(width: u32, height: u32) -> Vec<u8> {
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 + y) as u8, (x * y) as u8, (y * 31 % 251) as u8])
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(&picture).unwrap();
    bytes
}

const SAMPLES: [&[u8]; 6] = [
    include_bytes!("../picture/samples/progressive.jpg"),
    include_bytes!("../picture/samples/progressive-grey.jpg"),
    include_bytes!("../picture/samples/progressive-420.jpg"),
    include_bytes!("../picture/samples/optimised.jpg"),
    include_bytes!("../picture/samples/restart.jpg"),
    include_bytes!("../picture/samples/cmyk.jpg"),
];

/// Where the data of the first scan begin.
fn data(bytes: &[u8]) -> usize {
    let scan = bytes.windows(2).rposition(|pair| pair == [0xff, SCAN]).unwrap();
    scan + 2 + usize::from(u16::from_be_bytes([bytes[scan + 2], bytes[scan + 3]]))
}

/// Pictures of which only the end marker is missing, or behind which something else lies, are read as the whole ones.
#[test]
fn a_missing_end_and_what_lies_behind_it_change_nothing() {
    let large = encoded(200, 150);
    let second = encoded(16, 16);
    for whole in SAMPLES.into_iter().chain([&large[..]]) {
        let picture = decode(whole, 3).unwrap();
        let end = whole.len() - 2;
        assert_eq!(whole[end..], [0xff, END]);
        let zeros = vec![0; 5000];
        let film = [b"\0\0\0\x18ftypmp42", &second[..], &[0xff, 0x4f, 0xff, 0x90]].concat();
        for (what, bytes) in [
            ("no end marker", whole[..end].to_vec()),
            ("half of it", whole[..end + 1].to_vec()),
            ("zeros behind it", [whole, &zeros].concat()),
            ("zeros in its place", [&whole[..end], &zeros].concat()),
            ("a second picture", [whole, &second].concat()),
            ("a film", [whole, &film].concat()),
            ("a film that is cut", [whole, &film[..film.len() - 3]].concat()),
            ("a few bytes of padding", [&whole[..end], &[7; 5], &whole[end..]].concat()),
        ] {
            let found = decode(&bytes, 3).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(found == picture, "{what}: another picture");
        }
    }
}

/// The last few bytes hold the lower right corner: without them the rest is as it was.
#[test]
fn a_few_bytes_less_are_the_corner() {
    let whole = encoded(200, 150);
    let picture = decode(&whole, 3).unwrap();
    for missing in 3..12 {
        let found = decode(&whole[..whole.len() - missing], 3).unwrap();
        let rows = 3 * 200 * 144;
        assert_eq!(found.pixels[..rows], picture.pixels[..rows], "{missing}");
        assert!(found.pixels[rows..].chunks(600).all(|row| row.len() == 600));
        let right = 3 * (200 - 16);
        let same = (144..150).all(|y| {
            let row = y * 600..y * 600 + right;
            found.pixels[row.clone()] == picture.pixels[row]
        });
        assert!(same, "{missing}");
    }
}

/// Decoders would fill the lower part with grey: with an end marker or without, with zeros or a second picture behind.
#[test]
fn a_scan_cut_in_the_middle_is_refused_however_the_file_goes_on() {
    let large = encoded(200, 150);
    let zeros_and_end = [&[0; 500][..], &[0xff, END]].concat();
    let tails = [&[][..], &[0xff, END], &large, &[0; 3000], &zeros_and_end];
    for whole in SAMPLES.into_iter().chain([&large[..]]) {
        let start = data(whole);
        let length = whole.len() - 2 - start;
        // In a picture of six blocks a few zeros may stand for the rest.
        let tails = if whole.len() > 2000 { &tails[..] } else { &tails[..3] };
        for (share, tail) in
            [0, 10, 50].into_iter().flat_map(|share| tails.iter().map(move |tail| (share, tail)))
        {
            let bytes = [&whole[..start + length * share / 100], tail].concat();
            let error = decode(&bytes, 3).map(|_| ()).expect_err(&format!("{share} %, {} more", tail.len()));
            assert!(error.contains("truncated JPEG") || error.contains("damaged JPEG"), "{error}");
        }
    }
    let half = data(&large) + (large.len() - data(&large)) / 2;
    let error = whole(&large[..half]).unwrap_err();
    assert!(error.contains("truncated JPEG (its data end after 4") || error.contains("after 5"), "{error}");
}

/// A block of the file that holds something else: zeros, ones, other data.
#[test]
fn damage_inside_the_data_is_found() {
    let whole = encoded(200, 150);
    let start = data(&whole);
    let middle = start + (whole.len() - start) / 2;
    for (what, damage) in [
        ("zeros", vec![0; 512]),
        ("bytes of ones", [0xff, 0].repeat(256)),
        ("text", b"<html> ".repeat(80)[..512].to_vec()),
        ("a marker", [0xff, 0xd3].repeat(256)),
    ] {
        let mut bytes = whole.clone();
        bytes[middle..middle + 512].copy_from_slice(&damage);
        let error = decode(&bytes, 3).map(|_| ()).expect_err(what);
        assert!(error.contains("JPEG"), "{what}: {error}");
    }
    let mut removed = whole.clone();
    removed.drain(middle..middle + 300);
    assert!(decode(&removed, 3).is_err(), "bytes removed");
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_files() {
    let (inner, mut bytes) = (encoded(8, 8), encoded(30, 20));
    let length = ((inner.len() + 2) as u16).to_be_bytes();
    let segment = [&[0xff, 0xe1], &length[..], &inner].concat();
    bytes.splice(2..2, segment);
    assert!(whole(&bytes).is_ok());
    assert!(whole(&bytes[..bytes.len() / 2 + inner.len() / 2]).is_err());
    let found = header(&mut Cursor::new(&bytes)).unwrap();
    assert_eq!((found.width, found.height, found.grey), (30, 20, false));
}

#[test]
fn headers_that_end_early_are_errors() {
    let bytes = encoded(50, 40);
    let scan = bytes.windows(2).position(|pair| pair == [0xff, SCAN]).unwrap();
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for length in 0..frame + 10 {
        assert!(header(&mut Cursor::new(&bytes[..length])).unwrap_err().contains("truncated"));
    }
    for length in 0..scan + 14 {
        assert!(whole(&bytes[..length]).unwrap_err().contains("truncated"), "{length}");
    }
    let headless = [&bytes[..2], &bytes[scan..]].concat();
    assert!(header(&mut Cursor::new(&headless)).unwrap_err().contains("without a frame header"));
    assert!(whole(&headless).unwrap_err().contains("without a frame header"));
}

/// What decoders do not read either is named, not called damaged.
#[test]
fn rare_kinds_are_refused_by_name() {
    let bytes = encoded(50, 40);
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (code, precision, words) in [
        (0xc9, 8, "arithmetic coding"),
        (0xc3, 8, "lossless coding"),
        (0xc1, 12, "values of more than 8 bits"),
        (0xc5, 8, "hierarchical coding"),
    ] {
        let mut bytes = bytes.clone();
        (bytes[frame + 1], bytes[frame + 4]) = (code, precision);
        let error = whole(&bytes).unwrap_err();
        assert!(error.contains(words) && error.contains("save it as"), "{error}");
    }
}

/// Any damage is an error or another picture, never a panic.
#[test]
fn every_byte_may_be_wrong() {
    for sample in SAMPLES {
        for at in 2..sample.len() {
            for wrong in [0x5a, 0xff, 0x01] {
                let mut bytes = sample.to_vec();
                bytes[at] ^= wrong;
                let _ = whole(&bytes);
                let _ = header(&mut Cursor::new(&bytes));
            }
        }
    }
}

/// The first scans of a progressive picture, which an end marker makes neither whole nor sharp.
#[test]
fn a_progressive_picture_cut_between_two_scans_is_refused_also_with_an_end_marker() {
    for sample in &SAMPLES[..3] {
        let scans: Vec<usize> =
            (0..sample.len()).filter(|&at| sample[at..].starts_with(&[0xff, SCAN])).collect();
        assert!(scans.len() > 3);
        for pair in scans.windows(2) {
            let behind = sample[pair[0]..pair[1]].windows(2).rposition(|pair| pair == [0xff, CODES]);
            let end = behind.map_or(pair[1], |behind| pair[0] + behind);
            for tail in [&[0xff, END][..], &[]] {
                let error = whole(&[&sample[..end], tail].concat()).unwrap_err();
                assert!(error.contains("scans") || error.contains("components"), "{error}");
            }
        }
    }
}

/// Zeros in the place of data are no picture, also where what is behind them fits again.
#[test]
fn a_hole_of_zeros_is_found_however_the_data_end() {
    let whole = encoded(200, 150);
    let start = data(&whole);
    // So many zeros that two blocks lie in them.
    for (at, length) in [(0, 128), (10, 128), (30, 400), (70, 128), (90, 400)] {
        let mut bytes = whole.clone();
        let from = start + (whole.len() - start) * at / 100;
        bytes[from..from + length].fill(0);
        let error = super::whole(&bytes).unwrap_err();
        let percent = error.split(' ').find_map(|word| word.parse::<usize>().ok());
        // Not at the end, where too much or too little is left, but where the hole is.
        assert!(percent.is_some_and(|percent| percent <= at + 5), "{at} %: {error}");
    }
}

/// A grey JPEG of `data`, whose only codes are a single zero bit each: a mean that differs by so many bits, and no more.
fn of_zeros(width: u16, height: u16, bits: u8, data: usize) -> Vec<u8> {
    let [w1, w0] = width.to_be_bytes();
    let [h1, h0] = height.to_be_bytes();
    let codes = |place: u8, symbol: u8| [&[0xff, CODES, 0, 20, place, 1][..], &[0; 15], &[symbol]].concat();
    [
        &[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0][..],
        &[1; 64],
        &[0xff, 0xc0, 0, 11, 8, h1, h0, w1, w0, 1, 1, 0x11, 0],
        &codes(0, bits),
        &codes(0x10, 0),
        &[0xff, SCAN, 0, 8, 1, 1, 0, 0, 63, 0],
        &vec![0; data],
        &[0xff, END],
    ]
    .concat()
}

/// In codes of a file's own a smooth part may be zeros alone.
#[test]
fn smooth_pictures_are_read_at_every_quality_and_in_codes_of_their_own() {
    // 4096 blocks of two bits that are all the same; 128 that grow darker, of three bits.
    let flat = decode(&of_zeros(512, 512, 0, 1024), 1).unwrap();
    assert!(flat.pixels.iter().all(|&value| value == 128));
    let ramp = decode(&of_zeros(1024, 8, 1, 48), 1).unwrap();
    assert!(ramp.pixels[0] == 128 && ramp.pixels[1023] < 120);
    let drawn: [fn(u32, u32) -> [u8; 3]; 6] = [
        |_, _| [0; 3],
        |_, _| [255; 3],
        |_, _| [200, 30, 90],
        |x, y| [(x / 2) as u8, (y / 2) as u8, 255],
        |x, _| if x / 8 % 2 == 0 { [0; 3] } else { [255, 255, 0] },
        |x, y| if (x + y) % 2 == 0 { [0; 3] } else { [255; 3] },
    ];
    for (number, draw) in drawn.into_iter().enumerate() {
        let picture = image::RgbImage::from_fn(240, 200, |x, y| image::Rgb(draw(x, y)));
        for quality in [1, 10, 50, 75, 95, 100] {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&picture).unwrap();
            assert!(whole(&bytes).is_ok(), "picture {number}, quality {quality}");
        }
    }
}
