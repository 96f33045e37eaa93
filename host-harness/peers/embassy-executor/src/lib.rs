//! Stands in for `embassy-executor`: the same names, on dormir. It is for embassy's own tests.
//!
//! Tasks are on the heap, so there can be as many as an executor has room for: `pool_size` has no
//! effect.

pub mod raw;
mod spawner;

pub use dormir_peers_macros::task;
pub use spawner::{SpawnError, SpawnToken, Spawner};

use critical_section as _;
