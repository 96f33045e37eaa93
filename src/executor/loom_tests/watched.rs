//! Tasks whose memory loom watches, and counts of what happens to them.

use core::{
    any::type_name,
    future::Future,
    mem::MaybeUninit,
    pin::Pin,
    ptr::NonNull,
    sync::atomic::{AtomicUsize as Count, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};
use std::{boxed::Box, sync::Mutex, thread, vec::Vec};

use super::{
    super::{header::Header, task::TaskCell},
    Plain, keep, keep_boxed,
};
use crate::executor::{Task, TaskVTable, header::Memory};

/// Counts what happens to a task. loom does not see the counts, so they are no part of the model.
#[derive(Default)]
pub(super) struct Fate {
    polls: Count,
    outputs: Count,
    futures_dropped: Count,
    outputs_dropped: Count,
    waker: Mutex<Option<Waker>>,
}

impl Fate {
    pub(super) fn unknown() -> &'static Self {
        keep(Self::default())
    }

    /// Returns a task that ends in the first poll in which `ends` returns true.
    pub(super) fn task<E: Ends>(&'static self, ends: E) -> Task<Watched<E>> {
        let future = Watched {
            memory: Plain::new(),
            fate: self,
            ends,
        };
        let vtable =
            const { &TaskVTable::new::<Watched<E>>(Memory::Heap(free::<E>), type_name::<E>) };
        // SAFETY: the vtable was made for this type.
        unsafe { Task::new(vtable, future) }
    }

    pub(super) fn polls(&self) -> usize {
        self.polls.load(Relaxed)
    }

    /// The waker of its first poll.
    pub(super) fn waker(&self) -> Waker {
        let waker = self.waker.lock().expect("no thread panics here");
        waker.clone().expect("it was polled")
    }

    /// Whether the future was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.futures_dropped.load(Relaxed) > 0
    }

    /// Asserts that future and output were dropped, each once.
    pub(super) fn assert_is_over(&self) {
        assert_eq!(self.futures_dropped.load(Relaxed), 1, "futures dropped");
        let outputs = self.outputs.load(Relaxed);
        assert_eq!(
            self.outputs_dropped.load(Relaxed),
            outputs,
            "outputs dropped"
        );
    }
}

/// Decides in each poll whether the task ends.
pub(super) trait Ends: FnMut() -> bool + Send + Unpin + 'static {}

impl<E: FnMut() -> bool + Send + Unpin + 'static> Ends for E {}

pub(super) struct Watched<E> {
    memory: Plain,
    fate: &'static Fate,
    ends: E,
}

impl<E: Ends> Future for Watched<E> {
    type Output = Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Output> {
        self.memory.touch();
        if self.fate.polls.fetch_add(1, Relaxed) == 0 {
            let mut waker = self.fate.waker.lock().expect("no thread panics here");
            *waker = Some(cx.waker().clone());
        }
        if !(self.ends)() {
            return Poll::Pending;
        }
        self.fate.outputs.fetch_add(1, Relaxed);
        Poll::Ready(Output {
            memory: Plain::new(),
            fate: self.fate,
        })
    }
}

impl<E> Drop for Watched<E> {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.memory.touch();
        }
        self.fate.futures_dropped.fetch_add(1, Relaxed);
    }
}

pub(super) struct Output {
    memory: Plain,
    fate: &'static Fate,
}

impl Drop for Output {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.memory.touch();
        }
        self.fate.outputs_dropped.fetch_add(1, Relaxed);
    }
}

loom::lazy_static! {
    /// The addresses of tasks whose memory was given back.
    static ref RELEASED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
}

/// Returns the number of tasks whose memory was given back.
pub(super) fn released() -> usize {
    RELEASED.lock().expect("no thread panics here").len()
}

/// # Safety
///
/// `header` is from the allocation of a task with that future. Nothing uses the memory any more,
/// and its contents were dropped.
unsafe fn free<E: Ends>(mut header: NonNull<Header>) {
    let mut released = RELEASED.lock().expect("no thread panics here");
    let address = header.addr().get();
    assert!(!released.contains(&address), "memory is given back once");
    released.push(address);
    drop(released);
    // SAFETY: nothing uses the header any more, which is what loom checks here.
    unsafe { header.as_mut() }.assert_unused();
    let cell = header.cast::<MaybeUninit<TaskCell<Watched<E>>>>();
    // SAFETY: the memory was allocated as a box of this type.
    let cell = unsafe { Box::from_raw(cell.as_ptr()) };
    // The memory is kept, so that its address is not used again, and a late use fails in the model
    // and does not crash the process.
    keep_boxed(cell);
}
