//! embassy-executor with embassy-time and embassy-sync, on the same clock and alarm. It idles like
//! embassy's platform executors on processors that wait for interrupts: poll, check with interrupts
//! masked whether a task became ready meanwhile, and if not, `sti; hlt`.

use alloc::boxed::Box;
use core::{
    arch::asm,
    cell::Cell,
    future::Future,
    pin::pin,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use dormir::{
    arch::x86_64::interrupt::{InterruptEntry, InterruptFrame},
    platform::bare,
    time::Instant,
};
use dormir_bench_guest::embassy_driver::{AlarmDriver, Hardware};
use embassy_executor::raw::{self, TaskStorage};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use embassy_time::Timer;
use x86_64::instructions::interrupts;

use crate::{
    load::{Busy, Load, far_deadline},
    machine::{EndOfInterrupt, machine, now},
    ping_pong::{self, PING_PONG_TASKS},
    rounds::{Expected, Round},
    stamps, turn,
};

/// Whether a task has become ready since the loop last checked.
static PENDED: AtomicBool = AtomicBool::new(false);

/// embassy calls this when a task has become ready, with the executor's context.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    if context == STAMPS_WAKES {
        stamps::wake();
    }
    PENDED.store(true, Ordering::Release);
}

/// The context of an executor whose wakes are stamped; other contexts are null.
const STAMPS_WAKES: *mut () = ptr::without_provenance_mut(1);

/// The clock and the alarm that the floor uses too.
struct SharedHardware;

impl Hardware for SharedHardware {
    #[inline]
    fn now(&self) -> u64 {
        now().as_nanos()
    }

    #[inline]
    fn set_alarm(&self, at: u64) -> bool {
        if at == u64::MAX {
            // No timer is pending, so there is no alarm to set and no clock to read.
            return true;
        }
        machine().alarm.set(Instant::from_nanos(at));
        self.now() < at
    }
}

embassy_time_driver::time_driver_impl!(
    static DRIVER: AlarmDriver<SharedHardware> = AlarmDriver::new(SharedHardware)
);

/// Defines an entry of the timer's interrupt that ends it in one way: a hardware crate knows its
/// machine at compile time.
macro_rules! timer_entry {
    ($entry:ident, $handler:ident, $ending:expr) => {
        extern "sysv64" fn $handler(_frame: &InterruptFrame) {
            $ending.end_timer_interrupt();
            DRIVER.on_alarm();
        }
        dormir::interrupt_entry!($entry => $handler);
    };
}
timer_entry!(pic_entry, on_pic_timer, EndOfInterrupt::Pic);
timer_entry!(xapic_entry, on_xapic_timer, EndOfInterrupt::Xapic);
timer_entry!(x2apic_entry, on_x2apic_timer, EndOfInterrupt::X2apic);

/// What the host's interrupt signals.
static INTERRUPTED: Signal<CriticalSectionRawMutex, ()> = Signal::new();

extern "sysv64" fn on_host(_frame: &InterruptFrame) {
    bare::end_of_interrupt();
    INTERRUPTED.signal(());
}
dormir::interrupt_entry!(host_entry => on_host);

async fn sleeper(rounds: usize, expected: Expected) {
    for _ in 0..rounds {
        let round = Round::by_deadline(expected);
        let mut timer = pin!(timer_at(round.deadline()));
        let poll = stamps::last_poll(timer.as_mut()).await;
        round.end(poll);
    }
    turn::end_one();
}

async fn waiter(rounds: usize, expected: Expected) {
    for _ in 0..rounds {
        let round = Round::by_host(expected);
        let mut interrupt = pin!(INTERRUPTED.wait());
        let poll = stamps::last_poll(interrupt.as_mut()).await;
        round.end(poll);
    }
    turn::end_one();
}

fn timer_at(deadline: Instant) -> Timer {
    Timer::at(embassy_time::Instant::from_nanos(deadline.as_nanos()))
}

/// Waits for an interrupt.
#[inline(always)]
fn halt() {
    stamps::fall_asleep();
    // SAFETY: every interrupt's entry saves what it changes. There is no `nomem`, so the handler's
    // writes are read after the halt.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// An executor and its load.
pub(crate) struct EmbassyExecutor {
    raw: &'static raw::Executor,
    load: Load,
    /// Whether the load's tasks have been spawned: they stay across turns.
    is_loaded: Cell<bool>,
}

impl EmbassyExecutor {
    pub(crate) fn new(load: Load) -> Self {
        Self {
            raw: Box::leak(Box::new(raw::Executor::new(ptr::null_mut()))),
            load,
            is_loaded: Cell::new(false),
        }
    }

    /// Makes an executor whose wakes are stamped. It spawns no load of its own: sleepers of any
    /// executor share the queue, and with busy tasks no wakes are stamped.
    pub(crate) fn beside(&self) -> Self {
        Self {
            raw: Box::leak(Box::new(raw::Executor::new(STAMPS_WAKES))),
            load: self.load,
            is_loaded: Cell::new(true),
        }
    }

    /// Runs a task that sleeps until `rounds` deadlines, one after another.
    pub(crate) fn sleep(&self, rounds: usize) {
        self.take_turn(1, || self.spawn(sleeper(rounds, self.expected())));
    }

    /// Runs a task that waits for `rounds` interrupts from the host, one after another.
    pub(crate) fn sleep_until_host(&self, rounds: usize) {
        self.take_turn(1, || self.spawn(waiter(rounds, self.expected())));
    }

    /// Runs two tasks that wake each other `rounds` times.
    pub(crate) fn ping_pong(&self, rounds: usize) {
        self.take_turn(PING_PONG_TASKS, || {
            for task in ping_pong::two(rounds) {
                self.spawn(task);
            }
        });
    }

    fn expected(&self) -> Expected {
        Expected {
            sleep: !self.load.keeps_awake(),
            ..Expected::HALT
        }
    }

    /// Spawns a task and leaks its memory: a block spawns only one or two.
    fn spawn<F: Future<Output = ()> + 'static>(&self, task: F) {
        let storage: &'static TaskStorage<F> = Box::leak(Box::new(TaskStorage::new()));
        let Ok(token) = storage.spawn(|| task) else {
            panic!("the storage is new");
        };
        self.raw.spawner().spawn(token);
    }

    fn spawn_load(&self) {
        match self.load {
            Load::None => {}
            Load::Sleepers(tasks) => {
                for _ in 0..tasks {
                    self.spawn(async { timer_at(far_deadline()).await });
                }
            }
            Load::Busy(tasks) => {
                for _ in 0..tasks {
                    self.spawn(Busy::permanent());
                }
            }
        }
    }

    /// Runs the `tasks` tasks that `spawn` spawns, beside the load, until they have completed.
    fn take_turn(&self, tasks: usize, spawn: impl FnOnce()) {
        let timer: InterruptEntry = match machine().timer_ending() {
            EndOfInterrupt::Pic => pic_entry,
            EndOfInterrupt::Xapic => xapic_entry,
            EndOfInterrupt::X2apic => x2apic_entry,
        };
        // SAFETY: both are made by `interrupt_entry!`, and each ends its interrupt.
        unsafe { stamps::go_on_to(timer as usize as u64, host_entry) };
        turn::begin(tasks, || {});
        if !self.is_loaded.replace(true) {
            self.spawn_load();
        }
        spawn();
        self.run();
        machine().alarm.off();
    }

    fn run(&self) {
        loop {
            // SAFETY: neither a task nor `pender` has access to the executor, so calls do not nest.
            unsafe { self.raw.poll() };
            if turn::is_over() {
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
