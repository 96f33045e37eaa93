//! embassy-executor with embassy-time and embassy-sync, on the same clock and alarm, idle as embassy's own
//! executors are where an instruction waits for an interrupt: poll, look with interrupts masked whether anything
//! became ready meanwhile, and if not, `sti; hlt`.

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
    machine::{Ending, machine, now},
    players::{self, PLAYERS},
    rounds::{Expected, Round},
    stamps, turn,
};

/// Whether something has become ready since the loop last looked.
static PENDED: AtomicBool = AtomicBool::new(false);

/// What embassy calls when something has become ready, with what the executor was made with.
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    if context == STAMPS_WAKES {
        stamps::wake();
    }
    PENDED.store(true, Ordering::Release);
}

/// The context of an executor whose wakes are stamped; that of another is null.
const STAMPS_WAKES: *mut () = ptr::without_provenance_mut(1);

/// The clock and the alarm that the floor has too.
struct Shared;

impl Hardware for Shared {
    #[inline]
    fn now(&self) -> u64 {
        now().as_nanos()
    }

    #[inline]
    fn set_alarm(&self, at: u64) -> bool {
        if at == u64::MAX {
            // Nobody waits, so nothing needs to be set, and no clock to be read.
            return true;
        }
        machine().alarm.set(Instant::from_nanos(at));
        self.now() < at
    }
}

embassy_time_driver::time_driver_impl!(
    static DRIVER: AlarmDriver<Shared> = AlarmDriver::new(Shared)
);

/// Defines an entry of the timer's interrupt, which ends it in one way: a hardware crate knows its machine when it
/// is compiled.
macro_rules! timer_entry {
    ($entry:ident, $handler:ident, $ending:expr) => {
        extern "sysv64" fn $handler(_frame: &InterruptFrame) {
            $ending.end_timer_interrupt();
            DRIVER.on_alarm();
        }
        dormir::interrupt_entry!($entry => $handler);
    };
}
timer_entry!(pic_entry, on_pic_timer, Ending::Pic);
timer_entry!(xapic_entry, on_xapic_timer, Ending::Xapic);
timer_entry!(x2apic_entry, on_x2apic_timer, Ending::X2apic);

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
    // SAFETY: every interrupt has an entry that saves what it changes. Not `nomem`: what the handler
    // wrote is read after the halt.
    unsafe { asm!("sti", "hlt", options(nostack)) };
}

/// An executor.
pub(crate) struct Executor {
    raw: &'static raw::Executor,
    load: Load,
    /// Whether the load's tasks have been spawned: they stay from turn to turn.
    is_loaded: Cell<bool>,
}

impl Executor {
    pub(crate) fn new(load: Load) -> Self {
        Self {
            raw: Box::leak(Box::new(raw::Executor::new(ptr::null_mut()))),
            load,
            is_loaded: Cell::new(false),
        }
    }

    /// One whose wakes are stamped. The load is this one's: sleepers of any executor are in the same queue, and
    /// where others are busy no wakes are stamped.
    pub(crate) fn beside(&self) -> Self {
        Self {
            raw: Box::leak(Box::new(raw::Executor::new(STAMPS_WAKES))),
            load: self.load,
            is_loaded: Cell::new(true),
        }
    }

    /// A task sleeps until so many deadlines, one after another.
    pub(crate) fn sleep(&self, rounds: usize) {
        self.take_turn(1, || self.spawn(sleeper(rounds, self.expected())));
    }

    /// A task sleeps until so many interrupts from the host, one after another.
    pub(crate) fn sleep_until_host(&self, rounds: usize) {
        self.take_turn(1, || self.spawn(waiter(rounds, self.expected())));
    }

    /// Two tasks wake each other so many times.
    pub(crate) fn play(&self, rounds: usize) {
        self.take_turn(PLAYERS, || {
            for player in players::two(rounds) {
                self.spawn(player);
            }
        });
    }

    fn expected(&self) -> Expected {
        Expected {
            sleep: !self.load.keeps_awake(),
            ..Expected::HALT
        }
    }

    /// Spawns a task, whose memory is given up: a block has but one or two.
    fn spawn<F: Future<Output = ()> + 'static>(&self, task: F) {
        let storage: &'static TaskStorage<F> = Box::leak(Box::new(TaskStorage::new()));
        let Ok(token) = storage.spawn(|| task) else {
            panic!("nobody has used it");
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
                    self.spawn(Busy::for_good());
                }
            }
        }
    }

    /// Runs so many tasks, which `spawn` spawns, beside the load, until they have ended.
    fn take_turn(&self, tasks: usize, spawn: impl FnOnce()) {
        let timer: InterruptEntry = match machine().timer_ending() {
            Ending::Pic => pic_entry,
            Ending::Xapic => xapic_entry,
            Ending::X2apic => x2apic_entry,
        };
        // SAFETY: they are made by `interrupt_entry!`, and each ends its interrupt.
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
            // SAFETY: neither a task nor `pender` gets hold of the executor, so no call is within another.
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
