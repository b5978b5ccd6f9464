//! The device that a command computes on, from the command line.

use anyhow::Result;
use candle_core::Device;
use clap::ValueEnum;
use lrpet_train::device::{DeviceName, Precision};

/// Options of the device.
#[derive(clap::Args)]
pub struct DeviceArgs {
    /// What computes: cpu, cuda (the first GPU) or cuda:N; of several processes on one machine each takes the next GPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: DeviceName,
    /// Matrix products on a GPU: in f32, or by tensor cores with factors of 10 bits of mantissa
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionName,
}

#[derive(Clone, Copy, ValueEnum)]
enum PrecisionName {
    F32,
    Tf32,
}

impl DeviceArgs {
    /// Opens the device.
    pub fn open(&self) -> Result<Device> {
        self.open_for(0)
    }

    /// Opens the device of the process that is number `index` of those on this machine.
    pub fn open_for(&self, index: usize) -> Result<Device> {
        let precision = match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Tf32 => Precision::Tf32,
        };
        Ok(self.device.of_process(index).open(precision)?)
    }
}
