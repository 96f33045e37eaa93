//! Sandboxes of Hyperlight: their function `dormir_wait`, their modes, and the end of their calls
//! from outside.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use dormir_hyperlight_protocol::FUNCTION;
use hyperlight_host::{Result, Sandbox, func::Registerable, hypervisor::InterruptHandle};

use crate::{
    Host,
    error::{NoInterruptsError, RegisterError},
    host::HostShared,
};

/// How an idle guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It calls the host, which waits; works in any sandbox.
    HostWait,
    /// It halts between the ticks of a timer; needs the feature `hw-interrupts`.
    Interrupts,
}

impl Host {
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
        self.shared.state.changing().interrupts = interrupts;
        Ok(self)
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
        if self.shared.is_in_use.swap(true, Ordering::Relaxed) {
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
            .is_in_use
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
