//! The processes that train together, from the command line and from what started this one.

use std::rc::Rc;

use anyhow::Result;
#[cfg(not(feature = "mpi"))]
use anyhow::bail;
use candle_core::Device;
use clap::ValueEnum;
use lrpet_train::{Alone, Exchange};

/// What started the processes that train together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Launcher {
    /// MPI where mpirun or srun started several processes, else one process
    #[default]
    Auto,
    /// One process, whatever started it
    None,
    /// MPI (mpirun or srun)
    Mpi,
}

/// How this process trains together with others.
pub struct Processes {
    pub exchange: Rc<dyn Exchange>,
    /// Processes that share this machine's cores.
    pub neighbours: usize,
    /// Number of this one among them.
    pub index: usize,
}

/// Variables in which launchers say how many processes there are: Open MPI's, and those of MPICH and of `srun --mpi=pmi2`.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

impl Launcher {
    /// Joins the other processes, where there are some.
    pub fn join(self) -> Result<Processes> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
        // PMIx says which process this is, not how many there are; under srun that is known.
        let pmix = number("PMIX_RANK").and_then(|_| number("SLURM_NTASKS"));
        let started = SIZES.iter().find_map(|name| number(name)).or(pmix).unwrap_or(1);
        match self {
            Launcher::Mpi => joined(),
            Launcher::Auto if started > 1 => joined(),
            _ => Ok(Processes { exchange: Rc::new(Alone), neighbours: 1, index: 0 }),
        }
    }
}

#[cfg(feature = "mpi")]
fn joined() -> Result<Processes> {
    let mpi = lrpet_train::Mpi::new()?;
    let (neighbours, index) = (mpi.neighbours(), mpi.index());
    Ok(Processes { exchange: Rc::new(mpi), neighbours, index })
}

#[cfg(not(feature = "mpi"))]
fn joined() -> Result<Processes> {
    bail!(
        "this lrpet was built without MPI: build it with `cargo build --release -p lrpet-trainer --features mpi` \
         (Debian: libopenmpi-dev, libclang-dev), or train in one process (--launcher none)"
    )
}

impl Processes {
    /// Threads for each process, where none were asked for and several share the machine.
    pub fn threads(&self) -> Option<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (self.neighbours > 1).then(|| (cores / self.neighbours).max(1))
    }

    /// How processes exchange what they compute on `device`.
    #[cfg_attr(not(feature = "nccl"), allow(unused_variables))]
    pub fn on(&self, device: &Device) -> Result<Rc<dyn Exchange>> {
        #[cfg(feature = "nccl")]
        if device.is_cuda() && self.exchange.size() > 1 {
            return Ok(Rc::new(lrpet_train::Nccl::new(self.exchange.clone(), device)?));
        }
        Ok(self.exchange.clone())
    }

    /// True where this process writes files and speaks to the user.
    pub fn leads(&self) -> bool {
        self.exchange.rank() == 0
    }

    /// Hands `done` on; ends the other processes where it is an error.
    pub fn end<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done
            && self.exchange.size() > 1
        {
            if !self.leads() {
                // Where all have the same error, process 0 states it.
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            let said = lrpet_report::chain(error.as_ref());
            eprintln!("error: process {} of {}: {said}", self.exchange.rank(), self.exchange.size());
            self.exchange.end_all();
        }
        done
    }
}
