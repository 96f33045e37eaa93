//! The timer that the aimed interrupt's handler moves to an earlier deadline.

extern crate alloc;

use alloc::boxed::Box;
use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
    time::Duration,
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::interrupt::InterruptFrame,
    time::{Instant, Timer},
};
use dormir_programs::hit;

/// Later than any other timer of the sweep.
const FAR: Duration = Duration::from_secs(3600);
/// From the handler to the new deadline: ten thousand instructions, long before the backup timer.
const SOON: Duration = Duration::from_micros(10);

struct Moved {
    timer: Pin<Box<Timer>>,
    waker: Waker,
}

static MOVED: Mutex<RefCell<Option<Moved>>> = Mutex::new(RefCell::new(None));

/// Arms a timer with a distant deadline that wakes `waker`, for the handler to move.
pub(crate) fn set(waker: &Waker) {
    let mut timer = Box::pin(Timer::after(FAR));
    assert!(
        timer
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    let moved = Moved {
        timer,
        waker: waker.clone(),
    };
    let before = critical_section::with(|cs| MOVED.replace(cs, Some(moved)));
    drop(before);
}

/// Polls the timer. Once it has expired, returns how many nanoseconds have passed since its
/// deadline.
pub(crate) fn poll() -> Poll<u64> {
    critical_section::with(|cs| {
        let mut moved = MOVED.borrow_ref_mut(cs);
        let Some(moved) = moved.as_mut() else {
            return Poll::Pending;
        };
        let waker = moved.waker.clone();
        let ended = moved.timer.as_mut().poll(&mut Context::from_waker(&waker));
        ended.map(|()| {
            let late = Instant::now().saturating_duration_since(moved.timer.deadline());
            late.as_nanos() as u64
        })
    })
}

/// The handler: it wakes no task.
pub(crate) fn on_hit(frame: &InterruptFrame) {
    hit::ADDRESS.store(frame.rip, Ordering::Relaxed);
    critical_section::with(|cs| {
        if let Some(moved) = MOVED.borrow_ref_mut(cs).as_mut() {
            moved
                .timer
                .as_mut()
                .reset(Instant::now().saturating_add(SOON));
        }
    });
    // Links it into the queue at its new deadline.
    let _ = poll();
}
