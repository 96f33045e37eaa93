//! The four roles: a future that waits for another party, the task that awaits it, the waker by
//! which that party gets the task polled again, and the executor that polls.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use dormir::{executor::Task, hyperlight, time::Timer};
use hyperlight_guest::error::Result;

use super::println;

/// What the future shares with the task that completes it.
#[derive(Default)]
struct TimerState {
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

pub(super) fn run() -> Result<()> {
    hyperlight::block_on(async {
        println!("hello");
        let shared = Rc::new(TimerState::default());
        let other = Rc::clone(&shared);
        // With threads, a second thread would sleep here. This is a second task.
        let ender = Task::boxed(async move {
            Timer::after(Duration::from_secs(2)).await;
            other.is_over.set(true);
            if let Some(waker) = other.waker.take() {
                waker.wake();
            }
        });
        drop(hyperlight::spawn(ender).expect("there is room"));
        println!("hello from the stage");
        poll_fn(|context| {
            if shared.is_over.get() {
                return Poll::Ready(());
            }
            *shared.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        println!("hello again");
    })?;
    Ok(())
}
