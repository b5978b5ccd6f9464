//! What comes on a board's serial line: whatever it is, each `%` has a reply, and a new session works.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::serve;
use lrpet_runtime::model::Shape;
use lrpet_tests::random_model::small_model;

static MODEL: LazyLock<Vec<u8>> =
    LazyLock::new(|| small_model(Shape::new(1, 4, 3), 2, 3).expect("a model of two layers"));

/// Most inferences that a line may ask for here, in digits.
const DIGITS: usize = 2;

fuzz_target!(|bytes: &[u8]| {
    // A count of many digits only takes time.
    let digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    if bytes.windows(5).any(|word| word == b"infer") && bytes.windows(DIGITS + 1).any(digits) {
        return;
    }
    let text = serve(&MODEL, bytes);
    assert!(text.starts_with("m-init-done\r\nm-ready\r\n") && text.ends_with("m-ready\r\n"));
    for line in text.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']) && line.is_ascii(), "{line:?}");
    }
    // A second without anything, and a session as a runner begins it.
    let whole = [
        bytes,
        b"\xfd\xfd\xfd\xfd\xfd\xfd\xfd\xfd\xfd\xfd%name%db load 12%db 000102030405060708090a0b%infer 1 0%",
    ]
    .concat();
    let text = serve(&MODEL, &whole);
    let at = text.rfind("m-results-[").expect("the result of the last session");
    assert!(text[at..].ends_with("m-infer-done\r\nm-ready\r\n") || text[at..].ends_with("]\r\nm-ready\r\n"));
});
