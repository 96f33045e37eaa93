//! What the loop around `KVM_RUN` is asked to do by another thread.

use std::sync::{Arc, atomic::AtomicBool};

/// What the loop is asked to do. Who asks must then send the loop's thread a signal, and repeat it
/// until the loop has done it: a signal between the check of a request and `KVM_RUN` interrupts
/// neither.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// To end. The devices share it.
    pub(super) leave: Arc<AtomicBool>,
    /// To send the guest an NMI, whose handler reports what the guest was doing. The loop clears
    /// it.
    pub(super) report: AtomicBool,
    /// To see whether a debugger has sent something. The loop clears it.
    pub(super) attend: AtomicBool,
}
