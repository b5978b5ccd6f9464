//! Notes the revision of all sources that make up the program, and leaves their line tables out of it: they are four fifths of its
//! bytes. With `LRPET_LINE_TABLES=1` they stay, for a profiler; no crate is compiled anew for that.

use std::env;

#[path = "../report/origin.rs"]
mod origin;

fn main() {
    origin::revision(&[
        "build.rs",
        "Cargo.toml",
        "src",
        "data",
        "kernels",
        "network",
        "study",
        "train",
        "../firmware/tool/src",
        "../report",
        "../runtime/src",
    ]);
    println!("cargo::rerun-if-env-changed=LRPET_LINE_TABLES");
    let linux = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if linux && env::var_os("LRPET_LINE_TABLES").is_none() {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-debug");
    }
}
