//! [`Executor`], whose wakes call the program's `__pender`.

use crate::Spawner;
use dormir::executor::{self, Runner, Shared, Up64};
use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

unsafe extern "Rust" {
    /// The program's function, which is called with an executor's context when that has work.
    fn __pender(context: *mut ());
}

/// An executor of dormir's, with what it passes to `__pender`.
pub struct Executor {
    inner: executor::Executor<Up64>,
    context: *mut (),
    spawner: OnceCell<executor::Spawner>,
    runner: RefCell<Option<Runner<Up64>>>,
}

thread_local! {
    /// The executor that this thread polls.
    static CURRENT: Cell<Option<&'static Executor>> = const { Cell::new(None) };
}

impl Executor {
    /// Makes an executor with this context.
    #[must_use]
    pub fn new(context: *mut ()) -> Self {
        Self {
            inner: executor::Executor::new(Shared),
            context,
            spawner: OnceCell::new(),
            runner: RefCell::new(None),
        }
    }

    /// Returns a spawner.
    pub fn spawner(&'static self) -> Spawner {
        Spawner(self)
    }

    /// Polls each task that is ready, once.
    ///
    /// # Safety
    ///
    /// As the peer has it. Here a nested call panics.
    pub unsafe fn poll(&'static self) {
        self.open();
        let outer = CURRENT.replace(Some(self));
        let mut runner = self.runner.borrow_mut();
        runner.as_mut().expect("it is open").pass();
        CURRENT.set(outer);
    }

    /// Returns the executor that this thread polls.
    pub(crate) fn current() -> Option<&'static Self> {
        CURRENT.get()
    }

    /// Enters the executor when it is first used, and returns its spawner.
    pub(crate) fn open(&'static self) -> executor::Spawner {
        *self.spawner.get_or_init(|| {
            self.inner.on_wake(hook(self.context));
            let runner = self.inner.enter().expect("it is entered only here");
            let spawner = runner.spawner();
            *self.runner.borrow_mut() = Some(runner);
            spawner
        })
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// How many executors a program can have.
const EXECUTORS: usize = 32;

/// A hook of dormir's is a plain function, so each executor has one of its own, with its context.
static CONTEXTS: [AtomicPtr<()>; EXECUTORS] = [const { AtomicPtr::new(null_mut()) }; EXECUTORS];

/// Returns a hook that calls `__pender` with this context.
fn hook(context: *mut ()) -> fn() {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    assert!(
        number < EXECUTORS,
        "a program has at most {EXECUTORS} executors"
    );
    CONTEXTS[number].store(context, Ordering::Release);
    HOOKS[number]
}

fn pend<const NUMBER: usize>() {
    // SAFETY: the program defines it for the contexts with which it makes executors.
    unsafe { __pender(CONTEXTS[NUMBER].load(Ordering::Acquire)) };
}

macro_rules! hooks {
    ($($number:literal)*) => { [$(pend::<$number>),*] };
}

static HOOKS: [fn(); EXECUTORS] = hooks!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
);
