//! [`Host`]: dormir's functions for the guest in a sandbox.

use std::{
    cell::RefCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyperlight_host::{Result, Sandbox, func::Registerable, hypervisor::InterruptHandle};

use crate::{
    error::{NoInterruptsError, RegisterError},
    state::HostState,
};

/// The default limit of a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How an idle guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It calls the host, which waits; works in any sandbox.
    HostWait,
    /// It halts between the ticks of a timer; needs the feature `hw-interrupts`.
    Interrupts,
}

/// The host functions of one sandbox, with its clock and its waits.
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
    state: HostState,
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
                state: HostState::new(interrupts, LONGEST_WAIT),
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

    /// Registers the functions with a sandbox, or with the `HostFunctions` with which a sandbox
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
                Err(error) => Err(error.into()),
            },
        };
        let is_registered = result.is_ok();
        self.shared
            .is_registered
            .store(is_registered, Ordering::Relaxed);
        result
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
    /// Ends the current call, if there is one. It fails with
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

fn register(shared: &Arc<HostShared>, sandbox: &mut impl Registerable) -> Result<()> {
    let entry = FunctionOwner(Arc::clone(shared));
    let wait = FunctionOwner(Arc::clone(shared));
    sandbox.register_host_function(
        "dormir_entry",
        // A guest of another version detects that from the reply, and reports it.
        move |_version: u64, generation: u64, stamp: u64| {
            entry.state().entry(generation, stamp).to_bytes()
        },
    )?;
    sandbox.register_host_function("dormir_wait", move |nanos: u64| {
        wait.state().wait(nanos).to_bytes()
    })
}

/// Held by the registered functions, which are dropped when others take their names.
struct FunctionOwner(Arc<HostShared>);

impl FunctionOwner {
    fn state(&self) -> &HostState {
        &self.0.state
    }
}

impl Drop for FunctionOwner {
    fn drop(&mut self) {
        Replaced::note(&self.0);
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

    fn note(shared: &Arc<HostShared>) {
        // Fails while the thread ends.
        let _ = REPLACED.try_with(|slot| {
            if let Some(replaced) = slot.borrow_mut().as_mut() {
                *replaced = Some(Arc::clone(shared));
            }
        });
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
        // The functions, and this.
        assert_eq!(Arc::strong_count(&first.shared), 3);
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
