//! [`Runtime`]: what runs the async functions.

#[cfg(feature = "tokio")]
use std::{cell::Cell, thread, time::Instant};
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

/// A guest's call of an async function, as a future.
///
/// It catches panics, and returns at its next poll once the guest or the host has ended the call;
/// the function's own future is then already gone.
pub type HostTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An executor for async functions. With the feature `tokio`, `tokio::runtime::Handle` is one.
///
/// # Examples
///
/// ```
/// use dormir_hyperlight_host::{HostTask, Runtime};
///
/// /// A thread for each call.
/// struct ThreadEach;
///
/// impl Runtime for ThreadEach {
///     fn spawn(&self, task: HostTask) {
///         std::thread::spawn(|| block_on(task));
///     }
/// }
/// # fn block_on(_: HostTask) {}
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// Runs `task` to its end, on any thread but that of the caller, which waits for it. A task
    /// that is dropped before its end ends the guest's call with `Lost`.
    fn spawn(&self, task: HostTask);

    /// Calls `work` once, which spawns new tasks, and blocks the current thread until there is
    /// something for the guest. A runtime whose thread this may be can have another one do the
    /// thread's other work meanwhile.
    fn wait(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// How long it may take until a new task is polled; `None`, the default, if that may take any
    /// time. If new tasks are there and none is polled for so long, while the guest waits, then the
    /// guest's wait ends with an error: it would never end if nothing runs this runtime, or if the
    /// thread that should is the one that waits.
    fn first_poll_within(&self) -> Option<Duration> {
        None
    }
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn spawn(&self, task: HostTask) {
        (**self).spawn(task);
    }

    fn wait(&self, work: &mut dyn FnMut()) {
        (**self).wait(work);
    }

    fn first_poll_within(&self) -> Option<Duration> {
        (**self).first_poll_within()
    }
}

/// How long a worker leaves its work to another at least.
#[cfg(feature = "tokio")]
const LEAST_LEAVE: Duration = Duration::from_millis(1);

#[cfg(feature = "tokio")]
thread_local! {
    /// This thread was refused to leave its work to another. It is not asked again, since each time
    /// calls the program's panic hook.
    static CANNOT_LEAVE: Cell<bool> = const { Cell::new(false) };
}

#[cfg(feature = "tokio")]
impl Runtime for tokio::runtime::Handle {
    fn spawn(&self, task: HostTask) {
        drop(tokio::runtime::Handle::spawn(self, task));
    }

    fn wait(&self, work: &mut dyn FnMut()) {
        use tokio::{
            runtime::{Handle, RuntimeFlavor},
            task,
        };
        let is_own = Handle::try_current().is_ok_and(|current| {
            current.runtime_flavor() == RuntimeFlavor::MultiThread && current.id() == self.id()
        });
        // A worker, which polls a task: the task that it spawned last waits for it alone. So
        // another thread becomes the worker.
        if task::try_id().is_none() || !is_own || CANNOT_LEAVE.get() {
            return work();
        }
        // In a `LocalSet` it panics.
        CANNOT_LEAVE.set(true);
        task::block_in_place(|| {
            CANNOT_LEAVE.set(false);
            let begin = Instant::now();
            work();
            // A worker that came back at once would be before the other.
            thread::sleep(LEAST_LEAVE.saturating_sub(begin.elapsed()));
        });
    }

    fn first_poll_within(&self) -> Option<Duration> {
        use tokio::runtime::RuntimeFlavor;
        Some(match self.runtime_flavor() {
            RuntimeFlavor::CurrentThread => Duration::from_secs(10),
            // Its workers are many, and all of them blocked if none polls for so long: as many
            // guests wait as there are threads to take over from workers.
            _ => Duration::from_secs(60),
        })
    }
}
