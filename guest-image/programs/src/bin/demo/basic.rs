//! Sleeps and prints, one after another: an `async fn`, and a future written by hand.

use core::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use dormir::{
    block_on,
    time::{Timer, TimerQueue},
};
use dormir_guest::{console::report, println};

use crate::{
    DemoResult,
    measure::{self, counted},
};

/// How long each of the naps is.
const NAP: Duration = Duration::from_millis(250);

/// Waits with `hlt`.
pub(crate) fn napping() -> DemoResult {
    measure::napping(|idle| block_on(counted(program()), idle));
    Ok(())
}

/// Polls in a busy loop, with a waker that does nothing, and never halts.
pub(crate) fn busy() -> DemoResult {
    measure::timed(|| {
        let mut program = pin!(counted(program()));
        let mut context = Context::from_waker(Waker::noop());
        while program.as_mut().poll(&mut context).is_pending() {
            TimerQueue::global().turn();
            core::hint::spin_loop();
        }
    });
    report("halts", 0);
    report("halted_ns", 0);
    Ok(())
}

async fn program() {
    println!("going to sleep");
    Timer::after(NAP).await;
    println!("slept once, in an async fn");
    NapThenPrint::new("slept twice, in a future written by hand").await;
    Timer::after(NAP).await;
    println!("slept three times; good morning");
}

/// What the compiler makes of `async { Timer::after(NAP).await; println!("{message}") }`: a struct
/// with everything that lives across the await, and a `poll` that continues where it left off.
struct NapThenPrint {
    nap: Timer,
    message: &'static str,
}

impl NapThenPrint {
    fn new(message: &'static str) -> Self {
        Self {
            nap: Timer::after(NAP),
            message,
        }
    }

    /// Returns the nap, pinned because `self` is.
    fn nap(self: Pin<&mut Self>) -> Pin<&mut Timer> {
        // SAFETY: `nap` is pinned whenever `self` is: nothing here moves it out, there is no
        // `Drop`, and `Self` is `!Unpin` as the timer is.
        unsafe { self.map_unchecked_mut(|this| &mut this.nap) }
    }
}

impl Future for NapThenPrint {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.as_mut().nap().poll(cx));
        println!("{}", self.message);
        Poll::Ready(())
    }
}
