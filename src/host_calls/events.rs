//! Events that the host signals.

use core::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::table;
use crate::event::{AlreadyAwaited, Event, Wait};

/// The number of events.
const EVENTS: usize = 256;

static EVENT: [Event; EVENTS] = [const { Event::new() }; EVENTS];

/// The host has signalled an event.
pub(crate) fn signal(event: u8, count: u32) {
    EVENT[usize::from(event)].add(count);
}

/// Returns a future that waits until the host signals the event `number`, and ends with the number
/// of signals that were not taken before. A signal that comes first is not lost.
///
/// The host signals by `Signaller::signal`, from any thread. While an event is awaited, an idle
/// Hyperlight guest waits in the host.
///
/// # Errors
///
/// [`AlreadyAwaited`] while another task waits for this event.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight;
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// /// The number of the event; the host knows it too.
/// const CHANGED: u8 = 3;
///
/// // With `#[guest_function]`.
/// fn until_changed() -> Result<u32, HyperlightGuestError> {
///     let times = hyperlight::block_on(async {
///         hyperlight::event(CHANGED).expect("one task waits").await
///     })?;
///     Ok(times)
/// }
/// ```
pub fn event(number: u8) -> Result<EventWait, AlreadyAwaited> {
    let wait = EVENT[usize::from(number)].wait()?;
    table::begin_wait();
    Ok(EventWait(wait))
}

/// A future that waits for the host's signals, as returned by [`event`]. It may be polled again
/// after it has ended, and then waits for further signals.
///
/// # Cancel safety
///
/// Dropping it lets another task wait. Signals that it has not returned stay counted.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// use dormir::hyperlight::{self, EventWait};
///
/// async fn seven_signals(mut wait: EventWait) {
///     let mut signals = 0;
///     while signals < 7 {
///         signals += (&mut wait).await;
///     }
/// }
/// # let _ = seven_signals;
/// ```
#[derive(Debug)]
#[must_use = "it waits only when it is awaited"]
pub struct EventWait(Wait<'static>);

impl Future for EventWait {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        table::end_wait();
    }
}
