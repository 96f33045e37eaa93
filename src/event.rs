//! Signals from interrupt handlers to a task.

use core::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use critical_section::Mutex;

use crate::progress;

/// How an interrupt handler tells a task that something has happened: the handler
/// [signals](Self::signal), the task [waits](Self::wait).
///
/// Signals are counted, so none is lost that comes while the task is busy: the next wait ends at once
/// and says how many there were. One task waits at a time.
///
/// # Contexts
///
/// Everything here may be used in any context but an NMI or machine-check handler: it uses critical
/// sections, which do not hold those off.
///
/// # Examples
///
/// ```
/// use dormir::{Event, event::AlreadyAwaited};
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
/// # dormir::platform::host::init();
/// # let idle = dormir::platform::host::Skip;
/// // In a guest: `let idle = dormir::idle::Halt;`
/// assert_eq!(dormir::block_on(receive(), idle), Ok(2));
/// ```
pub struct Event {
    state: Mutex<EventState>,
}

/// While there are signals, there is no waker: a signal takes it, and a poll that finds signals leaves
/// none.
struct EventState {
    /// Those that nobody has taken yet.
    signals: Cell<u32>,
    /// Whether there is a [`Wait`].
    awaited: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Event {
    /// An event without signals.
    ///
    /// # Examples
    ///
    /// ```
    /// static TICK: dormir::Event = dormir::Event::new();
    /// ```
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

    /// Counts one signal and wakes the task that waits, if one does. The count stops at [`u32::MAX`].
    ///
    /// # Contexts
    ///
    /// Any but an NMI or machine-check handler.
    ///
    /// # Examples
    ///
    /// ```
    /// # let event = dormir::Event::new();
    /// event.signal();
    /// assert_eq!(event.take(), 1);
    /// ```
    pub fn signal(&self) {
        let waker = self.locked(|state| {
            state.signals.set(state.signals.get().saturating_add(1));
            state.waker.take()
        });
        progress::note();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the place of the one who waits. The future ends as soon as there is a signal, with the
    /// number of those that were not taken before; the place is free again when the future is dropped.
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
        if self.locked(|state| state.awaited.replace(true)) {
            Err(AlreadyAwaited)
        } else {
            Ok(Wait { event: self })
        }
    }

    /// Takes the signals that have come, without waiting: 0 if there are none.
    ///
    /// What is taken here does not end a [`Wait`] any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # let event = dormir::Event::new();
    /// event.signal();
    /// event.signal();
    /// assert_eq!(event.take(), 2);
    /// assert_eq!(event.take(), 0);
    /// ```
    pub fn take(&self) -> u32 {
        self.locked(|state| state.signals.take())
    }

    /// One critical section. No foreign code runs in it: a waker's clone, wake and drop come after it.
    fn locked<R>(&self, section: impl FnOnce(&EventState) -> R) -> R {
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
        let (signals, awaited) = self.locked(|state| (state.signals.get(), state.awaited.get()));
        f.debug_struct("Event")
            .field("signals", &signals)
            .field("awaited", &awaited)
            .finish()
    }
}

/// A future that ends when its [`Event`] has signals, with their number: at least 1. It takes them.
///
/// It may be polled again after it has ended, and then waits for further signals: a task that waits in
/// a loop can keep its place.
///
/// # Cancel safety
///
/// Dropping it gives up the place. Signals that it has not given out stay counted, for the next one.
/// (Forgetting it, as by [`core::mem::forget`], keeps the place taken for good.)
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
#[must_use = "it waits only when it is awaited; dropping it gives up the place"]
pub struct Wait<'a> {
    event: &'a Event,
}

impl Future for Wait<'_> {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        let event = self.event;
        let looked = event.locked(|state| match state.signals.take() {
            0 if state.will_wake(cx.waker()) => Some(Poll::Pending),
            0 => None,
            signals => Some(Poll::Ready(signals)),
        });
        if let Some(poll) = looked {
            return poll;
        }
        // Cloning and dropping a waker is foreign code: it runs outside the critical section.
        let waker = cx.waker().clone();
        let (poll, unused) = event.locked(|state| match state.signals.take() {
            0 => (Poll::Pending, state.waker.replace(Some(waker))),
            signals => (Poll::Ready(signals), Some(waker)),
        });
        drop(unused);
        poll
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let waker = self.event.locked(|state| {
            state.awaited.set(false);
            state.waker.take()
        });
        drop(waker);
    }
}

/// The event has a [`Wait`] already.
///
/// # Examples
///
/// ```
/// # let event = dormir::Event::new();
/// let _wait = event.wait();
/// let refused = event.wait().expect_err("the place is taken");
/// println!("{refused}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyAwaited;

impl fmt::Display for AlreadyAwaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "another task waits for this event already: give each task an event of its own, or drop the other `Wait` first",
        )
    }
}

impl core::error::Error for AlreadyAwaited {}

#[cfg(test)]
mod tests;
