//! Which device computes: the CPU, or a GPU by its number.

use std::str::FromStr;

use candle_core::Device;

/// A device as one names it: `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU.
    #[default]
    Cpu,
    /// NVIDIA GPU by its number, from 0.
    Cuda(usize),
}

/// How f32 matrix products are computed on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// In f32.
    #[default]
    F32,
    /// By tensor cores: factors rounded to 10 bits of mantissa, sums in f32.
    Tf32,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name is none.
    #[error("no device is called `{0}`: give cpu, cuda or cuda:N")]
    Unknown(String),
    /// The program has no CUDA in it.
    #[error(
        "this lrpet was built without CUDA: build it with `cargo xtask build-cuda`, or with \
         `cargo build --release -p lrpet-trainer --features cuda` where a CUDA toolkit is installed; \
         or use --device cpu"
    )]
    NotBuilt,
    /// There is no GPU, or no driver for it.
    #[error("no NVIDIA GPU can be used: {0}; does `nvidia-smi` show one? Else use --device cpu")]
    NoGpu(String),
    /// There are fewer GPUs.
    #[error("there is no GPU {index}: this machine has {count}, numbered from 0")]
    OutOfRange {
        /// The number asked for.
        index: usize,
        /// GPUs that there are.
        count: usize,
    },
    /// The GPU or one of CUDA's libraries failed at the start.
    #[error(
        "GPU {index} cannot be used: {reason}; see docs/cuda.md for the driver and libraries that are needed"
    )]
    Failed {
        /// The number asked for.
        index: usize,
        /// What failed.
        reason: String,
    },
    /// The precision is a GPU's.
    #[error("tf32 is a precision of GPUs: give --device cuda, or leave --precision f32")]
    Precision,
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text.split_once(':') {
            None if text == "cpu" => Ok(DeviceName::Cpu),
            None if text == "cuda" => Ok(DeviceName::Cuda(0)),
            Some(("cuda", index)) => index.parse().map(DeviceName::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DeviceName::Cpu => write!(f, "cpu"),
            DeviceName::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceName {
    /// The device of the process that is number `index` of those on this machine: each has a GPU of its own, from the one
    /// that is named on.
    pub fn of_process(self, index: usize) -> DeviceName {
        match self {
            DeviceName::Cpu => DeviceName::Cpu,
            DeviceName::Cuda(first) => DeviceName::Cuda(first + index),
        }
    }

    /// Opens the device; its matrix products are then of `precision`, as are all others of the process.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(self, precision: Precision) -> Result<Device, DeviceError> {
        match self {
            DeviceName::Cpu if precision == Precision::F32 => Ok(Device::Cpu),
            DeviceName::Cpu => Err(DeviceError::Precision),
            DeviceName::Cuda(index) => open_cuda(index, precision),
        }
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize, precision: Precision) -> Result<Device, DeviceError> {
    let count = match crate::cuda::count() {
        Ok(0) => return Err(DeviceError::NoGpu("the driver finds none".to_owned())),
        Ok(count) => count,
        Err(reason) => return Err(DeviceError::NoGpu(reason)),
    };
    if index >= count {
        return Err(DeviceError::OutOfRange { index, count });
    }
    let device = crate::cuda::open(index).map_err(|error| {
        // candle's text goes on with a backtrace where RUST_BACKTRACE asks for one.
        let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
        DeviceError::Failed { index, reason }
    })?;
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize, _: Precision) -> Result<Device, DeviceError> {
    Err(DeviceError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, name) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
        ] {
            assert_eq!(text.parse::<DeviceName>().unwrap(), name);
            assert_eq!(name.to_string().parse::<DeviceName>().unwrap(), name);
        }
        for text in ["", "CPU", "cuda:", "cuda:-1", "cuda:0:1", "cpu:0", "gpu", "metal"] {
            assert!(text.parse::<DeviceName>().unwrap_err().to_string().contains("cuda:N"), "{text}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_one_clear_error() {
        assert!(DeviceName::Cpu.open(Precision::F32).unwrap().is_cpu());
        assert!(DeviceName::Cpu.open(Precision::Tf32).unwrap_err().to_string().contains("--device cuda"));
        // No machine has so many: no GPU at all, or not this one, or no CUDA in this build.
        let error = DeviceName::Cuda(4096).open(Precision::F32).unwrap_err();
        let built = !matches!(error, DeviceError::NotBuilt);
        assert_eq!(built, cfg!(feature = "cuda"), "{error}");
        let known = matches!(
            error,
            DeviceError::NotBuilt | DeviceError::NoGpu(_) | DeviceError::OutOfRange { index: 4096, .. }
        );
        assert!(known, "{error}");
    }
}
