//! Which slots an executor's next tasks get.

use core::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};

use dormir::executor::{Capacity, Cpus, Executor, JoinHandle, Task};

use super::alloc::{sync::Arc, vec::Vec};

/// As many as the tasks of a program.
const SLOTS: usize = 32;

/// The number of tasks that `Up4096` holds.
const ALL: usize = 4096;

/// Makes the next [`SLOTS`] tasks of an executor get the same slots in the same order, whatever it
/// has run before. So a program is run in the same way alone and after others.
pub(crate) fn arrange<C: Capacity, M: Cpus>(executor: &'static Executor<C, M>) {
    release(occupy(executor, SLOTS));
}

/// Makes these slots, in an executor of 4096, lie in eleven words, three in each: a pass over more
/// than eight serves the timers meanwhile. To be called before [`arrange`], once.
pub(crate) fn spread<C: Capacity, M: Cpus>(executor: &'static Executor<C, M>) {
    let tasks = occupy(executor, ALL);
    let is_chosen = |number: &usize| number % 64 % 30 == 1 && (number / 64).is_multiple_of(6);
    let (chosen, others): (Vec<_>, Vec<_>) = tasks
        .into_iter()
        .enumerate()
        .partition(|(number, _)| is_chosen(number));
    drop(others);
    drop(chosen);
}

/// Tasks that have ended, and whose handles keep their slots: by their wakers' data pointers.
fn occupy<C: Capacity, M: Cpus>(
    executor: &'static Executor<C, M>,
    number: usize,
) -> Vec<(usize, JoinHandle<()>)> {
    let mut runner = executor.enter().expect("there is no runner");
    let mut tasks = Vec::new();
    for _ in 0..number {
        let slot = Arc::new(AtomicUsize::new(0));
        let shared = slot.clone();
        let task = poll_fn(move |cx| {
            shared.store(cx.waker().data().addr(), Ordering::Relaxed);
            Poll::Ready(())
        });
        let handle = runner.spawner().spawn(Task::boxed(task));
        tasks.push((slot, handle.expect("the executor has room")));
    }
    runner.pass();
    let slots = tasks.into_iter();
    let mut slots: Vec<_> = slots
        .map(|(slot, handle)| (slot.load(Ordering::Relaxed), handle))
        .collect();
    slots.sort_by_key(|(slot, _)| *slot);
    slots
}

/// The slot that is released last is taken first. Neighbours are not taken one after the other.
fn release(slots: Vec<(usize, JoinHandle<()>)>) {
    let mut slots: Vec<_> = slots.into_iter().map(Some).collect();
    for number in 0..slots.len() {
        let number = number * 7 % slots.len();
        drop(slots[number].take());
    }
}
