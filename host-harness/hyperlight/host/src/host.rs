//! [`Host`]: the functions for one guest.

use std::{
    fmt::{self, Display},
    future::Future,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use crate::{
    limits::{Limits, Usage},
    runtime::Runtime,
    state::HostState,
};

/// The default limit of a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long the host waits for a second result, by default.
const LINGER: Duration = Duration::from_micros(50);

/// One guest's async functions, with its clock and its waits: of a Hyperlight sandbox, with which
/// it is registered, or of a guest to which there is a connection, which it [serves](Self::serve).
///
/// # Examples
///
#[cfg_attr(
    feature = "hyperlight",
    doc = "```no_run
use dormir_hyperlight_host::Host;
use hyperlight_host::{HostFunctions, SandboxBuilder};

// Before the sandbox is built, for guests that run tasks at start-up, and for snapshots.
let host = Host::new();
let mut functions = HostFunctions::default();
host.register(&mut functions)?;
let sandbox = SandboxBuilder::from_file(\"guest\").host_functions(functions).build()?;
# Ok::<(), Box<dyn std::error::Error>>(())
```"
)]
pub struct Host {
    pub(crate) shared: Arc<HostShared>,
}

pub(crate) struct HostShared {
    pub(crate) state: Arc<HostState>,
    /// Whether a sandbox or a connection has it.
    pub(crate) is_in_use: AtomicBool,
}

impl Host {
    /// Makes a `Host` for one guest. The first one in a program takes 20 ms, to measure the TSC's
    /// frequency.
    #[must_use]
    pub fn new() -> Self {
        let interrupts = cfg!(feature = "hw-interrupts");
        Self {
            shared: Arc::new(HostShared {
                state: Arc::new(HostState::new(interrupts, LONGEST_WAIT, LINGER)),
                is_in_use: AtomicBool::new(false),
            }),
        }
    }

    /// Limits a single wait of the guest to `longest`; the default is one hour. With a deadline
    /// that is farther away, the guest's call ends with an error that says so.
    #[must_use]
    pub fn with_longest_wait(self, longest: Duration) -> Self {
        self.shared.state.set_longest_wait(longest);
        self
    }

    /// Makes `runtime` run the async functions; the default is [`Threads`](crate::Threads). With
    /// the feature `tokio`, a `tokio::runtime::Handle` is one. If that runtime has one thread, call
    /// the sandbox on another, or use [`drive`](Self::drive).
    ///
    /// # Panics
    ///
    /// If a runtime was set before.
    #[must_use]
    pub fn with_runtime(self, runtime: impl Runtime) -> Self {
        let is_first = self.shared.state.set_runtime(runtime);
        assert!(
            is_first,
            "this Host already has a runtime: set it once, before any call"
        );
        self
    }

    /// Limits what the guest's calls may hold on the host.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.shared.state.set_limits(limits);
        self
    }

    /// Sets how long the host waits for more results when there is one, while calls are running
    /// that do not wait for the guest themselves, as streams do: 50 µs by default. A longer time
    /// brings more of them in one exit from the guest, later.
    #[must_use]
    pub fn with_linger(self, linger: Duration) -> Self {
        self.shared.state.set_linger(linger);
        self
    }

    /// Adds a function that the guest calls by `dormir::host_calls::call(name, argument)`, in place
    /// of an earlier one of this name. A name has at most 255 bytes.
    ///
    /// The runtime polls the future. It is dropped when the guest does not want its result any
    /// more, when the guest's call is cancelled or the guest restored, and with the sandbox or at
    /// the connection's end. If it panics, the guest's call ends with `Panicked`; the message of an
    /// error reaches the guest, up to 1,024 bytes of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir_hyperlight_host::Host;
    ///
    /// let host = Host::new().async_function("reverse", |mut bytes| async move {
    ///     bytes.reverse();
    ///     Ok::<_, std::convert::Infallible>(bytes)
    /// });
    /// ```
    #[must_use]
    pub fn async_function<F, R, E>(self, name: impl Into<String>, function: F) -> Self
    where
        F: Fn(Vec<u8>) -> R + Send + Sync + 'static,
        R: Future<Output = std::result::Result<Vec<u8>, E>> + Send + 'static,
        E: Display,
    {
        self.shared.state.functions.add(name.into(), function);
        self
    }

    /// Makes a handle that signals the guest's events, from any thread.
    #[must_use]
    pub fn signaller(&self) -> Signaller {
        Signaller {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Returns what the guest's calls hold, and how many there were.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.state.usage()
    }

    pub(crate) fn state(&self) -> &HostState {
        &self.shared.state
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("state", &self.shared.state)
            .finish_non_exhaustive()
    }
}

/// Signals events of a guest.
#[derive(Clone)]
pub struct Signaller {
    shared: Arc<HostShared>,
}

impl Signaller {
    /// Signals the guest's event `event`, on which a task waits by
    /// `dormir::host_calls::event(event)`. A signal that comes first is not lost.
    ///
    /// A sandbox's guest that waits in the host goes on at once; one that halts, or that is not
    /// being called, sees the signal at its next exchange with the host. Over a connection it is
    /// sent at once if the guest awaits an event or a result, otherwise in the next reply.
    pub fn signal(&self, event: u8) {
        self.shared.state.signal(event);
    }
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signaller").finish_non_exhaustive()
    }
}
