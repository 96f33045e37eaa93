//! A small guest whose image size is measured: one task of embassy's executor sleeps ten times.
//! Clock, alarm and interrupt entry have the same types as dormir's; the driver does what those of
//! embassy's hardware crates do.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::{
    arch::asm,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use dormir::{
    arch::x86_64::{apic::Apic, interrupt::InterruptFrame, pic, tsc::TscClock, vector},
    platform::bare::{self, TimerSource},
    time::{Alarm, Clock, Instant},
};
use dormir_bench_guest::{
    alarm,
    embassy_driver::{AlarmDriver, Hardware},
};
use embassy_executor::raw::{self, TaskStorage};
use embassy_time::{Duration, Timer};
use spin::Once;
use x86_64::instructions::interrupts;

dormir_guest::entry!(main);

struct TimerParts {
    clock: &'static TscClock,
    alarm: &'static dyn Alarm,
    apic: Option<Apic>,
}

static MACHINE: Once<TimerParts> = Once::new();

fn machine() -> &'static TimerParts {
    MACHINE.get().expect("the guest begins with it")
}

fn start() -> Result<(), &'static str> {
    let found = bare::machine().ok_or("the machine is not set up")?;
    let clock = bare::clock().ok_or("the machine has no clock")?;
    let alarm = alarm::another(found, clock)?;
    let apic = found.apic.filter(|_| found.timer != TimerSource::Pit);
    MACHINE.call_once(|| TimerParts { clock, alarm, apic });
    let vector = match apic {
        Some(_) => vector::APIC_TIMER,
        None => vector::PIT,
    };
    // SAFETY: made by `interrupt_entry!`; it ends the interrupt.
    unsafe { bare::set_interrupt_handler(vector, timer_entry) };
    Ok(())
}

struct EmbassyHardware;

embassy_time_driver::time_driver_impl!(
    static DRIVER: AlarmDriver<EmbassyHardware> = AlarmDriver::new(EmbassyHardware)
);

impl Hardware for EmbassyHardware {
    fn now(&self) -> u64 {
        machine().clock.now().as_nanos()
    }

    fn set_alarm(&self, at: u64) -> bool {
        if at == u64::MAX {
            return true;
        }
        machine().alarm.set(Instant::from_nanos(at));
        self.now() < at
    }
}

extern "sysv64" fn on_timer(_frame: &InterruptFrame) {
    match machine().apic {
        Some(apic) => apic.end_of_interrupt(),
        None => pic::end_of_interrupt(0),
    }
    DRIVER.on_alarm();
}
dormir::interrupt_entry!(timer_entry => on_timer);

/// Whether a task has become ready since the loop last checked.
static PENDED: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pender(_context: *mut ()) {
    PENDED.store(true, Ordering::Release);
}

static IS_DONE: AtomicBool = AtomicBool::new(false);

async fn sleeper() {
    for _ in 0..10 {
        Timer::after(Duration::from_millis(1)).await;
    }
    IS_DONE.store(true, Ordering::Relaxed);
}

fn main() -> Result<(), &'static str> {
    start()?;
    let executor: &'static raw::Executor = Box::leak(Box::new(raw::Executor::new(ptr::null_mut())));
    let storage: &'static TaskStorage<_> = Box::leak(Box::new(TaskStorage::new()));
    let task = storage
        .spawn(sleeper)
        .map_err(|_| "there is no room for the task")?;
    executor.spawner().spawn(task);
    while !IS_DONE.load(Ordering::Relaxed) {
        // SAFETY: neither the task nor `pender` has access to the executor, so calls do not nest.
        unsafe { executor.poll() };
        interrupts::disable();
        if PENDED.swap(false, Ordering::Acquire) || IS_DONE.load(Ordering::Relaxed) {
            interrupts::enable();
        } else {
            // SAFETY: every interrupt has an entry that saves what it changes. Not `nomem`: what
            // the handler wrote is read after the halt.
            unsafe { asm!("sti", "hlt", options(nostack)) };
        }
    }
    Ok(())
}
