//! Says which FPU a Cortex-M has: no target of Rust's tells a Cortex-M4 from an M7, or an M33 from an M55. And whether it is an
//! Armv8-M one, of which stable Rust says nothing.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(fpv5)");
    println!("cargo::rustc-check-cfg=cfg(cortex_m55)");
    println!("cargo::rustc-check-cfg=cfg(armv8m)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let armv8m = target.starts_with("thumbv8m.main");
    if armv8m {
        println!("cargo::rustc-cfg=armv8m");
    }
    if armv8m || std::env::var_os("CARGO_FEATURE_CORTEX_M7").is_some() {
        println!("cargo::rustc-cfg=fpv5");
    }
    if target == "thumbv8m.main-none-eabihf" && std::env::var_os("CARGO_FEATURE_CORTEX_M55").is_some() {
        println!("cargo::rustc-cfg=cortex_m55");
    }
}
