//! The safetensors view: what it reads, what it refuses, and that it accepts nothing that the `safetensors` crate does
//! not.

mod support;

use std::time::{Duration, Instant};

use lrpet_runtime::format::{Dtype, FormatError, MAX_HEADER_BYTES, MAX_METADATA, MAX_TENSORS, SafeTensors};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::every_op;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

#[test]
fn tensors_are_found_in_place() {
    let header = r#" "__metadata__" : {"a":"1", "b\"" : "x\u00e9\ud83d\ude00\n\/", "":""} ,
        "two" : {"shape":[2, 3],"data_offsets":[0,12],"dtype":"F16"},
        "on\u0065" : {"dtype":"F32","shape":[],"data_offsets":[12,16]},
        "none" : {"dtype":"U8","shape":[0,7],"data_offsets":[16,16]} }   "#;
    let header = format!("{{{header}");
    let bytes = file(&header, 16);
    let view = SafeTensors::new_checked(&bytes).unwrap();
    let two = view.tensor("two").unwrap();
    assert_eq!(
        (two.dtype, two.shape.as_slice(), two.data),
        (Dtype::F16, &[2, 3][..], &bytes[8 + header.len()..][..12])
    );
    assert_eq!(two.offset, 8 + header.len());
    assert_eq!(view.tensor("one").unwrap().data, [12, 13, 14, 15]);
    assert_eq!(view.find(&["o", "", "ne"]).unwrap().shape.as_slice(), [0u32; 0]);
    assert!(view.tensor("none").unwrap().data.is_empty());
    assert!(["", "on", "onee", "__metadata__", "dtype"].iter().all(|name| view.tensor(name).is_none()));
    assert_eq!(view.tensors().count(), 3);
    let card: Vec<_> = view.metadata().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let expected = [("a", "1"), ("b\"", "x\u{e9}\u{1f600}\n/"), ("", "")];
    assert_eq!(card, expected.map(|(key, value)| (key.to_string(), value.to_string())));
    assert_eq!(view.metadata_value("a").unwrap().as_plain(), Some("1"));
    assert!(view.metadata_value("two").is_none());
}

#[test]
fn an_empty_file_of_tensors_is_one() {
    for header in ["{}", "{ }  ", r#"{"__metadata__":{}}"#] {
        let bytes = file(header, 0);
        let view = SafeTensors::new_checked(&bytes).unwrap();
        assert_eq!((view.tensors().count(), view.metadata().count()), (0, 0));
    }
}

/// The error for a header over four bytes of data, by the beginning of its Debug form.
fn refusal(header: &str) -> String {
    let bytes = file(header, 4);
    let error = SafeTensors::new_checked(&bytes).expect_err(header);
    assert!(!error.to_string().is_empty());
    let text = format!("{error:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_string()
}

#[test]
fn each_defect_has_its_error() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
    };
    let one = entry("U8", "[4]", "[0,4]");
    let cases = [
        ("Json", String::new()),
        ("Json", " {}".into()),
        ("Json", "[]".into()),
        ("Json", "{".into()),
        ("Json", r#"{"a"}"#.into()),
        ("Json", format!(r#"{{"a":{one},}}"#)),
        ("Json", format!(r#"{{"a":{one}}} x"#)),
        ("Json", format!(r#"{{"a":{one}"#)),
        ("Json", format!(r#"{{"\x":{one}}}"#)),
        ("Json", format!(r#"{{"\ud800":{one}}}"#)),
        ("Json", format!(r#"{{"\ud800\u0041":{one}}}"#)),
        ("Json", format!(r#"{{"\u+041":{one}}}"#)),
        ("Json", format!("{{\"a\tb\":{one}}}")),
        ("Json", r#"{"__metadata__":{"a":1}}"#.into()),
        ("Json", r#"{"__metadata__":{"a":{"b":"c"}}}"#.into()),
        ("Json", r#"{"a":[[[[[[[["#.into()),
        ("Json", format!(r#"{{"a":{}}}"#, entry("U8", "[04]", "[0,4]"))),
        ("Json", format!(r#"{{"a":{}}}"#, entry("U8", "[-4]", "[0,4]"))),
        ("Json", format!(r#"{{"a":{}}}"#, entry("U8", "[4.0]", "[0,4]"))),
        ("Json", format!(r#"{{"a":{}}}"#, entry("U8", "[4]", "[0,4,4]"))),
        ("NumberTooLarge", format!(r#"{{"a":{}}}"#, entry("U8", "[4]", "[0,18446744073709551616]"))),
        ("NumberTooLarge", format!(r#"{{"a":{}}}"#, entry("U8", "[4294967296]", "[0,4]"))),
        ("Duplicate", format!(r#"{{"a":{one},"a":{one}}}"#)),
        ("Duplicate", format!(r#"{{"a":{one},"\u0061":{one}}}"#)),
        ("Duplicate", r#"{"__metadata__":{"a":"1","b":"2","a":"3"}}"#.into()),
        ("Duplicate", r#"{"__metadata__":{},"__metadata__":{}}"#.into()),
        ("Fields", r#"{"a":{"dtype":"U8","shape":[4]}}"#.into()),
        ("Fields", r#"{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#.into()),
        ("Fields", r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1}}"#.into()),
        ("Dtype", format!(r#"{{"a":{}}}"#, entry("F17", "[4]", "[0,4]"))),
        ("Axes", format!(r#"{{"a":{}}}"#, entry("U8", "[1,1,1,1,4]", "[0,4]"))),
        ("OutOfBounds", format!(r#"{{"a":{}}}"#, entry("U8", "[5]", "[0,5]"))),
        ("OutOfBounds", format!(r#"{{"a":{}}}"#, entry("U8", "[4]", "[4,0]"))),
        (
            "OutOfBounds",
            format!(r#"{{"a":{}}}"#, entry("U8", "[4]", "[18446744073709551615,18446744073709551615]")),
        ),
        ("Size", format!(r#"{{"a":{}}}"#, entry("F16", "[4]", "[0,4]"))),
        ("Size", format!(r#"{{"a":{}}}"#, entry("F64", "[4294967295,4294967295,4294967295]", "[0,4]"))),
        ("Hole", format!(r#"{{"a":{}}}"#, entry("U8", "[3]", "[0,3]"))),
        ("Hole", format!(r#"{{"a":{}}}"#, entry("U8", "[3]", "[1,4]"))),
        ("Hole", "{}".into()),
        ("Overlap", format!(r#"{{"a":{one},"b":{}}}"#, entry("U8", "[2]", "[2,4]"))),
        ("Overlap", format!(r#"{{"a":{one},"b":{one}}}"#)),
    ];
    for (expected, header) in cases {
        assert_eq!(refusal(&header), expected, "{header}");
    }
    assert_eq!(SafeTensors::new_checked(&[0; 7]).unwrap_err(), FormatError::TooShort { given: 7 });
    let long = SafeTensors::new_checked(&[255; 9]).unwrap_err();
    assert_eq!(long, FormatError::HeaderLength { length: u64::MAX, available: 1 });
    assert_eq!(SafeTensors::new_checked(&[1, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap_err(), FormatError::NotUtf8);
}

#[test]
fn tensors_may_be_listed_out_of_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let entries: Vec<String> = (0..300)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[2],"data_offsets":[{},{}]}}"#, 2 * i, 2 * i + 2))
        .collect();
    let mut shuffled = entries.clone();
    shuffled.sort_by_cached_key(|_| rng.random::<u32>());
    let bytes = file(&format!("{{{}}}", shuffled.join(",")), 600);
    let view = SafeTensors::new_checked(&bytes).unwrap();
    assert_eq!(view.tensor("77").unwrap().data, [154, 155]);
    // Empty tensors share an offset with their neighbours.
    shuffled.push(r#""empty":{"dtype":"F64","shape":[0],"data_offsets":[300,300]}"#.into());
    let bytes = file(&format!("{{{}}}", shuffled.join(",")), 600);
    SafeTensors::new_checked(&bytes).unwrap();
    shuffled.remove(150);
    let bytes = file(&format!("{{{}}}", shuffled.join(",")), 600);
    assert!(matches!(SafeTensors::new_checked(&bytes), Err(FormatError::Hole { .. })));
}

/// A header of `tensors` tensors of a byte each, the last one of the data first, and `keys` keys of metadata.
fn large_header(tensors: usize, keys: usize) -> String {
    let keys: Vec<String> = (0..keys).map(|i| format!(r#""key number {i}":"a value""#)).collect();
    let mut members = vec![format!(r#""__metadata__":{{{}}}"#, keys.join(","))];
    let entry = |i| format!(r#""t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1);
    members.extend((0..tensors).rev().map(entry));
    format!("{{{}}}", members.join(","))
}

/// What is accepted takes a moment, and what would take longer is refused: each of these took the version before more than
/// ten seconds, in the profile of the tests.
#[test]
fn a_large_header_is_checked_or_refused_soon() {
    let start = Instant::now();
    let (most, keys) = (MAX_TENSORS, MAX_METADATA);
    let bytes = file(&large_header(most, keys), most);
    let view = SafeTensors::new_checked(&bytes).unwrap();
    assert_eq!((view.tensors().count(), view.metadata().count()), (most, keys));
    assert_eq!(view.tensor("t77").unwrap().data, [77]);
    assert_eq!(view.metadata_value("key number 77").unwrap().as_plain(), Some("a value"));

    let refused = |tensors, keys| {
        let bytes = file(&large_header(tensors, keys), tensors);
        let error = SafeTensors::new_checked(&bytes).map(|_| ()).map_err(|error| error.to_string());
        error.unwrap_err()
    };
    assert!(refused(most + 1, 0).starts_with("more than 1024 tensors"));
    assert!(refused(0, keys + 1).starts_with("more than 1024 keys of metadata"));
    assert!(refused(8000, 8000).starts_with("more than 1024 "));
    let long = format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "x".repeat(MAX_HEADER_BYTES));
    assert!(SafeTensors::new_checked(&file(&long, 0)).unwrap_err().to_string().contains("may have 1048576"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    // A name that comes twice is found among many, wherever it stands.
    for at in [0, 500, 1022] {
        let header = large_header(most, keys);
        let twice = header.replace(&format!("\"t{at}\""), "\"t1023\"");
        let error = SafeTensors::new_checked(&file(&twice, most)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "the name t1023 occurs twice");
        let twice = header.replace(&format!("\"key number {at}\""), r#""key number \u0031023""#);
        let error = SafeTensors::new_checked(&file(&twice, most)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "the name key number 1023 occurs twice");
    }
}

#[test]
fn nothing_is_accepted_that_the_safetensors_crate_refuses() {
    let original = every_op(1).file(1).bytes().to_vec();
    let header = u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        let at = 8 + rng.random_range(0..header);
        bytes[at] = *b"0123456789\"{}[],:\\u abF".get(rng.random_range(0..23)).unwrap();
        if SafeTensors::new_checked(&bytes).is_ok() {
            accepted += 1;
            let reference = safetensors::SafeTensors::deserialize(&bytes);
            assert!(reference.is_ok(), "{:?} at byte {at}", reference.err());
        }
    }
    assert!(accepted > 500, "{accepted}");
}
