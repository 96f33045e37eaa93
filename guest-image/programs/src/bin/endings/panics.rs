//! Ends that the program itself asks for: exits and panics.

use core::panic::PanicInfo;

use dormir::{
    executor::{Executor, SingleVcpu, Up64, yield_now},
    idle::Halt,
    tasks,
};
use dormir_guest::{exit, print};

use crate::Case;

/// A text of 160 bytes.
macro_rules! long {
    () => {
        "as an assertion that explains itself at length has, in order that whoever reads it knows \
         what went wrong, and where to look, and whom to ask, and what was tried before. "
    };
}

pub(crate) const CASES: &[Case] = &[
    ("end-exit-7", || exit(7)),
    ("end-exit-255", || exit(255)),
    ("end-panic", || panic!("a panic\nof two lines")),
    ("end-panic-long-value", || panic!("{}", "a".repeat(300))),
    ("end-panic-long-literal", || {
        panic!(concat!(long!(), long!()))
    }),
    ("end-panic-long-error", || {
        let failed: Result<(), _> = core::hint::black_box(Err("é".repeat(600)));
        failed.expect("opening the device");
    }),
    ("end-panic-long-list", || {
        assert_eq!(alloc::vec![1; 150], alloc::vec![2; 150], "lists differ");
    }),
    ("end-panic-in-task", panic_in_task),
    ("end-panic-after-task", panic_after_task),
    ("end-panic-hook", || {
        panic_with(|_| print!("the hook was called\n"))
    }),
    ("end-panic-hook-exits", || panic_with(|_| exit(9))),
    ("end-panic-in-hook", || {
        panic_with(|info| panic!("again: {}", info.message()))
    }),
    ("end-out-of-memory", out_of_memory),
];

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    async fn lucky(), pool = 1 {
        yield_now().await;
    }

    async fn unlucky(), pool = 1 {
        yield_now().await;
        panic!("no luck");
    }
}

fn panic_in_task() {
    let mut runner = EXECUTOR.enter().expect("there is no other runner");
    let spawner = runner.spawner();
    spawner.spawn_detached(lucky()).expect("there is room");
    spawner.spawn_detached(unlucky()).expect("there is room");
    runner.run(Halt);
}

fn panic_after_task() {
    let mut runner = EXECUTOR.enter().expect("there is no other runner");
    runner
        .spawner()
        .spawn_detached(lucky())
        .expect("there is room");
    runner.run(Halt);
    panic!("the luck is over");
}

fn panic_with(hook: fn(&PanicInfo<'_>)) {
    dormir_guest::set_panic_hook(hook);
    panic!("the first panic");
}

fn out_of_memory() {
    let much = alloc::vec![1u8; 1 << 40];
    core::hint::black_box(much);
}
