//! The vCPU's thread: starts it, waits for it, and makes it leave at the time limit.

use std::{
    io,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope},
    time::{Duration, Instant},
};

use libc::{c_int, c_void, pthread_t, siginfo_t};
use vmm_sys_util::signal::{self, Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use super::requests::Requests;
use crate::stop::StopToken;
use crate::vmm::error::RunError;

/// How often the stop token is checked.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for the thread to leave `KVM_RUN` before the signal is sent again.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(1);

/// Why the vCPU's thread was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    OutOfTime,
    Stopped,
}

/// When a thread must end.
pub(super) struct Until<'a> {
    pub(super) deadline: Option<Instant>,
    pub(super) stop: &'a StopToken,
    /// How long the guest may take after the deadline to report what it was doing. Zero: it is not
    /// asked.
    pub(super) report_limit: Duration,
    /// How long the guest may run after a debugger has left it; `None` if none can attach.
    pub(super) after_debugger: Option<Duration>,
}

/// Runs `vcpu` on a thread of its own until it returns. At the deadline the thread is asked for a
/// report first. Then, or when `stop` is set, it is asked to leave, and interrupted until it has
/// left. Then the reason is returned too.
///
/// The thread is always joined before this returns.
pub(super) fn run<T: Send>(
    until: &Until<'_>,
    requests: &Requests,
    vcpu: impl FnOnce() -> T + Send,
) -> Result<(T, Option<StopReason>), RunError> {
    let failed = |cause| RunError::Resource {
        what: "a thread that can be interrupted",
        cause,
    };
    // Without a handler the signal would end the process. Registered for each run, because that is
    // cheap and another library may have replaced the handler.
    register_signal_handler(SIGRTMIN(), on_signal).map_err(|errno| failed(errno.into()))?;
    scope(|scope| {
        // It carries only the thread's id, and is disconnected when the thread ends.
        let (sender, receiver) = channel();
        let body = move || {
            // A thread inherits the blocked signals of its creator, and a blocked signal never
            // arrives.
            unblock_signal(SIGRTMIN())?;
            // SAFETY: the function has no conditions.
            let id = unsafe { libc::pthread_self() };
            // The receiver exists: the creator of this thread waits for it.
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
            let thread = VcpuThread {
                _handle: &handle,
                id,
            };
            asked = match until.after_debugger {
                Some(limit) => thread.wait_beside_debugger(&receiver, limit, until.stop, requests),
                None => wait(&receiver, until.deadline, until.stop),
            };
            let out_of_time = asked == Some(StopReason::OutOfTime);
            let ended = out_of_time && thread.ends_with_report(&receiver, until, requests);
            if asked.is_some() && !ended {
                requests.leave.store(true, Ordering::SeqCst);
                thread.interrupt_until_gone(&receiver);
            }
        }
        let result: Result<_, signal::Error> = handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let result = result.map_err(|error| failed(io::Error::other(error.to_string())))?;
        Ok((result, asked))
    })
}

/// Waits until the thread ends (`None`), or must be ended.
fn wait(
    receiver: &Receiver<pthread_t>,
    deadline: Option<Instant>,
    stop: &StopToken,
) -> Option<StopReason> {
    loop {
        if stop.is_stopped() {
            return Some(StopReason::Stopped);
        }
        let left = deadline.map_or(STOP_INTERVAL, |at| {
            at.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return Some(StopReason::OutOfTime);
        }
        if receiver.recv_timeout(left.min(STOP_INTERVAL)) == Err(RecvTimeoutError::Disconnected) {
            return None;
        }
    }
}

/// A thread that can receive signals, because it is not joined yet.
struct VcpuThread<'a, 'scope, T> {
    _handle: &'a ScopedJoinHandle<'scope, T>,
    id: pthread_t,
}

// SAFETY: the id is the thread's own and stays valid until the thread is joined or detached, which
// needs the handle that is borrowed here.
unsafe impl<T> Killable for VcpuThread<'_, '_, T> {
    fn pthread_handle(&self) -> pthread_t {
        self.id
    }
}

impl<T> VcpuThread<'_, '_, T> {
    /// As [`wait`], but makes the thread look for a debugger again and again, and counts the time
    /// only while there is none.
    fn wait_beside_debugger(
        &self,
        receiver: &Receiver<pthread_t>,
        limit: Duration,
        stop: &StopToken,
        requests: &Requests,
    ) -> Option<StopReason> {
        loop {
            let next = Instant::now() + STOP_INTERVAL;
            match wait(receiver, Some(next), stop) {
                Some(StopReason::OutOfTime) => {}
                end => return end,
            }
            let deadline = requests.debugger.deadline(limit);
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Some(StopReason::OutOfTime);
            }
            requests.attend.store(true, Ordering::SeqCst);
            // As in `interrupt_until_gone`.
            let _ = self.kill(SIGRTMIN());
        }
    }

    /// Asks the guest what it was doing, and returns whether the thread ends in time.
    fn ends_with_report(
        &self,
        receiver: &Receiver<pthread_t>,
        until: &Until<'_>,
        requests: &Requests,
    ) -> bool {
        let end = Instant::now() + until.report_limit;
        requests
            .report
            .store(!until.report_limit.is_zero(), Ordering::SeqCst);
        while requests.report.load(Ordering::SeqCst) && Instant::now() < end {
            // As in `interrupt_until_gone`.
            let _ = self.kill(SIGRTMIN());
            if receiver.recv_timeout(SIGNAL_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return true;
            }
        }
        wait(receiver, Some(end), until.stop).is_none()
    }

    /// Interrupts the thread's system call until the thread has ended.
    fn interrupt_until_gone(&self, receiver: &Receiver<pthread_t>) {
        loop {
            // If the signal queue is full, a signal is pending already.
            let _ = self.kill(SIGRTMIN());
            if receiver.recv_timeout(SIGNAL_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }
}

/// Does nothing: the signal only interrupts `KVM_RUN`.
extern "C" fn on_signal(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
