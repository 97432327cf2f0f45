//! One rank's process: its threads, its device, and the group of all ranks. Made once, first thing.

use std::time::Duration;

use tch::{Cuda, Device};

use crate::Error;
use crate::c10d::{self, Backend, CommError, ProcessGroup, Seat, Store, StoreOptions};
use crate::env::RankEnv;

/// How long the ranks that are left are given, at most, to say so after one was lost.
const ROLL_CALL: Duration = Duration::from_secs(5);

/// What the command line may ask for; `None` means «choose».
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// CPU or this rank's GPU.
    pub cuda: Option<bool>,
    /// What carries the collectives.
    pub backend: Option<Backend>,
    /// Threads within an operation.
    pub threads: Option<i32>,
}

/// The group of all ranks and the store that it met on.
#[derive(Debug)]
pub struct World {
    // Dropped before the store that it was made over.
    group: ProcessGroup,
    store: Store,
}

/// A rank that is ready to train.
#[derive(Debug)]
pub struct Runtime {
    env: RankEnv,
    device: Device,
    backend: Backend,
    world: Option<World>,
}

impl Runtime {
    /// Sets threads and deterministic kernels, picks the device, and meets the other ranks. A world
    /// of one meets nobody.
    ///
    /// # Errors
    /// When CUDA was asked for and cannot be had, or a rank does not come in time.
    pub fn start(env: RankEnv, wishes: Wishes) -> Result<Self, Error> {
        let alone = env.world_size == 1 && wishes.backend.is_none();
        let device = choose_device(&env, wishes.cuda)?;
        tch::set_num_threads(wishes.threads.or(env.threads).unwrap_or(1));
        tch::set_num_interop_threads(1);
        c10d::set_deterministic()?;
        let backend =
            wishes.backend.unwrap_or(if device.is_cuda() { Backend::Nccl } else { Backend::Gloo });
        let world = if alone { None } else { Some(World::meet(&env, device, backend)?) };
        Ok(Self { env, device, backend, world })
    }

    /// The rank's environment.
    pub fn env(&self) -> &RankEnv {
        &self.env
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What carries the collectives.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The group of all ranks; none in a world of one.
    pub fn group(&self) -> Option<&ProcessGroup> {
        self.world.as_ref().map(|world| &world.group)
    }

    /// Whether this rank writes what is written once.
    pub fn is_first(&self) -> bool {
        self.env.rank == 0
    }

    /// Waits for all ranks.
    ///
    /// # Errors
    /// When one is lost.
    pub fn barrier(&self) -> Result<(), Error> {
        Ok(self.group().map_or(Ok(()), ProcessGroup::barrier)?)
    }

    /// Names the ranks that were lost, where a failure points at peers.
    pub fn explain(&self, error: Error) -> Error {
        match (error, &self.world) {
            (Error::Comm(failure), Some(world)) if failure.concerns_peers() => {
                let certain = matches!(failure, CommError::PeerLost { .. });
                let RankEnv { rank, world_size, .. } = self.env;
                let missing = world.store.missing_ranks(rank, world_size, certain, ROLL_CALL);
                Error::Comm(failure.with_lost(missing))
            }
            (other, _) => other,
        }
    }
}

impl World {
    fn meet(env: &RankEnv, device: Device, backend: Backend) -> Result<Self, CommError> {
        let store = Store::open(&StoreOptions {
            host: env.master_addr.clone(),
            port: env.master_port,
            is_host: env.rank == 0 && !env.agent_store,
            world: env.world_size,
            timeout: env.collective_timeout,
            prefix: env.store_prefix(),
        })?;
        let seat = Seat {
            rank: env.rank,
            size: env.world_size,
            timeout: env.collective_timeout,
            device,
            peer: (&env.master_addr, env.master_port),
            interfaces: &env.gloo_interfaces,
        };
        let group = match backend {
            Backend::Gloo => ProcessGroup::gloo(&store, seat)?,
            Backend::Nccl => ProcessGroup::nccl(&store, seat)?,
        };
        Ok(Self { group, store })
    }
}

/// Whether CUDA can be used here. Loads libtorch's CUDA half where there is a driver.
pub fn cuda_devices() -> usize {
    if !c10d::cuda_driver_present() || c10d::load_cuda().is_err() {
        return 0;
    }
    usize::try_from(Cuda::device_count()).unwrap_or(0)
}

fn choose_device(env: &RankEnv, wish: Option<bool>) -> Result<Device, Error> {
    if wish == Some(false) || (wish.is_none() && env.cuda_hidden) {
        return Ok(Device::Cpu);
    }
    if wish == Some(true) {
        c10d::load_cuda()?;
    }
    let devices = cuda_devices();
    let mine = usize::try_from(env.local_rank).unwrap_or(usize::MAX);
    match (devices, wish) {
        (0, Some(true)) => Err(CommError::NoCuda(
            "no CUDA device here: use `--device cpu`, or a node with a GPU".to_owned(),
        )
        .into()),
        (0, _) => Ok(Device::Cpu),
        // The agent may show each rank its own GPU alone.
        (1, _) => Ok(Device::Cuda(0)),
        (count, _) if mine < count => Ok(Device::Cuda(mine)),
        (count, _) => Err(CommError::NoCuda(format!(
            "LOCAL_RANK is {mine}, but this node shows {count} GPUs"
        ))
        .into()),
    }
}
