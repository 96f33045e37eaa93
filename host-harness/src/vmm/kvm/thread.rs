//! The vCPU's thread: started, waited for, and made to leave at the time limit.

use std::{
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope},
    time::{Duration, Instant},
};

use libc::{c_int, c_void, pthread_t, siginfo_t};
use vmm_sys_util::signal::{self, Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use super::exits::End;
use crate::vmm::{RunError, StopToken};

/// How often the stop token is looked at.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for the thread to leave `KVM_RUN` before the signal is sent again.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(1);

/// Why the vCPU's thread was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    OutOfTime,
    Stopped,
}

/// Runs `vcpu` on a thread of its own until it returns. At the deadline, or when `stop` is set,
/// `leave` is set and the thread interrupted until it has left; then the reason is returned too.
///
/// The thread is always joined: nothing of it is left when this returns.
pub(super) fn run(
    deadline: Option<Instant>,
    stop: &StopToken,
    leave: &AtomicBool,
    vcpu: impl FnOnce() -> (End, u64) + Send,
) -> Result<(End, u64, Option<Asked>), RunError> {
    let failed = |cause| RunError::Resource {
        what: "a thread that can be interrupted",
        cause,
    };
    // Without a handler the signal would end the process. Done for each run, because it is cheap
    // and another library may have taken the signal meanwhile.
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|errno| failed(errno.into()))?;
    scope(|scope| {
        // It is never sent anything but the thread's id, and disconnected when the thread ends.
        let (sender, receiver) = channel();
        let body = move || {
            // Threads inherit what their maker blocks, and a blocked signal would never arrive.
            unblock_signal(SIGRTMIN())?;
            // SAFETY: the function has no conditions.
            let id = unsafe { libc::pthread_self() };
            // The receiver is there: who made this thread waits for it.
            let _ = sender.send(id);
            let result = vcpu();
            drop(sender);
            Ok(result)
        };
        let handle = Builder::new()
            .name("vcpu".into())
            .spawn_scoped(scope, body)
            .map_err(failed)?;
        let mut asked = None;
        if let Ok(id) = receiver.recv() {
            asked = wait(&receiver, deadline, stop);
            if asked.is_some() {
                leave.store(true, Ordering::SeqCst);
                VcpuThread {
                    _handle: &handle,
                    id,
                }
                .interrupt_until_gone(&receiver);
            }
        }
        let result: Result<_, signal::Error> = handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (end, exits) = result.map_err(|error| failed(io::Error::other(error.to_string())))?;
        Ok((end, exits, asked))
    })
}

/// Waits until the thread ends (`None`), or is to be ended.
fn wait(
    receiver: &Receiver<pthread_t>,
    deadline: Option<Instant>,
    stop: &StopToken,
) -> Option<Asked> {
    loop {
        if stop.is_stopped() {
            return Some(Asked::Stopped);
        }
        let left = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return Some(Asked::OutOfTime);
        }
        if receiver.recv_timeout(left.min(STOP_INTERVAL)) == Err(RecvTimeoutError::Disconnected) {
            return None;
        }
    }
}

/// A thread that can be sent signals, because it is not joined yet.
struct VcpuThread<'a, 'scope, T> {
    _handle: &'a ScopedJoinHandle<'scope, T>,
    id: pthread_t,
}

// SAFETY: the id is the thread's own, and it stays valid until the thread is joined or detached,
// which takes the handle that is borrowed here.
unsafe impl<T> Killable for VcpuThread<'_, '_, T> {
    fn pthread_handle(&self) -> pthread_t {
        self.id
    }
}

impl<T> VcpuThread<'_, '_, T> {
    /// Interrupts the thread's system call until the thread has ended.
    fn interrupt_until_gone(&self, receiver: &Receiver<pthread_t>) {
        loop {
            // If the queue of signals is full, there is one to come already.
            let _ = self.kill(SIGRTMIN());
            if receiver.recv_timeout(SIGNAL_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }
}

/// That the signal interrupts `KVM_RUN` is all that it is for.
extern "C" fn on_signal(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
