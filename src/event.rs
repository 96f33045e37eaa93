//! Events: signals from interrupt handlers to a task.

use core::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use critical_section::Mutex;

use crate::progress;

/// A counter of signals that a task can wait for. An interrupt handler [signals](Self::signal), the
/// task [waits](Self::wait).
///
/// Signals are counted, so none is lost while the task is busy: the next wait ends at once and
/// returns their number. One task waits at a time.
///
/// # Contexts
///
/// All methods may be called in any context but NMI and machine-check handlers: they use critical
/// sections, which do not hold those off.
///
/// # Examples
///
/// ```
/// use dormir::{Event, event::AlreadyAwaited, platform::host::Skip};
///
/// static RECEIVED: Event = Event::new();
///
/// /// Called by the device's interrupt handler.
/// fn on_packet() {
///     RECEIVED.signal();
/// }
///
/// async fn receive() -> Result<u32, AlreadyAwaited> {
///     let packets = RECEIVED.wait()?.await;
///     Ok(packets)
/// }
///
/// on_packet();
/// on_packet();
/// // A guest waits by `idle::Halt`.
/// assert_eq!(dormir::block_on(receive(), Skip), Ok(2));
/// ```
pub struct Event {
    state: Mutex<EventState>,
}

/// While there are signals, there is no waker: a signal takes the waker, and a poll that finds
/// signals stores none.
struct EventState {
    /// Signals that were not taken yet.
    signals: Cell<u32>,
    /// Whether a [`Wait`] exists.
    awaited: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Event {
    /// An event without signals.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(EventState {
                signals: Cell::new(0),
                awaited: Cell::new(false),
                waker: Cell::new(None),
            }),
        }
    }

    /// Counts one signal, and wakes the waiting task if there is one. The count stops at
    /// [`u32::MAX`].
    ///
    /// # Contexts
    ///
    /// Any but an NMI or machine-check handler.
    pub fn signal(&self) {
        self.add(1);
    }

    /// As this many calls of [`signal`](Self::signal).
    #[inline(always)]
    pub(crate) fn add(&self, signals: u32) {
        let waker = self.with_state(|state| {
            state
                .signals
                .set(state.signals.get().saturating_add(signals));
            state.waker.take()
        });
        progress::note();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns a future that waits for the next signal, and ends with the number of signals that
    /// were not taken before. There can be one such future at once; dropping it makes room for the
    /// next.
    ///
    /// # Errors
    ///
    /// [`AlreadyAwaited`] while another [`Wait`] of this event exists.
    ///
    /// # Examples
    ///
    /// ```
    /// # let event = dormir::Event::new();
    /// let first = event.wait()?;
    /// assert!(event.wait().is_err());
    /// drop(first);
    /// assert!(event.wait().is_ok());
    /// # Ok::<(), dormir::event::AlreadyAwaited>(())
    /// ```
    pub fn wait(&self) -> Result<Wait<'_>, AlreadyAwaited> {
        if self.with_state(|state| state.awaited.replace(true)) {
            Err(AlreadyAwaited)
        } else {
            Ok(Wait { event: self })
        }
    }

    /// Takes the signals so far, without waiting, and returns their number.
    ///
    /// A signal that is taken here does not end a [`Wait`].
    pub fn take(&self) -> u32 {
        self.with_state(|state| state.signals.take())
    }

    /// Takes the signals so far. If there are none, the next one wakes the task of this context,
    /// and no other.
    pub(crate) fn poll_signals(&self, cx: &Context<'_>) -> Poll<u32> {
        let looked = self.with_state(|state| match state.signals.take() {
            0 if state.will_wake(cx.waker()) => Some(Poll::Pending),
            0 => None,
            signals => Some(Poll::Ready(signals)),
        });
        if let Some(poll) = looked {
            return poll;
        }
        // Cloning and dropping a waker is foreign code: it runs outside the critical section.
        let waker = cx.waker().clone();
        let (poll, unused) = self.with_state(|state| match state.signals.take() {
            0 => (Poll::Pending, state.waker.replace(Some(waker))),
            signals => (Poll::Ready(signals), Some(waker)),
        });
        drop(unused);
        poll
    }

    /// Forgets signals, and the task that waits for some.
    #[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
    pub(crate) fn reset(&self) {
        let waker = self.with_state(|state| {
            state.signals.set(0);
            state.waker.take()
        });
        drop(waker);
    }

    /// Runs `section` in a critical section. No foreign code runs in it: a waker is cloned, woken
    /// and dropped outside.
    fn with_state<R>(&self, section: impl FnOnce(&EventState) -> R) -> R {
        critical_section::with(|cs| section(self.state.borrow(cs)))
    }
}

impl EventState {
    /// Whether the stored waker wakes the same task as `other`.
    fn will_wake(&self, other: &Waker) -> bool {
        let stored = self.waker.take();
        let same = stored.as_ref().is_some_and(|waker| waker.will_wake(other));
        self.waker.set(stored);
        same
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (signals, awaited) =
            self.with_state(|state| (state.signals.get(), state.awaited.get()));
        f.debug_struct("Event")
            .field("signals", &signals)
            .field("awaited", &awaited)
            .finish()
    }
}

/// A future that ends when its [`Event`] has signals. It takes them and returns their number, which
/// is at least 1.
///
/// It may be polled again after it has ended, and then waits for further signals: a task that waits
/// in a loop can keep it.
///
/// # Cancel safety
///
/// Dropping it lets another task wait. Signals that it has not returned stay counted, for the next
/// `Wait`. (Forgetting it, by [`core::mem::forget`], keeps others from waiting permanently.)
///
/// # Examples
///
/// ```
/// # let event = dormir::Event::new();
/// # let work = async {
/// let mut signals = event.wait()?;
/// let mut sum = 0;
/// while sum < 3 {
///     event.signal();
///     sum += (&mut signals).await;
/// }
/// # Ok::<(), dormir::event::AlreadyAwaited>(())
/// # };
/// # dormir::block_on(work, dormir::platform::host::Skip)?;
/// # Ok::<(), dormir::event::AlreadyAwaited>(())
/// ```
#[derive(Debug)]
#[must_use = "it waits only when it is awaited"]
pub struct Wait<'a> {
    event: &'a Event,
}

impl Future for Wait<'_> {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        self.event.poll_signals(cx)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let waker = self.event.with_state(|state| {
            state.awaited.set(false);
            state.waker.take()
        });
        drop(waker);
    }
}

/// Another [`Wait`] of the event exists.
///
/// # Examples
///
/// ```
/// # let event = dormir::Event::new();
/// let _wait = event.wait();
/// let refused = event.wait().expect_err("there is one already");
/// println!("{refused}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct AlreadyAwaited;

impl fmt::Display for AlreadyAwaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "another task already waits for this event: give each task an event of its own, or \
             drop the other `Wait` first",
        )
    }
}

impl core::error::Error for AlreadyAwaited {}

#[cfg(test)]
mod tests;
