//! Ranks that `mpirun` has started, on one machine or on many.

use super::{Link, Ranks};
use crate::error::{Error, Result};
use mpi::environment::Universe;
use mpi::point_to_point::send_receive_into;
use mpi::topology::{Communicator, SimpleCommunicator};
use std::sync::Arc;

/// MPI, from its beginning to its end in this process.
pub struct World {
    universe: Universe,
}

impl World {
    /// Takes the place that `mpirun` has for this process. Only the thread that calls this may exchange anything.
    ///
    /// # Errors
    /// MPI is running already, or the number of ranks is no power of two.
    pub fn begin() -> Result<(World, Ranks)> {
        let universe = mpi::initialize();
        let universe = universe.ok_or_else(|| Error::argument("MPI", "one beginning", "a second one"))?;
        let world = universe.world();
        let ranks = Ranks::new(world.rank() as usize, world.size() as usize, Arc::new(Mpi))?;
        Ok((World { universe }, ranks))
    }

    /// Ends all ranks at once, with an exit code, as none can go on without this one.
    pub fn abort(self, code: u8) -> ! {
        self.universe.world().abort(i32::from(code))
    }
}

/// `MPI_Sendrecv` among all ranks.
#[derive(Debug)]
struct Mpi;

impl Link for Mpi {
    fn exchange(&self, other: usize, mine: &[u8]) -> Vec<u8> {
        let world = SimpleCommunicator::world();
        let other = world.process_at_rank(other as i32);
        let mut length = 0u64;
        send_receive_into(&(mine.len() as u64), &other, &mut length, &other);
        let mut theirs = vec![0u8; length as usize];
        send_receive_into(mine, &other, &mut theirs[..], &other);
        theirs
    }
}
