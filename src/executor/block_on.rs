//! [`block_on`], which runs one future.

use core::{
    any::type_name,
    future::Future,
    pin::{Pin, pin},
    ptr,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use super::drive::{Work, drive};
#[cfg(feature = "embassy-time")]
use crate::time::embassy::DeadlineSlot;
use crate::{idle::Idle, last_yield::Stretch, time::TimerQueue};

/// The number of calls that can run at once, nested ones and those on other vCPUs (threads)
/// together.
const FLAGS: u32 = u64::BITS;

/// For each call, whether its future should be polled.
///
/// The flags are static, so that no waker dangles. A waker that outlives its future may set the
/// flag of a later call, which costs a poll.
static READY: [AtomicBool; FLAGS as usize] = [const { AtomicBool::new(false) }; FLAGS as usize];

/// The flags that are in use, one bit each.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// A call's flag.
struct Flag(u32);

impl Flag {
    /// Takes the first flag that is not in use, and sets it.
    fn take() -> Self {
        let lowest_too = |taken: u64| Some(taken | taken.checked_add(1)?);
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_too);
        let Ok(taken) = taken else {
            panic!(
                "{FLAGS} calls of `block_on` are running: nest fewer, or spawn tasks on an executor"
            );
        };
        let flag = Self(taken.trailing_ones());
        flag.ready().store(true, Ordering::Relaxed);
        flag
    }

    fn ready(&self) -> &'static AtomicBool {
        &READY[self.0 as usize]
    }

    /// Clears the flag, and returns whether it was set. It is cleared before the poll, so a wake
    /// during the poll causes another one.
    fn is_woken(&self) -> bool {
        self.ready().swap(false, Ordering::Acquire)
    }

    /// Returns a waker that sets the flag. It is lock-free, allocates nothing, and may be used in
    /// any context, NMI included.
    fn waker(&self) -> Waker {
        // SAFETY: the data pointer is the address of a static flag, as the functions expect.
        unsafe { Waker::new(ptr::from_ref(self.ready()).cast(), &WAKER) }
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        #[cfg(feature = "embassy-time")]
        crate::time::embassy::forget(&DEADLINE_SLOTS[self.0 as usize]);
        TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
    }
}

/// The address of each call's future if it is a join handle, or else null.
static AWAITED_HANDLES: [AtomicPtr<()>; FLAGS as usize] =
    [const { AtomicPtr::new(ptr::null_mut()) }; FLAGS as usize];

/// The size of a [`JoinHandle`](super::JoinHandle), in bytes.
pub(super) const JOIN_HANDLE_SIZE: usize = 2 * size_of::<*const ()>();

/// How [`type_name`] begins for a [`JoinHandle`](super::JoinHandle). `block_on` cannot compare
/// types otherwise, since its future need not be `'static`. If the name is another one, a deadlock
/// is not recognised.
const JOIN_HANDLE_NAME: &str = "dormir::executor::join::JoinHandle<";

/// Whether the join handle at `handle` is the whole future of the call that `waker` belongs to, so
/// that the call waits for nothing else.
#[inline(always)]
pub(super) fn waits_for_nothing_but(handle: *const (), waker: &Waker) -> bool {
    let is_whole = |number: usize| {
        let awaited = AWAITED_HANDLES[number].load(Ordering::Relaxed);
        ptr::eq(awaited, handle)
    };
    has_made(waker) && is_whole(number_of(waker))
}

/// Whether `waker` belongs to a call.
#[inline(always)]
fn has_made(waker: &Waker) -> bool {
    ptr::eq(waker.vtable(), &raw const WAKER)
}

/// The number of the call that `waker` belongs to.
#[inline(always)]
fn number_of(waker: &Waker) -> usize {
    waker.data().addr() - READY.as_ptr().addr()
}

/// The earliest deadline that each call's embassy timers asked for.
#[cfg(feature = "embassy-time")]
static DEADLINE_SLOTS: [DeadlineSlot; FLAGS as usize] =
    [const { DeadlineSlot::new() }; FLAGS as usize];

/// Returns the embassy timers' entry of the call that `waker` belongs to, if it belongs to one.
#[cfg(feature = "embassy-time")]
pub(super) fn deadline_slot_of(waker: &Waker) -> Option<&'static DeadlineSlot> {
    has_made(waker).then(|| &DEADLINE_SLOTS[number_of(waker)])
}

// The functions only use a static atomic, so they may be called any number of times, on any thread
// and in any context.
static WAKER: RawWakerVTable =
    RawWakerVTable::new(|flag| RawWaker::new(flag, &WAKER), wake, wake, |_| ());

/// # Safety
///
/// `flag` is the address of a static flag.
unsafe fn wake(flag: *const ()) {
    // SAFETY: the caller guarantees that it is the address of a static flag.
    let flag = unsafe { &*flag.cast::<AtomicBool>() };
    // This stores even if the flag is set: a load could be older than what the waker has just
    // written for the task, and the task would be polled without seeing that. (If two wakers store
    // one after the other, the poll sees what both have written, since x86 keeps stores in order.)
    flag.store(true, Ordering::Release);
}

/// Runs `future` to its end and returns its output. Serves the timers of the [global
/// queue](TimerQueue::global), and calls `idle` whenever the future is not ready.
///
/// The future is pinned on the stack. `block_on` polls nothing else: tasks of an
/// [`Executor`](crate::executor::Executor) need a [`Runner`](crate::executor::Runner). Calls may be
/// nested; until the inner call returns, the outer future is not polled. At most 64 calls can run
/// at once.
///
/// When it returns, interrupts are masked or not as they were before, and the alarm is off, unless
/// it is set for timers of another loop. If it is called with interrupts masked, they are unmasked
/// only while the vCPU halts, so a future that is always ready then delays its own timers. Since
/// halting unmasks interrupts, `block_on` must not be called in a critical section.
///
/// # Contexts
///
/// The main line of a vCPU (on a host: a thread); not interrupt handlers. The global queue has one
/// owner, see [`TimerQueue`]: futures that use its timers must run on one vCPU at a time.
///
/// # Panics
///
/// If the poll of the future panics; if this would wait while there are timers in the global queue
/// and another vCPU serves them; or if 64 calls are running already.
///
/// # Examples
///
/// ```
/// use dormir::{block_on, platform::host};
///
/// // In a guest: `block_on(async { 6 * 7 }, idle::Halt)`.
/// let answer = block_on(async { 6 * 7 }, host::Skip);
/// assert_eq!(answer, 42);
/// ```
pub fn block_on<F: Future>(future: F, mut idle: impl Idle) -> F::Output {
    let future = pin!(future);
    let Ok(output) = drive(TimerQueue::global(), &mut Blocking::new(future), &mut idle);
    output
}

/// A future, as the run loop polls it.
pub(crate) struct Blocking<'a, F> {
    future: Pin<&'a mut F>,
    flag: Flag,
}

impl<'a, F: Future> Blocking<'a, F> {
    pub(crate) fn new(future: Pin<&'a mut F>) -> Self {
        let flag = Flag::take();
        // The size comes first: it spares almost all types the comparison of names.
        let is_handle =
            size_of::<F>() == JOIN_HANDLE_SIZE && type_name::<F>().starts_with(JOIN_HANDLE_NAME);
        let handle = if is_handle {
            ptr::from_ref(&*future).cast_mut().cast::<()>()
        } else {
            ptr::null_mut()
        };
        AWAITED_HANDLES[flag.0 as usize].store(handle, Ordering::Relaxed);
        Self { future, flag }
    }
}

impl<F: Future> Work for Blocking<'_, F> {
    type Output = F::Output;

    fn poll(&mut self) -> Option<F::Output> {
        if !self.flag.is_woken() {
            return None;
        }
        let waker = self.flag.waker();
        let _stretch = Stretch::poll(None);
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn is_idle(&self) -> bool {
        !self.flag.ready().load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{idle::IdleContext, test_support::alone};
    use core::{future::poll_fn, sync::atomic::AtomicU32};
    use std::{sync::mpsc, thread};

    /// Waits by asking again and again, as a policy without an alarm does.
    struct Ask;

    impl Idle for Ask {
        fn wait(&mut self, cx: &IdleContext<'_>) {
            while cx.is_idle() {
                core::hint::spin_loop();
            }
        }
    }

    /// Nests `depth` calls in a call, and returns `depth`.
    fn nest(depth: u32) -> u32 {
        let inner = async { if depth == 0 { 0 } else { 1 + nest(depth - 1) } };
        block_on(inner, Ask)
    }

    #[test]
    fn an_inner_call_has_a_number_of_its_own_even_after_others() {
        alone(|| {
            let number = |cx: &Context<'_>| number_of(cx.waker());
            let numbers = poll_fn(|outer| {
                nest(1);
                let inner = block_on(poll_fn(|inner| Poll::Ready(number(inner))), Ask);
                Poll::Ready((number(outer), inner))
            });
            assert_eq!(block_on(numbers, Ask), (0, 1));
        });
    }

    #[test]
    fn nested_and_concurrent_calls_keep_their_own_wakes() {
        let nested = |depth| {
            let mut left = 100;
            let turns = poll_fn(move |cx| {
                cx.waker().wake_by_ref();
                left -= 1;
                if left == 0 {
                    Poll::Ready(depth)
                } else {
                    Poll::Pending
                }
            });
            block_on(turns, Ask)
        };
        let rounds = if cfg!(miri) { 3 } else { 2_000 };
        let threads: [_; 4] = core::array::from_fn(|_| {
            thread::spawn(move || {
                for _ in 0..rounds {
                    let outer = async { nested(1) + nested(2) };
                    assert_eq!(block_on(outer, Ask), 3);
                }
            })
        });
        for thread in threads {
            thread.join().expect("no wake is lost");
        }
    }

    /// The 64th call succeeds; the 65th panics.
    #[test]
    fn the_sixty_fifth_call_panics() {
        alone(|| {
            assert_eq!(nest(FLAGS - 1), FLAGS - 1);
            let panic =
                std::panic::catch_unwind(|| nest(FLAGS)).expect_err("this is one call too many");
            let text = panic.downcast_ref::<std::string::String>();
            assert!(text.is_some_and(|text| text.starts_with("64 calls of `block_on`")));
            // All are free again.
            assert_eq!(nest(FLAGS - 1), FLAGS - 1);
        });
    }

    /// A poll sees what a waker wrote before its wake, even if the wake comes just when the poll
    /// for an earlier wake begins.
    #[test]
    fn a_wake_from_another_thread_is_not_lost() {
        const ROUNDS: u32 = if cfg!(miri) { 100 } else { 200_000 };
        const DONE: u32 = u32::MAX;
        static WRITTEN: AtomicU32 = AtomicU32::new(0);
        static SEEN: AtomicU32 = AtomicU32::new(0);
        /// How often the policy has asked.
        static ASKED: AtomicU64 = AtomicU64::new(0);

        struct Count;

        impl Idle for Count {
            fn wait(&mut self, cx: &IdleContext<'_>) {
                while cx.is_idle() {
                    ASKED.fetch_add(1, Ordering::AcqRel);
                }
            }
        }

        let (sender, receiver) = mpsc::channel::<Waker>();
        let other = thread::spawn(move || {
            let waker = receiver.recv().expect("the first poll sends it");
            let write_and_wake = |value| {
                WRITTEN.store(value, Ordering::Release);
                waker.wake_by_ref();
            };
            let mut lost = None;
            for round in 1..=ROUNDS {
                write_and_wake(2 * round);
                write_and_wake(2 * round + 1);
                // Not by time: the thread that polls may not run for long. A wake is lost if it
                // goes on to ask, and still has not polled.
                let asked = ASKED.load(Ordering::Acquire);
                let not_seen = || SEEN.load(Ordering::Acquire) <= 2 * round;
                let mut last = (asked, std::time::Instant::now());
                while not_seen() && lost.is_none() {
                    core::hint::spin_loop();
                    let now = ASKED.load(Ordering::Acquire);
                    if now != last.0 {
                        last = (now, std::time::Instant::now());
                    }
                    // A thread that neither polls nor asks hangs.
                    let hangs = last.1.elapsed().as_secs() > 60;
                    if (now > asked + 100_000 || hangs) && not_seen() {
                        lost = Some(round);
                    }
                }
            }
            write_and_wake(DONE);
            lost
        });
        block_on(
            poll_fn(|cx| {
                let _ = sender.send(cx.waker().clone());
                let written = WRITTEN.load(Ordering::Acquire);
                SEEN.store(written, Ordering::Release);
                if written == DONE {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }),
            Count,
        );
        assert_eq!(
            other.join().expect("the other thread ends"),
            None,
            "round of a lost wake"
        );
    }
}
