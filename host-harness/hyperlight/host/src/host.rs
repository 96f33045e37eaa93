//! [`Host`]: dormir's functions for the guest in a sandbox.

use std::{
    cell::RefCell,
    fmt::{self, Display},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dormir_hyperlight_protocol::FUNCTION;
use hyperlight_host::{Result, Sandbox, func::Registerable, hypervisor::InterruptHandle};

use crate::{
    error::{NoInterruptsError, RegisterError},
    limits::{Limits, Usage},
    runtime::Runtime,
    state::HostState,
};

/// The default limit of a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long the host waits for a second result, by default.
const LINGER: Duration = Duration::from_micros(50);

/// How an idle guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It calls the host, which waits; works in any sandbox.
    HostWait,
    /// It halts between the ticks of a timer; needs the feature `hw-interrupts`.
    Interrupts,
}

/// The host function of one sandbox, with its clock, its waits and its async calls.
///
/// # Examples
///
/// ```no_run
/// use dormir_hyperlight_host::Host;
/// use hyperlight_host::{HostFunctions, SandboxBuilder};
///
/// // Before the sandbox is built, for guests that run tasks at start-up, and for snapshots.
/// let host = Host::new();
/// let mut functions = HostFunctions::default();
/// host.register(&mut functions)?;
/// let sandbox = SandboxBuilder::from_file("guest").host_functions(functions).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Host {
    shared: Arc<HostShared>,
}

struct HostShared {
    state: Arc<HostState>,
    is_registered: AtomicBool,
}

impl Host {
    /// Makes a `Host` for one sandbox. The first one in a program takes 20 ms, to measure the TSC's
    /// frequency.
    #[must_use]
    pub fn new() -> Self {
        let interrupts = cfg!(feature = "hw-interrupts");
        Self {
            shared: Arc::new(HostShared {
                state: Arc::new(HostState::new(interrupts, LONGEST_WAIT, LINGER)),
                is_registered: AtomicBool::new(false),
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

    /// Sets the mode. The default is that of the build.
    ///
    /// # Errors
    ///
    /// [`NoInterruptsError`] if the build has no interrupts.
    pub fn with_mode(self, mode: Mode) -> std::result::Result<Self, NoInterruptsError> {
        let interrupts = mode == Mode::Interrupts;
        if interrupts && !cfg!(feature = "hw-interrupts") {
            return Err(NoInterruptsError);
        }
        self.shared.state.set_interrupts(interrupts);
        Ok(self)
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

    /// Adds a function that the guest calls by `dormir::hyperlight::call(name, argument)`, in place
    /// of an earlier one of this name. A name has at most 255 bytes.
    ///
    /// The runtime polls the future. It is dropped when the guest does not want its result any
    /// more, when the guest's call is cancelled or the guest restored, and with the sandbox. If it
    /// panics, the guest's call ends with `Panicked`; the message of an error reaches the guest, up
    /// to 1,024 bytes of it.
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

    /// Registers the function with a sandbox, or with the `HostFunctions` with which a sandbox
    /// will be built.
    ///
    /// # Errors
    ///
    /// This `Host` is already registered, or the sandbox has another one, or Hyperlight refuses.
    pub fn register(
        &self,
        sandbox: &mut impl Registerable,
    ) -> std::result::Result<(), RegisterError> {
        if self.shared.is_registered.swap(true, Ordering::Relaxed) {
            return Err(RegisterError::InUse);
        }
        let (registered, replaced) = Replaced::during(|| register(&self.shared, sandbox));
        // Functions that Hyperlight refuses are dropped too.
        let replaced = replaced.filter(|first| !Arc::ptr_eq(first, &self.shared));
        let result = match replaced {
            None => registered.map_err(RegisterError::from),
            // The functions that were registered first must stay.
            Some(first) => match register(&first, sandbox) {
                Ok(()) => Err(RegisterError::AlreadyRegistered),
                Err(error) => {
                    first.state.close();
                    Err(error.into())
                }
            },
        };
        let is_registered = result.is_ok();
        self.shared
            .is_registered
            .store(is_registered, Ordering::Relaxed);
        result
    }

    pub(crate) fn state(&self) -> &HostState {
        &self.shared.state
    }

    /// Makes a canceller, which ends calls of `sandbox` from other threads. It must be the sandbox
    /// with which this is registered.
    #[must_use]
    pub fn canceller(&self, sandbox: &Sandbox) -> Canceller {
        Canceller {
            shared: Arc::clone(&self.shared),
            interrupt: sandbox.interrupt_handle(),
        }
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

/// Ends a sandbox's call from another thread, even while the guest waits in the host, where
/// `InterruptHandle::kill` alone has no effect.
#[derive(Clone)]
pub struct Canceller {
    shared: Arc<HostShared>,
    interrupt: Arc<dyn InterruptHandle>,
}

impl Canceller {
    /// Ends the current call, or [`Host::drive`], if there is one. It fails with
    /// `HyperlightError::ExecutionCanceledByHost`, and the sandbox is poisoned until it is
    /// restored. (With `hw-interrupts`, build a new one from a snapshot: a restore does not revive
    /// a sandbox whose guest halted.) Returns whether the guest was executing; if it was waiting,
    /// the call ends too and this returns `false`.
    pub fn cancel(&self) -> bool {
        // In this order: a wait that ends then finds that the call must end, and does not return to
        // the guest.
        let was_executing = self.interrupt.kill();
        self.shared.state.cancel();
        was_executing
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

/// Signals events of a guest.
#[derive(Clone)]
pub struct Signaller {
    shared: Arc<HostShared>,
}

impl Signaller {
    /// Signals the guest's event `event`, on which a task waits by
    /// `dormir::hyperlight::event(event)`. A signal that comes first is not lost. If the guest
    /// waits in the host, it goes on at once; one that halts, or that is not being called, sees it
    /// at its next exchange with the host.
    pub fn signal(&self, event: u8) {
        self.shared.state.signal(event);
    }
}

impl fmt::Debug for Signaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signaller").finish_non_exhaustive()
    }
}

fn register(shared: &Arc<HostShared>, sandbox: &mut impl Registerable) -> Result<()> {
    let owner = FunctionOwner(Arc::clone(shared));
    sandbox.register_host_function(FUNCTION, move |batch: Vec<u8>| {
        Ok(owner.0.state.exchange(&batch))
    })
}

/// Held by the registered function, which is dropped with its sandbox, or when another takes its
/// name.
struct FunctionOwner(Arc<HostShared>);

impl Drop for FunctionOwner {
    fn drop(&mut self) {
        if !Replaced::note(&self.0) {
            self.0.state.close();
        }
    }
}

/// Detects whose functions a registration has replaced, which Hyperlight drops without a report.
struct Replaced;

thread_local! {
    /// Whether a registration is watching, and what was dropped since.
    static REPLACED: RefCell<Option<Option<Arc<HostShared>>>> = const { RefCell::new(None) };
}

impl Replaced {
    fn during<R>(register: impl FnOnce() -> R) -> (R, Option<Arc<HostShared>>) {
        REPLACED.with_borrow_mut(|slot| *slot = Some(None));
        let result = register();
        let replaced = REPLACED.with_borrow_mut(Option::take).flatten();
        (result, replaced)
    }

    /// Returns whether a registration is watching.
    fn note(shared: &Arc<HostShared>) -> bool {
        // Fails while the thread ends.
        let noted = REPLACED.try_with(|slot| match slot.borrow_mut().as_mut() {
            Some(replaced) => {
                *replaced = Some(Arc::clone(shared));
                true
            }
            None => false,
        });
        noted.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyperlight_host::HostFunctions;

    #[test]
    fn the_second_host_is_refused_and_the_first_stays() {
        let mut functions = HostFunctions::default();
        let (first, second) = (Host::new(), Host::new());
        first.register(&mut functions).expect("it is the first");
        let refused = second.register(&mut functions).expect_err("there is one");
        assert!(matches!(refused, RegisterError::AlreadyRegistered));
        // The function, and this.
        assert_eq!(Arc::strong_count(&first.shared), 2);
        assert_eq!(Arc::strong_count(&second.shared), 1);
        // It can be used elsewhere.
        let mut elsewhere = HostFunctions::default();
        second.register(&mut elsewhere).expect("it is free");
    }

    #[test]
    fn a_host_is_for_one_sandbox() {
        let (mut one, mut other) = (HostFunctions::default(), HostFunctions::default());
        let host = Host::new();
        host.register(&mut one).expect("it is the first");
        for functions in [&mut one, &mut other] {
            let refused = host.register(functions).expect_err("it is in use");
            assert!(matches!(refused, RegisterError::InUse));
        }
    }

    #[test]
    fn a_mode_that_the_build_lacks_is_refused() {
        let interrupts = Host::new().with_mode(Mode::Interrupts);
        assert_eq!(interrupts.is_ok(), cfg!(feature = "hw-interrupts"));
        assert!(Host::new().with_mode(Mode::HostWait).is_ok());
    }
}
