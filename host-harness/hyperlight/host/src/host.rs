//! What a host program uses.

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
    error::{NoInterrupts, RegisterError},
    state::State,
};

/// The longest wait unless the host says otherwise.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How an idle guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It calls the host, which waits: any sandbox can do that.
    HostWait,
    /// It halts between the ticks of a timer: with the feature `hw-interrupts`.
    Interrupts,
}

/// The functions of one sandbox, its time, and its waits.
///
/// # Examples
///
/// ```no_run
/// use dormir_hyperlight_host::Host;
/// use hyperlight_host::{HostFunctions, SandboxBuilder};
///
/// // Before the sandbox is there, for guests that run tasks while they start, and for snapshots.
/// let host = Host::new();
/// let mut functions = HostFunctions::default();
/// host.register(&mut functions)?;
/// let sandbox = SandboxBuilder::from_file("guest").host_functions(functions).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    state: State,
    is_registered: AtomicBool,
}

impl Host {
    /// For one sandbox. The first one of a program takes 20 ms, for the frequency of the TSC.
    #[must_use]
    pub fn new() -> Self {
        let interrupts = cfg!(feature = "hw-interrupts");
        Self {
            shared: Arc::new(Shared {
                state: State::new(interrupts, LONGEST_WAIT),
                is_registered: AtomicBool::new(false),
            }),
        }
    }

    /// Lets a guest wait for `longest` at a time: one hour unless this is called. For a deadline that is
    /// farther away the guest's call ends with an error that says so.
    #[must_use]
    pub fn with_longest_wait(self, longest: Duration) -> Self {
        self.shared.state.set_longest_wait(longest);
        self
    }

    /// Chooses the mode. It is that of the build unless this is called.
    ///
    /// # Errors
    ///
    /// [`NoInterrupts`] where the build has none.
    pub fn with_mode(self, mode: Mode) -> std::result::Result<Self, NoInterrupts> {
        let interrupts = mode == Mode::Interrupts;
        if interrupts && !cfg!(feature = "hw-interrupts") {
            return Err(NoInterrupts);
        }
        self.shared.state.set_interrupts(interrupts);
        Ok(self)
    }

    /// Registers the functions on a sandbox, or on the `HostFunctions` that a sandbox is going to be made
    /// with.
    ///
    /// # Errors
    ///
    /// This `Host` was registered before, or another one there; Hyperlight refuses.
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
            // The functions that were there are to stay.
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

    /// Ends calls of `sandbox` from other threads. It must be the sandbox on which this is registered.
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

/// Ends a sandbox's call from another thread, also while the guest waits in the host, where
/// `InterruptHandle::kill` alone does not reach it.
#[derive(Clone)]
pub struct Canceller {
    shared: Arc<Shared>,
    interrupt: Arc<dyn InterruptHandle>,
}

impl Canceller {
    /// Ends the call that runs now, if one does: it gives `HyperlightError::ExecutionCanceledByHost`, and
    /// the sandbox is poisoned until it is restored (with `hw-interrupts`, make a new one from a snapshot: one
    /// whose guest halted does not come back in a restore). Whether the guest was executing; while it waits, the
    /// call ends and the answer is `false`.
    pub fn cancel(&self) -> bool {
        // In this order: a wait that ends finds that the call is to end, and does not return to the guest.
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

fn register(shared: &Arc<Shared>, sandbox: &mut impl Registerable) -> Result<()> {
    let entry = Owner(Arc::clone(shared));
    let wait = Owner(Arc::clone(shared));
    sandbox.register_host_function(
        "dormir_entry",
        // A guest of another version finds that out by the answer, and says so.
        move |_version: u64, generation: u64, stamp: u64| {
            entry.state().entry(generation, stamp).to_bytes()
        },
    )?;
    sandbox.register_host_function("dormir_wait", move |nanos: u64| {
        wait.state().wait(nanos).to_bytes()
    })
}

/// Held by the functions that are registered: they go when others take their names.
struct Owner(Arc<Shared>);

impl Owner {
    fn state(&self) -> &State {
        &self.0.state
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        Replaced::note(&self.0);
    }
}

/// Finds out whose functions a registration has replaced: Hyperlight drops them, without a word.
struct Replaced;

thread_local! {
    /// Whether somebody wants to know, and what was dropped since.
    static REPLACED: RefCell<Option<Option<Arc<Shared>>>> = const { RefCell::new(None) };
}

impl Replaced {
    fn during<R>(register: impl FnOnce() -> R) -> (R, Option<Arc<Shared>>) {
        REPLACED.with_borrow_mut(|slot| *slot = Some(None));
        let result = register();
        let replaced = REPLACED.with_borrow_mut(Option::take).flatten();
        (result, replaced)
    }

    fn note(shared: &Arc<Shared>) {
        // Not while the thread ends.
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
