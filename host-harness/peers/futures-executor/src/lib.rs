//! Stands in for `futures-executor`: the same names, on dormir. It is for futures-rs's own tests.

mod enter;
mod idle;
mod lease;
mod local_pool;
mod stream;
#[cfg(feature = "thread-pool")]
mod thread_pool;

pub use enter::{Enter, EnterError, enter};
pub use local_pool::{LocalPool, LocalSpawner, block_on};
pub use stream::{BlockingStream, block_on_stream};
#[cfg(feature = "thread-pool")]
pub use thread_pool::{ThreadPool, ThreadPoolBuilder};

use critical_section as _;
