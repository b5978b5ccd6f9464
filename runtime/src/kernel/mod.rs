//! The operations on feature maps: f16 storage, f32 accumulation, one rounding for each stored value.
//!
//! A feature map is c planes of h·w f16 bits, one after another. Kernels know nothing of arenas and files: they get
//! slices. `portable` holds the algorithms, generic over a few primitives (`Primitives`) and over the number of
//! lanes; `wide` those for convolutions on packed weights; the other files bind them to an instruction set, `cortex_m`
//! with convolutions of its own. All scratch comes from the caller, `tile` says how much; a `team` of threads has its own.

pub mod f16;
mod portable;
pub mod tile;

/// Lanes of an instruction set whose vectors are arrays in Rust, for its [`Primitives`].
macro_rules! array_lanes {
    ($lanes:expr) => {
        type Lanes = [f32; $lanes];

        #[inline(always)]
        fn splat(value: f32) -> Self::Lanes {
            [value; $lanes]
        }

        #[inline(always)]
        fn load(from: &[f32; $lanes]) -> Self::Lanes {
            *from
        }

        #[inline(always)]
        fn store(lanes: Self::Lanes, to: &mut [f32; $lanes]) {
            *to = lanes;
        }

        #[inline(always)]
        fn mul_add(
            [a0, a1, a2, a3]: Self::Lanes,
            [b0, b1, b2, b3]: Self::Lanes,
            c: Self::Lanes,
        ) -> Self::Lanes {
            let [c0, c1, c2, c3] = c;
            [a0 * b0 + c0, a1 * b1 + c1, a2 * b2 + c2, a3 * b3 + c3]
        }
    };
}

// A device has the kernels of its core; of the others it knows the scratch.
#[cfg_attr(cortex_m55, allow(dead_code, unused_imports))]
mod cortex_m;
#[cfg_attr(target_os = "none", allow(dead_code, unused_imports))]
mod cortex_m55;
#[cfg(any(feature = "std", target_arch = "aarch64"))]
mod neon;
#[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
mod plain;
#[cfg(feature = "std")]
mod team;
// Elsewhere only what a plan for x86-64 needs of it is in use.
#[cfg(feature = "std")]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_imports))]
mod wide;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod x86;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod x86_wide;

use crate::model::{Activation, PoolKind, Shape, Window};

/// An instruction set that has kernels. The geometry of scratch depends on it, and is known for all of them
/// everywhere, so that a desktop can plan for a device.
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
    /// What exceeds the range of f16 within such a sum is lost. Only on [`Isa::NeonF16`], twice as fast there, for
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

impl Isa {
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

    /// The best instruction set of this machine; asks the processor where the standard library is there.
    pub fn detect() -> Isa {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        return x86::detect();
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
            Isa::Portable => true,
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

/// Weights of a convolution or linear layer, f16 bits in row-major order.
#[derive(Clone, Copy, Debug)]
pub enum LayerWeights<'a> {
    /// `[n, c·kh·kw]`.
    Dense(&'a [u16]),
    /// thin `[r, c·kh·kw]`, expand `[n, r]`.
    #[allow(missing_docs)]
    Pair { thin: &'a [u16], expand: &'a [u16], rank: usize },
    /// `[n, kh·kw]`.
    Depthwise(&'a [u16]),
}

/// What a layer computes. Shapes, weights and buffers must fit each other, as those of a checked model do: a kernel given
/// others computes nonsense or panics, but stays in its buffers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Layer<'a> {
    Conv {
        input: Shape,
        output: Shape,
        window: Window,
        weights: LayerWeights<'a>,
        bias: &'a [f32],
        activation: Activation,
    },
    Linear {
        weights: LayerWeights<'a>,
        bias: &'a [f32],
        activation: Activation,
    },
    Pool {
        input: Shape,
        output: Shape,
        window: Window,
        kind: PoolKind,
    },
    GlobalAverage {
        input: Shape,
    },
    PadShortcut {
        input: Shape,
        output: Shape,
        stride: u16,
    },
    Add {
        activation: Activation,
    },
    /// The values as they are: a part of a concatenation.
    Copy,
}

/// The value added to a convolution's result, or the second summand of an addition.
#[derive(Clone, Copy, Debug)]
pub enum Second<'a> {
    /// Nothing is added.
    None,
    /// It lies in the output buffer and is overwritten.
    InPlace,
    /// A value of its own.
    Other(&'a [u16]),
}

/// Where a layer's result goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// An activation: rounded to f16, saturated at ±65504.
    Half(&'a mut [u16]),
    /// Logits: not rounded.
    Full(&'a mut [f32]),
}

/// Buffers of one step.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// First input.
    pub input: &'a [u16],
    /// Residual or second summand.
    pub second: Second<'a>,
    /// Result.
    pub output: Output<'a>,
    /// At least what [`tile::scratch`] asks for.
    pub scratch: &'a mut [f32],
}

/// The operations on one instruction set.
pub trait Kernel {
    /// The instruction set, which this machine must have.
    const ISA: Isa;

    /// Executes one layer.
    fn run(layer: &Layer<'_>, buffers: Buffers<'_>);
}

/// Executes one layer on `isa`, or on plain code where this machine lacks it.
pub fn run(isa: Isa, layer: &Layer<'_>, buffers: Buffers<'_>) {
    match isa {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        Isa::Avx2 if isa.is_available() => x86::Avx2::run(layer, buffers),
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        Isa::Avx512 if isa.is_available() => x86::Avx512::run(layer, buffers),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 => neon::Neon::run(layer, buffers),
        // Off the device too, with inner loops in Rust: its scratch is not that of the portable code.
        #[cfg(not(cortex_m55))]
        Isa::CortexM => cortex_m::CortexM::run(layer, buffers),
        #[cfg(any(not(target_os = "none"), all(cortex_m55, not(feature = "cortex-m55-f16"))))]
        Isa::CortexM55 => cortex_m55::CortexM55::run(layer, buffers),
        #[cfg(any(not(target_os = "none"), all(cortex_m55, feature = "cortex-m55-f16")))]
        Isa::CortexM55Half => cortex_m55::CortexM55Half::run(layer, buffers),
        #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
        _ => native(layer, buffers),
        #[cfg(not(all(target_arch = "arm", target_os = "none", target_abi = "eabihf")))]
        _ => plain::Portable::run(layer, buffers),
    }
}

/// Executes one layer as this device does.
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
fn native(layer: &Layer<'_>, buffers: Buffers<'_>) {
    #[cfg(not(cortex_m55))]
    cortex_m::CortexM::run(layer, buffers);
    #[cfg(all(cortex_m55, not(feature = "cortex-m55-f16")))]
    cortex_m55::CortexM55::run(layer, buffers);
    #[cfg(all(cortex_m55, feature = "cortex-m55-f16"))]
    cortex_m55::CortexM55Half::run(layer, buffers);
}

/// A convolution whose weights were packed for an instruction set and an arithmetic.
#[cfg(all(feature = "std", target_arch = "aarch64"))]
pub use neon::PackedConv;
#[cfg(feature = "std")]
pub use team::Team;
#[cfg(all(feature = "std", not(target_arch = "aarch64")))]
pub use wide::PackedConv;

/// Executes a packed convolution, shared by a team where there is one; false, and nothing done, where this machine lacks
/// its instruction set or the buffers do not fit it. With [`Arithmetic::F32`] the result has the bits that [`run`] gives.
#[cfg(feature = "std")]
pub fn run_packed(isa: Isa, conv: &PackedConv, buffers: &mut Buffers<'_>, team: Option<&mut Team>) -> bool {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => x86_wide::avx2_conv(conv, buffers, team),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => x86_wide::avx512_conv(conv, buffers, team),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 if isa.is_available() => conv.run(isa, buffers, team),
        _ => {
            let _ = (conv, buffers, team);
            false
        }
    }
}

/// Does `rounds` rounds of multiply-adds that wait for nothing and touch no memory, and returns their number: timed, the
/// peak of this core. `None` on an instruction set without kernels for packed weights, or that this machine lacks, or
/// that lacks the arithmetic.
#[cfg(feature = "std")]
pub fn multiply_adds(isa: Isa, arithmetic: Arithmetic, rounds: u32) -> Option<u64> {
    match isa {
        _ if !isa.has(arithmetic) => None,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 if isa.is_available() => Some(x86_wide::avx2_multiply_adds(rounds)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 if isa.is_available() => Some(x86_wide::avx512_multiply_adds(rounds)),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonF16 if isa.is_available() => Some(neon::multiply_adds(arithmetic, rounds)),
        _ => {
            let _ = rounds;
            None
        }
    }
}

/// What the portable algorithms need from an instruction set with `L` lanes.
trait Primitives<const L: usize> {
    /// `L` f32 in registers.
    type Lanes: Copy;
    /// f16 bits → f32, element by element; the slices have one length.
    fn widen(from: &[u16], to: &mut [f32]);
    /// f16 bits → f32.
    #[cfg_attr(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"), allow(dead_code))]
    fn widen_one(from: u16) -> f32;
    /// f16 bits → f32, into every `stride`-th element of `to`.
    #[cfg_attr(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"), allow(dead_code))]
    #[inline(always)]
    fn widen_strided(from: &[u16], to: &mut [f32], stride: usize) {
        let to = to.iter_mut().step_by(stride.max(1));
        from.iter().zip(to).for_each(|(from, to)| *to = Self::widen_one(*from));
    }
    /// f32 → f16 bits, nearest even, saturating at ±65504; the slices have one length.
    fn narrow(from: &[f32], to: &mut [u16]);
    /// The same value in every lane.
    fn splat(value: f32) -> Self::Lanes;
    /// From memory.
    fn load(from: &[f32; L]) -> Self::Lanes;
    /// To memory.
    fn store(lanes: Self::Lanes, to: &mut [f32; L]);
    /// a·b + c in each lane, rounded once or twice.
    fn mul_add(a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
}

/// What comes after a layer's sums.
#[inline(always)]
fn activate(activation: Activation, values: &mut [f32]) {
    // Comparisons, not f32::max: one select each on every core.
    match activation {
        Activation::None => {}
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 }),
        Activation::Relu6 => values.iter_mut().for_each(|x| {
            let positive = if *x > 0.0 { *x } else { 0.0 };
            *x = if positive < 6.0 { positive } else { 6.0 };
        }),
    }
}

#[cfg(test)]
mod tests;
