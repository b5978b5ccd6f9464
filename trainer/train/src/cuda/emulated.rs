//! The kernels on the CPU, for tests: `kernels.cu` by the system's C compiler, with `emulate.h`.

use std::ffi::c_void;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use libloading::{Library, Symbol};

/// Runs `kernel` with blocks along x, along y, and threads a block.
pub(super) fn launch<P>(kernel: &str, shape: [u32; 3], parameters: &P) {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    let library = LIBRARY.get_or_init(compiled);
    // SAFETY: `emulate.h` defines every kernel's function with this signature, and `parameters` is its structure.
    #[allow(unsafe_code)]
    unsafe {
        let name = format!("kernel_{kernel}\0");
        let function: Symbol<unsafe extern "C" fn(*const u32, *const c_void)> =
            library.get(name.as_bytes()).expect("a kernel of kernels.cu");
        let size: Symbol<*const u32> =
            library.get(format!("size_{kernel}\0").as_bytes()).expect("its structure");
        assert_eq!(**size as usize, size_of::<P>(), "{kernel}: parameters.rs has another structure");
        function(shape.as_ptr(), (&raw const *parameters).cast());
    }
}

fn compiled() -> Library {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("kernels.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/kernels.cu");
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    // No contraction: a GPU's is its own, and the tests' tolerances do not lean on this machine's.
    // Checked longjmp takes a jump between stacks for an error.
    compiler.args([
        "-O2",
        "-U_FORTIFY_SOURCE",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-x",
        "c",
    ]);
    let done = compiler.arg(source).arg("-o").arg(&library).arg("-lm").output().expect("a C compiler");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // SAFETY: the library was made a moment ago and runs nothing when it is loaded.
    #[allow(unsafe_code)]
    unsafe {
        Library::new(&library).expect("the library of the kernels")
    }
}
