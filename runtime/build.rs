//! Says which FPU a Cortex-M has: no target of Rust's tells a Cortex-M4 from an M7, or an M33 from an M55.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(fpv5)");
    println!("cargo::rustc-check-cfg=cfg(cortex_m55)");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.starts_with("thumbv8m.main") || std::env::var_os("CARGO_FEATURE_CORTEX_M7").is_some() {
        println!("cargo::rustc-cfg=fpv5");
    }
    if target == "thumbv8m.main-none-eabihf" && std::env::var_os("CARGO_FEATURE_CORTEX_M55").is_some() {
        println!("cargo::rustc-cfg=cortex_m55");
    }
}
