//! The vCPU's thread: starts it, waits for it, and makes it leave when that is ordered.

use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{Builder, ScopedJoinHandle, scope},
    time::{Duration, Instant},
};

use libc::{c_int, c_void, pthread_t, siginfo_t};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use vmm_sys_util::signal::{self, Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use super::{message::TIME_IS_UP, requests::Requests};
use crate::vmm::error::RunError;

/// How often orders are looked for.
const ORDER_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for the thread to leave `KVM_RUN` before the signal is sent again.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(1);

/// Why the vCPU's thread was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    OutOfTime,
    Stopped,
}

/// Where orders come from, and how they are carried out.
pub(super) struct Orders<'a> {
    /// Read without waiting.
    pub(super) control: &'a UnixStream,
    /// How long the guest may take to report what it was doing when the time is up. Zero: it is not
    /// asked.
    pub(super) report_limit: Duration,
    /// Whether debuggers must be looked for.
    pub(super) has_debugger: bool,
}

impl Orders<'_> {
    /// The order that has come, if there is one.
    fn next(&self) -> Option<StopReason> {
        let mut order = [0];
        match recv(self.control, &mut order[..], RecvFlags::DONTWAIT) {
            Ok((_, 1)) if order[0] == TIME_IS_UP => Some(StopReason::OutOfTime),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Who gave the orders is gone.
            _ => Some(StopReason::Stopped),
        }
    }
}

/// Runs `vcpu` on a thread of its own until it returns. When the time is up, the thread is asked
/// for a report first. Then, or when it is ordered to stop, it is asked to leave, and interrupted
/// until it has left. Then the reason is returned too.
///
/// The thread is always joined before this returns.
pub(super) fn run<T: Send>(
    orders: &Orders<'_>,
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
            asked = loop {
                let end = Instant::now() + ORDER_INTERVAL;
                match wait(&receiver, end, orders) {
                    Waited::Ended => break None,
                    Waited::Ordered(reason) => break Some(reason),
                    Waited::InVain if orders.has_debugger => thread.attend(requests),
                    Waited::InVain => {}
                }
            };
            let out_of_time = asked == Some(StopReason::OutOfTime);
            let ended = out_of_time && thread.ends_with_report(&receiver, orders, requests);
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

/// What came of a wait.
enum Waited {
    /// The thread has ended.
    Ended,
    Ordered(StopReason),
    InVain,
}

/// Waits until the thread ends or an order comes, no longer than to `end`.
fn wait(receiver: &Receiver<pthread_t>, end: Instant, orders: &Orders<'_>) -> Waited {
    loop {
        if let Some(reason) = orders.next() {
            return Waited::Ordered(reason);
        }
        let left = end.saturating_duration_since(Instant::now());
        if receiver.recv_timeout(left.min(ORDER_INTERVAL)) == Err(RecvTimeoutError::Disconnected) {
            return Waited::Ended;
        }
        if left.is_zero() {
            return Waited::InVain;
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
    /// Makes the thread look for a debugger.
    fn attend(&self, requests: &Requests) {
        requests.attend.store(true, Ordering::SeqCst);
        // As in `interrupt_until_gone`.
        let _ = self.kill(SIGRTMIN());
    }

    /// Asks the guest what it was doing, and returns whether the thread ends in time.
    fn ends_with_report(
        &self,
        receiver: &Receiver<pthread_t>,
        orders: &Orders<'_>,
        requests: &Requests,
    ) -> bool {
        let end = Instant::now() + orders.report_limit;
        requests
            .report
            .store(!orders.report_limit.is_zero(), Ordering::SeqCst);
        while requests.report.load(Ordering::SeqCst) && Instant::now() < end {
            // As in `interrupt_until_gone`.
            let _ = self.kill(SIGRTMIN());
            if receiver.recv_timeout(SIGNAL_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return true;
            }
        }
        matches!(wait(receiver, end, orders), Waited::Ended)
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
