//! Guest functions that fail, misuse the library or leave something behind.

use core::{arch::asm, future::pending};

use alloc::vec::Vec;
use dormir::{
    executor::Task,
    hyperlight,
    time::{Instant, Timer},
};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::{guest_function, host_comm::call_host};

/// Never returns and never waits.
#[guest_function]
fn spin() -> i32 {
    loop {
        core::hint::spin_loop();
    }
}

/// Panics in a future.
#[guest_function]
fn panics() -> Result<i32, HyperlightGuestError> {
    Ok(hyperlight::block_on(async { panic!("on purpose") })?)
}

/// Waits for a wake that never comes.
#[guest_function]
fn waits_for_nothing() -> Result<i32, HyperlightGuestError> {
    Ok(hyperlight::block_on(pending())?)
}

/// Spawns a task that nothing wakes.
#[guest_function]
fn spawn_pending() -> bool {
    hyperlight::spawn(Task::boxed(pending::<()>())).is_ok()
}

/// Sleeps until the given, very distant instant.
#[guest_function]
fn sleeps_for_ever(nanos: u64) -> Result<i32, HyperlightGuestError> {
    hyperlight::block_on(async { Timer::at(Instant::from_nanos(nanos)).await })?;
    Ok(0)
}

/// Sends the host any bytes in place of a batch. Returns the answer's bytes.
#[guest_function]
fn exchanges(batch: Vec<u8>) -> Result<Vec<u8>, HyperlightGuestError> {
    call_host("dormir_wait", (batch,))
}

/// Calls a host function that does not belong to dormir.
#[guest_function]
fn calls_the_host() -> Result<u64, HyperlightGuestError> {
    call_host("of_the_user", ())
}

/// Runs tasks in a task.
#[guest_function]
fn nested() -> Result<i32, HyperlightGuestError> {
    Ok(hyperlight::block_on(async {
        hyperlight::block_on(async { 1 })
    })??)
}

/// Polls tasks in a task.
#[guest_function]
fn nested_poll() -> Result<i32, HyperlightGuestError> {
    let turn = hyperlight::block_on(async { hyperlight::poll_once() })??;
    Ok(turn.tasks_left as i32)
}

/// Returns whether interrupts are unmasked before (bit 0) and after (bit 1) a sleep.
#[guest_function]
fn interrupt_flags(micros: u64) -> Result<u64, HyperlightGuestError> {
    let before = interrupt_flag();
    hyperlight::block_on(async { Timer::after(core::time::Duration::from_micros(micros)).await })?;
    Ok(before | interrupt_flag() << 1)
}

/// Returns how often the timer ticks after a sleep, within the same call, with interrupts unmasked.
#[guest_function]
fn ticks_after_a_sleep(micros: u64) -> Result<u64, HyperlightGuestError> {
    hyperlight::block_on(async { Timer::after(core::time::Duration::from_micros(micros)).await })?;
    let before = hyperlight::ticks();
    // SAFETY: only the timer interrupts, and its handler saves what it changes.
    unsafe { asm!("sti", options(nostack)) };
    spin_for(micros);
    // SAFETY: masks interrupts again, as they were before.
    unsafe { asm!("cli", options(nostack)) };
    Ok(hyperlight::ticks() - before)
}

fn interrupt_flag() -> u64 {
    let flags: u64;
    // SAFETY: pushes a word and pops it.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) };
    flags >> 9 & 1
}

/// Leaves the timer running, with a pending tick that comes once interrupts are unmasked.
#[guest_function]
fn leave_a_tick(micros: u64) {
    out(107, 100);
    spin_for(micros);
}

/// Spins for at least `micros` microseconds, for a TSC of up to 10 GHz.
fn spin_for(micros: u64) {
    let start = ticks_of_tsc();
    while ticks_of_tsc() - start < micros * 10_000 {
        core::hint::spin_loop();
    }
}

/// Distinguishes the modes: in a sandbox without interrupts, it poisons the sandbox.
#[guest_function]
fn touch_the_controller() -> i32 {
    // The mask register: all lines masked, as they are. SAFETY: nothing waits for an interrupt
    // here.
    unsafe { asm!("out 0x21, al", in("al") 0xff_u8, options(nostack, preserves_flags)) }
    1
}

fn out(port: u16, value: u32) {
    // SAFETY: the ports are those of the timer and of the interrupt controller, which affect
    // interrupts only, and those are masked here.
    unsafe {
        asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags))
    }
}

fn ticks_of_tsc() -> u64 {
    // SAFETY: every x86-64 processor has RDTSC.
    unsafe { core::arch::x86_64::_rdtsc() }
}
