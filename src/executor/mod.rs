//! Running futures.

pub(crate) mod block_on;
