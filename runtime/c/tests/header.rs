//! The header that is there is the one of the source. `LRPET_BLESS=1` writes it.

use std::path::Path;

#[test]
fn the_header_is_that_of_the_source() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_src(folder.join("src/lib.rs")).with_config(config);
    let mut header = Vec::new();
    bindings.generate().unwrap().write(&mut header);
    let header = without_safety(&String::from_utf8(header).unwrap());
    let path = folder.join("include/lrpet.h");
    if std::env::var_os("LRPET_BLESS").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == header, "include/lrpet.h is old: LRPET_BLESS=1 cargo test -p lrpet-c --test header");
}

/// The header without Rust's sections on safety: what they say stands once for all at its top.
fn without_safety(header: &str) -> String {
    let mut result = String::new();
    let mut skipping = false;
    for line in header.lines() {
        skipping = (skipping || line.trim() == "# Safety") && line.trim() != "*/";
        if skipping {
            // The empty line before the section goes too.
            result.truncate(result.trim_end_matches('\n').len() + 1);
        } else {
            result += line;
            result.push('\n');
        }
    }
    result
}
