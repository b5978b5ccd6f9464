//! Links for the board's memory.

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        println!("cargo::rustc-link-arg-bins=-Tlink.x");{{log script}}
        // Sections lie where memory.x says, not on pages of the size that the linker assumes.
        println!("cargo::rustc-link-arg-bins=--nmagic");
    }
}
