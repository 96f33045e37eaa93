//! embassy-executor with embassy-time, on the same clock and alarm, idle as embassy's own executors are
//! where an instruction waits for an interrupt: poll, look with interrupts masked whether anything became
//! ready meanwhile, and if not, `sti; hlt`.

use alloc::boxed::Box;
use core::{
    arch::{asm, naked_asm},
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    task::Waker,
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::{interrupt::InterruptFrame, tsc},
    time::Instant,
};
use embassy_executor::raw::{self, TaskStorage};
use embassy_time::Timer;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;
use x86_64::instructions::interrupts;

use crate::{machine::machine, players, samples::Round, stamps};

/// Whether something has become ready since the loop last looked.
static PENDED: AtomicBool = AtomicBool::new(false);

/// What embassy calls when something has become ready.
#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    stamps::wake();
    PENDED.store(true, Ordering::Release);
}

/// The time driver, which does what those of embassy's hardware crates do.
struct AlarmDriver {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(static DRIVER: AlarmDriver = AlarmDriver {
    queue: Mutex::new(RefCell::new(Queue::new())),
});

impl Driver for AlarmDriver {
    #[inline]
    fn now(&self) -> u64 {
        machine().now().as_nanos()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                set_alarm(&mut queue);
            }
        });
    }
}

/// Wakes what is due, and sets the alarm. What has passed meanwhile is due too.
fn set_alarm(queue: &mut Queue) {
    loop {
        let next = queue.next_expiration(machine().now().as_nanos());
        if next == u64::MAX {
            break;
        }
        machine().alarm.set(Instant::from_nanos(next));
        if machine().now().as_nanos() < next {
            break;
        }
    }
}

extern "sysv64" fn on_timer(_frame: &InterruptFrame) {
    machine().end_of_interrupt();
    critical_section::with(|cs| set_alarm(&mut DRIVER.queue.borrow_ref_mut(cs)));
}
dormir::interrupt_entry!(timer_entry => on_timer);

/// Stamps before anything else, and enters the other one.
///
/// # Safety
///
/// To be entered by an interrupt only.
#[unsafe(naked)]
unsafe extern "C" fn stamped() {
    naked_asm!(
        "push rax",
        "push rdx",
        "rdtsc",
        "mov dword ptr [rip + {stamp}], eax",
        "mov dword ptr [rip + {stamp} + 4], edx",
        "pop rdx",
        "pop rax",
        "jmp {entry}",
        stamp = sym stamps::HANDLER,
        entry = sym timer_entry,
    )
}

/// How many tasks have yet to end.
static TASKS: Mutex<RefCell<usize>> = Mutex::new(RefCell::new(0));

/// A task, which counts itself out at its end: embassy's loop does not ask whether there is a task left.
struct Counted<F>(F);

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut core::task::Context<'_>) -> core::task::Poll<()> {
        // SAFETY: the field is never moved out, and stays pinned with the whole.
        let future = unsafe { self.map_unchecked_mut(|counted| &mut counted.0) };
        future.poll(cx).map(|()| {
            critical_section::with(|cs| *TASKS.borrow_ref_mut(cs) -= 1);
        })
    }
}

async fn sleeper(rounds: usize) {
    for _ in 0..rounds {
        let round = Round::begin();
        let mut timer = pin!(Timer::at(embassy_time::Instant::from_nanos(
            round.deadline.as_nanos()
        )));
        let poll = poll_fn(|cx| {
            let now = tsc::read();
            timer.as_mut().poll(cx).map(|()| now)
        })
        .await;
        round.end(poll);
    }
}

/// Waits for an interrupt.
#[inline(always)]
fn halt() {
    // SAFETY: every interrupt has an entry that saves what it changes. Not `nomem`: what the handler
    // wrote is read after the halt.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// An executor.
pub(crate) struct Executor(&'static raw::Executor);

impl Executor {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::new(raw::Executor::new(ptr::null_mut()))))
    }

    /// A task sleeps until so many deadlines, one after another.
    pub(crate) fn sleep(&self, rounds: usize) {
        // SAFETY: it saves what it changes, and enters one that is made by `interrupt_entry!` and ends
        // the interrupt.
        unsafe { machine().on_interrupt(stamped) };
        self.spawn(sleeper(rounds));
        self.run();
    }

    /// Two tasks wake each other so many times.
    pub(crate) fn play(&self, rounds: usize) {
        for player in players::two(rounds) {
            self.spawn(player);
        }
        self.run();
    }

    /// Spawns a task, whose memory is given up: a block has but one or two.
    fn spawn<F: Future<Output = ()> + 'static>(&self, task: F) {
        let storage: &'static TaskStorage<_> = Box::leak(Box::new(TaskStorage::new()));
        let Ok(token) = storage.spawn(|| Counted(task)) else {
            panic!("nobody has used it");
        };
        critical_section::with(|cs| *TASKS.borrow_ref_mut(cs) += 1);
        self.0.spawner().spawn(token);
    }

    fn run(&self) {
        loop {
            // SAFETY: neither a task nor `pender` gets hold of the executor, so no call is within another.
            unsafe { self.0.poll() };
            if critical_section::with(|cs| *TASKS.borrow_ref(cs)) == 0 {
                return;
            }
            interrupts::disable();
            if PENDED.swap(false, Ordering::Acquire) {
                interrupts::enable();
            } else {
                halt();
            }
        }
    }
}
