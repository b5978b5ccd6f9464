//! Notes the revision of all sources that make up the program.

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
}
