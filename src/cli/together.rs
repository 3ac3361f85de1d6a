//! A command whose work several processes share, started by `mpirun`.

use anyhow::{Result, bail};
use ddpm::Error;
use ddpm::ranks::{Ranks, Shared};
use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static RANKS: OnceLock<Ranks> = OnceLock::new();
/// Whether all know that the command has failed, and end by themselves.
static AGREED: AtomicBool = AtomicBool::new(false);

/// Those that share the work of this command.
pub(super) fn ranks() -> &'static Ranks {
    RANKS.get_or_init(Ranks::alone)
}

/// A model that they ask together.
pub(super) fn shared<D: ?Sized>(model: &D) -> Shared<'_, D> {
    Shared { model, ranks: ranks() }
}

/// What all of them have done, each for itself; where it failed on one, all fail and each says so.
pub(super) fn agreed<T>(result: Result<T>) -> Result<T> {
    let result = ranks().agree(result);
    AGREED.store(result.is_err(), Ordering::Relaxed);
    result
}

/// What `mpirun` tells the processes it starts: how many there are (Open MPI; MPICH and Intel MPI).
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// The processes of this command from the beginning to the end.
pub(super) struct Together {
    #[cfg(feature = "mpi")]
    world: Option<ddpm::ranks::mpi::World>,
}

impl Together {
    /// Finds the others, if there are any; `sharing` is whether the command knows how to share its work.
    pub(super) fn begin(sharing: bool) -> Result<Together> {
        let size = SIZES.iter().find_map(|name| env::var(name).ok()?.parse::<usize>().ok()).unwrap_or(1);
        if size > 1 && !sharing {
            let expected = "train, sample, elbo or impute, whose work processes can share";
            bail!(Error::argument("mpirun", expected, "another command"));
        }
        Together::of(size)
    }

    #[cfg(feature = "mpi")]
    fn of(size: usize) -> Result<Together> {
        if size == 1 {
            return Ok(Together { world: None });
        }
        let (world, ranks) = ddpm::ranks::mpi::World::begin()?;
        RANKS.set(ranks).expect("nobody has asked yet");
        Ok(Together { world: Some(world) })
    }

    #[cfg(not(feature = "mpi"))]
    fn of(size: usize) -> Result<Together> {
        if size > 1 {
            let expected = "a program that was built with --features mpi";
            bail!(Error::argument("mpirun", expected, "one that was built without"));
        }
        Ok(Together {})
    }

    /// After a success, or an error that all know; an error of which the others have not heard ends them too.
    pub(super) fn end(self, code: u8) -> u8 {
        #[cfg(feature = "mpi")]
        if let Some(world) = self.world.filter(|_| code != 0 && !AGREED.load(Ordering::Relaxed)) {
            world.abort(code);
        }
        code
    }
}
