//! Cases in which a task fails or hangs, so that the harness has to find out where. A test looks
//! for the lines that are marked with the case's name.

use core::future::pending;

use dormir::{
    block_on,
    executor::{Executor, SingleVcpu, Up64, yield_now},
    idle::Halt,
    tasks,
    time::Timer,
};
use dormir_guest::println;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("end-report-panic", || run(0)),
    ("end-report-page-fault", || run(1)),
    ("end-report-stack-overflow", || run(2)),
    ("end-report-deadlock", || run(3)),
    ("end-report-endless-loop", || run(4)),
    ("end-report-critical-section", || run(5)),
];

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    async fn waits(), pool = 1 {
        Timer::after(core::time::Duration::from_millis(10)).await;
    }

    async fn fails(how: usize), pool = 1 {
        yield_now().await;
        FAILURES[how]();
    }
}

fn run(how: usize) {
    println!("now failing");
    let mut runner = EXECUTOR.enter().expect("there is no other runner");
    let spawner = runner.spawner();
    spawner.spawn_detached(waits()).expect("there is room");
    spawner.spawn_detached(fails(how)).expect("there is room");
    runner.run(Halt);
}

const FAILURES: [fn(); 6] = [
    panics,
    faults,
    || {
        overflows(0);
    },
    waits_forever,
    loops,
    holds_a_critical_section,
];

#[inline(never)]
fn panics() {
    panic!("no luck"); // end-report-panic
}

#[inline(never)]
fn faults() {
    let nothing: *mut u8 = core::hint::black_box(0xf000_0000 as *mut u8);
    // SAFETY: none: the case tests how the machine reacts.
    unsafe { nothing.write_volatile(1) } // end-report-page-fault
}

#[expect(unconditional_recursion, reason = "the case is about its end")]
fn overflows(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 72]);
    overflows(depth + 1) + frame[0] // end-report-stack-overflow
}

#[inline(never)]
fn waits_forever() {
    block_on(pending::<()>(), Halt); // end-report-deadlock
}

#[inline(never)]
fn loops() {
    loop {
        core::hint::spin_loop(); // end-report-endless-loop
    }
}

#[inline(never)]
fn holds_a_critical_section() {
    critical_section::with(|_| loops()); // end-report-critical-section
}
