//! Sums between GPUs by NCCL: one process for each GPU.

use std::rc::Rc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, bail};

use super::Exchange;
use crate::TrainError;

/// Processes that reach each other in another way (MPI), with a GPU each: tensors are summed from GPU to GPU, all else
/// goes the other way.
pub struct Nccl {
    others: Rc<dyn Exchange>,
    group: Comm,
}

impl Nccl {
    /// Joins the GPUs of `others`, each process with its `device`.
    ///
    /// # Errors
    /// Where `device` is no GPU, or NCCL cannot join it with the others: it needs one GPU for each process.
    pub fn new(others: Rc<dyn Exchange>, device: &Device) -> std::result::Result<Nccl, TrainError> {
        let fails = |reason: &dyn std::fmt::Debug| {
            TrainError::Setting(format!(
                "process {} of {}: NCCL cannot join its GPU with the others ({reason:?}): it needs a GPU for each process",
                others.rank(),
                others.size()
            ))
        };
        let stream = device.as_cuda_device()?.cuda_stream();
        // Process 0 names the group. Bytes are exact in f32.
        let mut name = [0.0; 128];
        if others.rank() == 0 {
            let id = Id::new().map_err(|error| fails(&error))?;
            name = id.internal().map(|byte| f32::from(byte as u8));
        }
        others.broadcast(&mut name);
        let id = Id::uninit(name.map(|byte| byte as u8 as _));
        let group =
            Comm::from_rank(stream, others.rank(), others.size(), id).map_err(|error| fails(&error))?;
        Ok(Nccl { others, group })
    }
}

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nccl({:?})", self.others)
    }
}

impl Exchange for Nccl {
    fn rank(&self) -> usize {
        self.others.rank()
    }

    fn size(&self) -> usize {
        self.others.size()
    }

    fn sum(&self, values: &mut [f32]) {
        self.others.sum(values);
    }

    fn sum_tensor(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.apply_op1_no_bwd(&Sum(&self.group))
    }

    fn gather(&self, values: &[f64]) -> Vec<f64> {
        self.others.gather(values)
    }

    fn broadcast(&self, values: &mut [f32]) {
        self.others.broadcast(values);
    }

    fn end_all(&self) {
        self.others.end_all();
    }
}

/// The sum of a tensor's values over a group.
struct Sum<'a>(&'a Comm);

impl CustomOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        "nccl-sum"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("NCCL sums tensors on GPUs only")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("a sum needs a contiguous tensor")
        };
        let device = storage.device().clone();
        let values = storage.as_cuda_slice::<f32>()?.slice(start..end);
        // SAFETY: the sum writes all of it, on the device's one stream.
        #[allow(unsafe_code)]
        let mut sums = unsafe { device.alloc::<f32>(end - start)? };
        match self.0.all_reduce(&values, &mut sums, &ReduceOp::Sum) {
            Ok(_) => Ok((CudaStorage::wrap_cuda_slice(sums, device), layout.shape().clone())),
            Err(error) => bail!("NCCL cannot sum over the processes: {error:?}"),
        }
    }
}
