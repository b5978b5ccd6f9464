//! Exchange by MPI: one process for each rank of `mpirun` or `srun`.

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use super::Exchange;
use crate::TrainError;

/// The processes that were started together. Where one fails, MPI ends all.
pub struct Mpi {
    world: SimpleCommunicator,
    /// Processes on this machine, and the number of this one among them.
    neighbours: usize,
    index: usize,
    /// Last, so that it is dropped last: that ends MPI.
    _universe: Universe,
}

impl Mpi {
    /// Joins the processes that were started together. Once in a process, on the thread that will train.
    ///
    /// # Errors
    /// Where MPI is in use already.
    pub fn new() -> Result<Mpi, TrainError> {
        let started = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) =
            started.ok_or_else(|| TrainError::Setting("MPI is in use in this process already".to_owned()))?;
        let world = universe.world();
        let here = world.split_shared(world.rank());
        let (neighbours, index) = (here.size() as usize, here.rank() as usize);
        Ok(Mpi { world, neighbours, index, _universe: universe })
    }

    /// Processes on this machine, which share its cores.
    pub fn neighbours(&self) -> usize {
        self.neighbours
    }

    /// Number of this process among those on this machine, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mpi({} of {})", self.rank(), self.size())
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Ending MPI in order would wait for processes that wait for this one.
            self.end_all();
        }
    }
}

impl Exchange for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn sum(&self, values: &mut [f32]) {
        let own = values.to_vec();
        self.world.all_reduce_into(&own[..], values, SystemOperation::sum());
    }

    fn gather(&self, values: &[f64]) -> Vec<f64> {
        let mut all = vec![0.0; values.len() * self.size()];
        self.world.all_gather_into(values, &mut all[..]);
        all
    }

    fn broadcast(&self, values: &mut [f32]) {
        self.world.process_at_rank(0).broadcast_into(values);
    }

    fn end_all(&self) {
        self.world.abort(1);
    }
}
