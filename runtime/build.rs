//! Says which FPU a Cortex-M has: no target of Rust's tells a Cortex-M4 from an M7, or an M33 from an M55. Whether it is an
//! Armv8-M one, of which stable Rust says nothing. And whether there are weights of 8 bits.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(fpv5)");
    println!("cargo::rustc-check-cfg=cfg(cortex_m55)");
    println!("cargo::rustc-check-cfg=cfg(armv8m)");
    println!("cargo::rustc-check-cfg=cfg(eights)");
    let target = std::env::var("TARGET").unwrap_or_default();
    let feature = |name: &str| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    // Without memory for them as f16, the kernels of Cortex-A lack weights of 8 bits.
    if feature("STD") || feature("EIGHTS") && !target.starts_with("aarch64") {
        println!("cargo::rustc-cfg=eights");
    }
    let armv8m = target.starts_with("thumbv8m.main");
    if armv8m {
        println!("cargo::rustc-cfg=armv8m");
    }
    if armv8m || feature("CORTEX_M7") {
        println!("cargo::rustc-cfg=fpv5");
    }
    if target == "thumbv8m.main-none-eabihf" && feature("CORTEX_M55") {
        println!("cargo::rustc-cfg=cortex_m55");
    }
}
