//! dormir: an executor of 64 whose tasks any vCPU may wake, with the timers, the clock and the interrupt
//! entry that `bare::init` has set up.

use core::{
    arch::naked_asm,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use dormir::{
    arch::x86_64::tsc,
    executor::{Executor, Runner, Shared, Up64},
    idle::{Adaptive, Halt, Spin},
    time::Timer,
};

use crate::{
    machine::machine,
    players::{self, Player},
    samples::Round,
    stamps,
};

static EXECUTOR: Executor<Up64> = Executor::new(Shared);

/// dormir's own interrupt entry.
static ENTRY: AtomicU64 = AtomicU64::new(0);

/// Stamps, and enters dormir's own entry.
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
        "jmp qword ptr [rip + {entry}]",
        stamp = sym stamps::HANDLER,
        entry = sym ENTRY,
    )
}

/// Before any other runtime has its turn.
pub(crate) fn init() {
    EXECUTOR.on_wake(stamps::wake);
    ENTRY.store(machine().entry(), Ordering::Relaxed);
}

/// How it waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Halt,
    Adaptive,
    Spin,
}

impl Policy {
    /// The policy of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "halt" => Some(Self::Halt),
            "adaptive" => Some(Self::Adaptive),
            "spin" => Some(Self::Spin),
            _ => None,
        }
    }
}

dormir::task! {
    async fn sleeper(rounds: usize, policy: Policy), pool = 1 {
        for _ in 0..rounds {
            let round = Round::begin();
            let mut timer = pin!(Timer::at(machine().for_dormir(round.deadline)));
            let poll = poll_fn(|cx| {
                let now = tsc::read();
                timer.as_mut().poll(cx).map(|()| now)
            })
            .await;
            match policy {
                Policy::Halt => round.end(poll),
                Policy::Adaptive | Policy::Spin => round.end_awake(poll),
            }
        }
    }

    fn player(player: Player) -> Player, pool = 2 { player }
}

/// A task sleeps until so many deadlines, one after another.
pub(crate) fn sleep(rounds: usize, policy: Policy) {
    // SAFETY: it leaves all as it was, and enters the entry that has been there, which ends the interrupt.
    unsafe { machine().on_interrupt(stamped) };
    let mut runner = enter();
    if runner
        .spawner()
        .spawn_detached(sleeper(rounds, policy))
        .is_err()
    {
        panic!("there is room for one task");
    }
    match policy {
        Policy::Halt => runner.run(Halt),
        Policy::Adaptive => runner.run(Adaptive::new(Halt)),
        Policy::Spin => runner.run(Spin::new()),
    }
}

/// Two tasks wake each other so many times.
pub(crate) fn play(rounds: usize) {
    let mut runner = enter();
    for each in players::two(rounds) {
        if runner.spawner().spawn_detached(player(each)).is_err() {
            panic!("there is room for two tasks");
        }
    }
    runner.run(Halt);
}

fn enter() -> Runner<Up64, Shared> {
    EXECUTOR.enter().expect("nobody is in it")
}
