//! Sleep and print, one after another: an `async fn` and, beside it, a future written by hand.

use core::{
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use dormir::{
    block_on,
    idle::{Halt, Metered},
    platform::bare,
    time::{Instant, Timer, TimerQueue},
};
use dormir_guest::{console::report, println};

/// How long each of the naps is.
const NAP: Duration = Duration::from_millis(250);

/// Waits with `hlt`.
pub(crate) fn napping() {
    let mut idle = Metered::new(Halt);
    run(|program| block_on(program, &mut idle));
    report("halts", idle.waits());
    report("halted_ns", nanos(idle.waited()));
}

/// Polls without rest, with a waker that does nothing: nothing in it halts.
pub(crate) fn busy() {
    run(|program| {
        let mut program = pin!(program);
        let mut context = Context::from_waker(Waker::noop());
        while program.as_mut().poll(&mut context).is_pending() {
            TimerQueue::global().turn();
            core::hint::spin_loop();
        }
    });
    report("halts", 0);
    report("halted_ns", 0);
}

fn run(execute: impl FnOnce(CountPolls<'_>)) {
    let start = Instant::now();
    let interrupts = bare::timer_interrupts();
    let polls = Cell::new(0);
    execute(CountPolls {
        future: pin!(program()),
        polls: &polls,
    });
    report("elapsed_ns", nanos(Instant::now().saturating_since(start)));
    report("timer_interrupts", bare::timer_interrupts() - interrupts);
    report("polls", polls.get());
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
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
/// that holds what lives across the await, and a `poll` that goes on where it left off.
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

    /// The nap, pinned because the whole is.
    fn nap(self: Pin<&mut Self>) -> Pin<&mut Timer> {
        // SAFETY: `nap` is pinned whenever `self` is: nothing here moves it out, there is no `Drop`,
        // and `Self` is `!Unpin` as the timer is.
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

/// Counts how often the program is polled.
struct CountPolls<'a> {
    future: Pin<&'a mut dyn Future<Output = ()>>,
    polls: &'a Cell<u64>,
}

impl Future for CountPolls<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        self.future.as_mut().poll(cx)
    }
}
