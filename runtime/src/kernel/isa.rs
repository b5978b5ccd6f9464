//! The instruction sets and the arithmetics that have kernels.

/// An instruction set that has kernels. The geometry of scratch depends on it, and is known for all of them on every
/// machine with an operating system, so that a desktop can plan for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// Cortex-M with a single-precision FPU (M4F, M7, M33).
    CortexM,
    /// Cortex-M55: products and sums in f32.
    CortexM55,
    /// Cortex-M55: products in f16, sums of a bounded number of them in f16 and of those in f32; intermediate values of
    /// pairs in f16. Results differ from those in f32 by about as much as activations are rounded; what exceeds ±65504
    /// on the way is wrong.
    CortexM55Half,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512F and F16C.
    Avx512,
    /// A64 (Cortex-A53, A72).
    Neon,
    /// A64 with f16 arithmetic, FEAT_FP16 (Cortex-A76).
    NeonF16,
}

/// What the products of a convolution are summed in. Weights and activations are f16 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arithmetic {
    /// f32, with one rounding for each stored value.
    #[default]
    F32,
    /// f16 for up to 144 products at a time, whose sums are added in f32; a pair's intermediate values are rounded to f16.
    /// What exceeds the range of f16 within such a sum is lost, and so are sums of four inputs where Winograd's tiles are
    /// used, that is inputs beyond 16376. Only on [`Isa::NeonF16`], twice as fast there, for
    /// convolutions on packed weights; other layers stay with f32.
    F16,
}

impl Arithmetic {
    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::F16 => "f16",
        }
    }
}

/// How convolutions on packed weights may be computed.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Whatever is fastest, by estimate. Where that is Winograd's way, results differ from those of [`Method::Direct`] by a few
    /// roundings of f32, which [`super::winograd_error`] bounds.
    #[default]
    Fastest,
    /// Every product is made, and summed in the order of the plain code: results are those of weights in place, to the bit.
    Direct,
    /// By Winograd's tiles of this size wherever they serve, faster or not: for tests and measurements.
    Tiles(super::WinogradTile),
}

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 8] = [
        Isa::Portable,
        Isa::CortexM,
        Isa::CortexM55,
        Isa::CortexM55Half,
        Isa::Avx2,
        Isa::Avx512,
        Isa::Neon,
        Isa::NeonF16,
    ];

    /// What a binary for this target uses without asking the processor.
    pub const NATIVE: Isa = if cfg!(all(cortex_m55, feature = "cortex-m55-f16")) {
        Isa::CortexM55Half
    } else if cfg!(cortex_m55) {
        Isa::CortexM55
    } else if cfg!(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")) {
        Isa::CortexM
    } else if cfg!(target_arch = "aarch64") {
        Isa::Neon
    } else {
        Isa::Portable
    };

    /// True where nothing is planned for other machines: on a Cortex-M their geometry would only take flash (6 KB).
    pub(crate) const ALONE: bool = cfg!(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"));

    /// True where this program can plan for it: everywhere but on a Cortex-M, which plans for itself alone.
    pub fn is_planned(self) -> bool {
        !Isa::ALONE || self == Isa::NATIVE
    }

    /// The best instruction set of this machine; asks the processor where the standard library is there.
    pub fn detect() -> Isa {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        return on_x86_64();
        #[cfg(all(target_arch = "aarch64", feature = "std"))]
        if std::arch::is_aarch64_feature_detected!("fp16") {
            return Isa::NeonF16;
        }
        #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
        Isa::NATIVE
    }

    /// True where this machine can execute it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => self.is_planned(),
            Isa::CortexM | Isa::CortexM55 | Isa::CortexM55Half => Isa::NATIVE == self,
            Isa::Avx2 => matches!(Isa::detect(), Isa::Avx2 | Isa::Avx512),
            Isa::Avx512 => Isa::detect() == Isa::Avx512,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            Isa::NeonF16 => Isa::detect() == Isa::NeonF16,
        }
    }

    /// True where it can compute with this arithmetic.
    pub fn has(self, arithmetic: Arithmetic) -> bool {
        arithmetic == Arithmetic::F32 || self == Isa::NeonF16
    }

    /// True where kernels read weights of 8 bits in place; a session of another has them as f16 in memory.
    #[cfg(feature = "std")]
    pub fn reads_eights(self) -> bool {
        matches!(self, Isa::Portable | Isa::CortexM | Isa::CortexM55 | Isa::CortexM55Half)
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::CortexM => "cortex-m",
            Isa::CortexM55 => "cortex-m55",
            Isa::CortexM55Half => "cortex-m55-f16",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::NeonF16 => "neon-f16",
        }
    }
}

/// What the processor has. (The standard library asks it once.)
#[cfg(all(target_arch = "x86_64", feature = "std"))]
fn on_x86_64() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Portable,
    }
}
