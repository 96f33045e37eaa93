//! Random programs of tasks against their reference, on the machine's own timers.
//!
//! `seed=N` is the first program, `count=N` how many, on each of three executors, and `seconds=N`
//! for how long, since each takes a second where KVM emulates the guest. `executor=NAME` chooses
//! one executor. If a program fails, the last line has its seed.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../../../src/random_programs/mod.rs"]
mod random_programs;

use alloc::{boxed::Box, format};
use core::{
    hint,
    sync::atomic::{AtomicU64, Ordering},
};

use dormir::{
    executor::{Capacity, Cpus, Executor, Shared, SingleVcpu, Up64, Up4096},
    idle::{Halt, Idle, IdleContext},
    time::Instant,
};
use dormir_guest::{args, console::report, println};
use random_programs::{Machine, Note, words};

dormir_guest::entry!(main);

/// The unit of the programs' times: so long that the deadlines of different units are met in
/// different waits, also where each instruction is emulated.
const UNIT: u64 = 100_000;

/// The seed of the program that is running.
static SEED: AtomicU64 = AtomicU64::new(0);

const MACHINE: Machine = Machine {
    unit: UNIT,
    is_exact: false,
    wait,
    pass_time: |to| while now() < to {},
    catch: |body| {
        body();
        false
    },
    unwind: None,
    embassy: Some(|at| {
        let at = embassy_time::Instant::from_micros(at / 1000);
        Box::pin(embassy_time::Timer::at(at))
    }),
    alarm: || None,
    fail: |wrong| {
        println!("{wrong}");
        let what = wrong.lines().next().unwrap_or_default();
        panic!("seed {}: {what}", SEED.load(Ordering::Relaxed))
    },
};

fn now() -> u64 {
    Instant::now().as_nanos()
}

/// What is to happen at an instant is awaited without a halt, since no interrupt comes then.
fn wait(cx: &IdleContext<'_>, until: Option<u64>) {
    match until {
        None => Halt.wait(cx),
        Some(until) => {
            while now() < until && cx.is_idle() {
                hint::spin_loop();
            }
        }
    }
}

fn main() {
    static UP_64: Executor<Up64> = Executor::new(Shared);
    // SAFETY: this guest has one vCPU.
    static UP_64_SINGLE: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });
    static UP_4096: Executor<Up4096> = Executor::new(Shared);

    let only = args::value("executor");
    let is_meant = |name| only.is_none_or(|only| only == name);
    if is_meant("up64") {
        follow("up64", &UP_64, false);
    }
    if is_meant("up64-single") {
        follow("up64-single", &UP_64_SINGLE, false);
    }
    if is_meant("up4096") {
        random_programs::spread(&UP_4096);
        follow("up4096", &UP_4096, true);
    }
}

fn follow<C: Capacity, M: Cpus>(name: &str, executor: &'static Executor<C, M>, is_wide: bool) {
    let number = |name, default| match args::value(name) {
        Some(value) => value.parse().expect("a number"),
        None => default,
    };
    let (seed, count) = (number("seed", 0), number("count", 100));
    let until = now().saturating_add(number("seconds", 3600) * 1_000_000_000);
    let (mut programs, mut notes, mut waits) = (0, 0, 0);
    for seed in seed..seed + count {
        if now() >= until {
            break;
        }
        programs += 1;
        SEED.store(seed, Ordering::Relaxed);
        let noted = random_programs::run(executor, is_wide, MACHINE, &words(seed));
        notes += noted.len() as u64;
        waits += noted
            .iter()
            .filter(|note| matches!(note, Note::Waits { .. }))
            .count() as u64;
    }
    println!("{name}: {programs} programs, {notes} notes, {waits} waits");
    report(&format!("{name}-programs"), programs);
    report(&format!("{name}-waits"), waits);
}
