//! A network with parameters that can be trained.

use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use lrpet_network::checkpoint::{Array, Checkpoint};
use lrpet_network::network::Network;

#[cfg(any(test, feature = "cuda"))]
use super::engine::DeviceEngine;
use super::engine::{Engine, Fused, Graph, Mode};
use super::exchange::{Alone, Exchange};
use super::{Gradients, Parameters, TrainError};

/// A network with its parameters and the engine that runs it: fused kernels on the CPU where every layer has one,
/// kernels of our own on a GPU, else candle's operations.
pub struct Trainable {
    network: Network,
    parameters: Parameters,
    engine: Box<dyn Engine>,
    exchange: Rc<dyn Exchange>,
}

impl Trainable {
    /// `network` with fresh parameters (see [`Parameters::new`]).
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(network: &Network, seed: u64, device: &Device) -> Result<Trainable, TrainError> {
        Trainable::shared(network, seed, device, Rc::new(Alone))
    }

    /// [`Trainable::new`] in one of several processes, each of which runs it on its share of every batch: the statistics of
    /// training passes are those of the whole batch. The gradients stay those of the share.
    ///
    /// # Errors
    /// Where the device fails, or where several processes cannot share its engine: on the CPU, networks that run on
    /// candle's operations.
    pub fn shared(
        network: &Network,
        seed: u64,
        device: &Device,
        exchange: Rc<dyn Exchange>,
    ) -> Result<Trainable, TrainError> {
        let parameters = Parameters::new(network, seed, device)?;
        #[cfg(feature = "cuda")]
        if let Some(engine) = device.is_cuda().then(|| DeviceEngine::new(network, exchange.clone())).flatten()
        {
            return Ok(Trainable {
                network: network.clone(),
                parameters,
                engine: Box::new(engine),
                exchange,
            });
        }
        let engine: Box<dyn Engine> = match Fused::new(network, exchange.clone()) {
            Some(fused) if device.is_cpu() => Box::new(fused),
            _ if exchange.size() > 1 => {
                return Err(TrainError::Setting(format!(
                    "{} has a layer without a kernel that several processes can share: train it in one process",
                    network.name
                )));
            }
            _ => Box::new(Graph::new(network)),
        };
        Ok(Trainable { network: network.clone(), parameters, engine, exchange })
    }

    /// `network`, of which every layer has one, with the kernels of [`crate::cuda`].
    #[cfg(test)]
    pub(crate) fn with_kernels(
        network: &Network,
        parameters: Parameters,
        exchange: Rc<dyn Exchange>,
    ) -> Trainable {
        let engine = DeviceEngine::new(network, exchange.clone()).expect("a network of these kernels");
        let engine = Box::new(engine);
        Trainable { network: network.clone(), parameters, engine, exchange }
    }

    /// As [`Trainable::new`], always with candle's operations.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn with_candle(network: &Network, seed: u64, device: &Device) -> Result<Trainable, TrainError> {
        let parameters = Parameters::new(network, seed, device)?;
        let engine = Box::new(Graph::new(network));
        Ok(Trainable { network: network.clone(), parameters, engine, exchange: Rc::new(Alone) })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters; their tensors can be replaced through it.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The processes that train it.
    pub fn exchange(&self) -> &dyn Exchange {
        &*self.exchange
    }

    /// All tensors by torchvision-style name: weights, γ and β, running statistics.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.parameters.tensors()
    }

    /// Takes all tensors from `tensors`.
    ///
    /// # Errors
    /// As [`Parameters::load`].
    pub fn load(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
        self.parameters.load(tensors)
    }

    /// Logits `[batch, classes]` of `images` `[batch, c, h, w]`, f32, normalised.
    ///
    /// # Errors
    /// Where the images have another shape than the network's input.
    pub fn forward(&mut self, images: &Tensor, mode: Mode) -> Result<Tensor, TrainError> {
        let input = self.network.input;
        let expected = [input.channels, input.height, input.width].map(|size| size as usize);
        if images.rank() != 4 || images.dims()[1..] != expected || images.dims()[0] == 0 {
            let reason = format!("images of shape {:?} for a network whose input is {input}", images.dims());
            return Err(TrainError::Setting(reason));
        }
        self.engine.forward(&self.parameters, images, mode)
    }

    /// Gradients of all trained parameters, from the gradient of the logits that the last [`Mode::Train`] pass gave.
    ///
    /// # Errors
    /// Where there was no such pass.
    pub fn backward(&mut self, gradient: &Tensor) -> Result<Gradients, TrainError> {
        self.engine.backward(&self.parameters, gradient)
    }
}

/// The values of candle's tensors as a checkpoint.
///
/// # Errors
/// Where the device fails.
pub fn checkpoint<'t>(
    tensors: impl IntoIterator<Item = (&'t String, &'t Tensor)>,
) -> candle_core::Result<Checkpoint> {
    let mut copied = BTreeMap::new();
    for (name, tensor) in tensors {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        copied.insert(name.clone(), Array { shape: tensor.dims().to_vec(), values });
    }
    Ok(Checkpoint { tensors: copied, ..Checkpoint::default() })
}
