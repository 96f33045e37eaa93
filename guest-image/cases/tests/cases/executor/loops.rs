//! Tests of the loops around the tasks: `run`, and a program's own loop.

use alloc::boxed::Box;
use core::{
    cell::Cell,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dormir::{
    arch::x86_64::halt::halt_if,
    executor::{Cpus, Executor, Up64, Up4096, yield_now},
    idle::{Halt, Idle, IdleContext},
    platform::bare,
    tasks,
    time::{Instant, Timer, TimerQueue},
};
use futures_util::future::select;
use x86_64::instructions::interrupts;

use crate::{
    device::TestDevice,
    events::{self, EVENT, signals},
};

tasks! {
    async fn signal_or_timer(deadline: Instant), pool = 1 {
        select(pin!(signals()), pin!(Timer::at(deadline))).await;
    }
}

/// Makes the device interrupt when the tasks wait, with the alarm set to `deadline`.
struct InterruptAtWait {
    device: TestDevice,
    deadline: Instant,
}

impl Idle for InterruptAtWait {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        assert_eq!(cx.deadline(), Some(self.deadline));
        self.device.interrupt();
        Halt.wait(cx);
    }
}

/// `run` restores the interrupt flag, and turns the alarm off.
pub(super) fn run_leaves_all_as_it_was<M: Cpus>(executor: &'static Executor<Up64, M>) {
    for masked in [false, true] {
        // If the vCPU is descheduled for too long, the alarm comes before `run` returns.
        let in_time = (0..20).any(|_| returns_before_the_alarm(executor, masked));
        assert!(in_time, "the alarm came first, each time");
    }
}

/// Returns whether `run` returned before the alarm, so that the check was possible.
fn returns_before_the_alarm<M: Cpus>(executor: &'static Executor<Up64, M>, masked: bool) -> bool {
    let device = events::device();
    let deadline = Instant::now().saturating_add(Duration::from_millis(500));
    let mut runner = executor.enter().expect("there is no other runner");
    let spawned = runner.spawner().spawn_detached(signal_or_timer(deadline));
    spawned.expect("there is room");
    if masked {
        interrupts::disable();
    }
    runner.run(InterruptAtWait { device, deadline });
    assert_eq!(!interrupts::are_enabled(), masked, "the flag is as it was");
    interrupts::enable();
    // A pending interrupt comes now.
    spin_until(Instant::now().saturating_add(Duration::from_millis(10)));
    EVENT.take();
    let alarms = bare::timer_interrupts();
    if Instant::now() >= deadline {
        return false;
    }
    spin_until(deadline.saturating_add(Duration::from_millis(50)));
    assert_eq!(bare::timer_interrupts(), alarms, "the alarm was left on");
    true
}

fn spin_until(moment: Instant) {
    while Instant::now() < moment {
        core::hint::spin_loop();
    }
}

/// A loop that calls `run_until_idle` and halts by itself. The wake hook tells it of a wake after
/// that call, so it does not sleep through it.
pub(super) fn own_loop<M: Cpus>(executor: &'static Executor<Up64, M>) {
    const TIMES: u32 = 100;
    static IS_WOKEN: AtomicBool = AtomicBool::new(false);

    tasks! {
        async fn wait_for_signals_and_sleep(
            device: TestDevice,
            deadline: &'static Cell<Option<Instant>>,
        ), pool = 1 {
            for _ in 0..TIMES {
                device.interrupt();
                assert_eq!(signals().await, 1);
            }
            let at = Instant::now().saturating_add(Duration::from_millis(300));
            deadline.set(Some(at));
            Timer::at(at).await;
            assert!(Instant::now() >= at, "it woke early");
            deadline.set(None);
        }
    }

    executor.on_wake(|| IS_WOKEN.store(true, Ordering::Relaxed));
    let device = events::device();
    let deadline: &Cell<_> = Box::leak(Box::new(Cell::new(None)));
    let mut runner = executor.enter().expect("there is no other runner");
    let task = wait_for_signals_and_sleep(device, deadline);
    runner
        .spawner()
        .spawn_detached(task)
        .expect("there is room");

    interrupts::disable();
    let mut turns = 0;
    loop {
        // Cleared before the tasks run: a later wake sets it.
        IS_WOKEN.store(false, Ordering::Relaxed);
        let turn = runner.run_until_idle();
        assert_eq!(turn.tasks_left, executor.tasks());
        assert_eq!(turn.next_deadline, deadline.get());
        if turn.tasks_left == 0 {
            break;
        }
        turns += 1;
        if turns % 2 == 0 && turn.next_deadline.is_none() {
            // Every other interrupt comes before the check, and the others while the vCPU halts.
            let before = device.interrupts();
            interrupts::enable();
            while device.interrupts() == before {
                core::hint::spin_loop();
            }
            interrupts::disable();
        }
        halt_if(|| !IS_WOKEN.load(Ordering::Relaxed) && TimerQueue::global().is_settled());
        interrupts::disable();
    }
    interrupts::enable();
    assert_eq!(device.interrupts(), TIMES);
    assert_eq!(
        device.halts_ended(),
        TIMES / 2,
        "every second one ended a hlt"
    );
}

/// A thousand tasks that wake themselves forever take turns, and starve no timer.
pub(super) fn self_waking_and_a_sleeper<M: Cpus>(executor: &'static Executor<Up4096, M>) {
    const TASKS: usize = 1000;

    struct TurnCounts {
        is_over: Cell<bool>,
        turns: [Cell<u32>; TASKS],
    }

    tasks! {
        async fn wake_itself(number: usize, state: &'static TurnCounts), pool = 1000 {
            while !state.is_over.get() {
                let turns = &state.turns[number];
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        }

        async fn sleeper(state: &'static TurnCounts), pool = 1 {
            Timer::after(Duration::from_millis(300)).await;
            let turns = || state.turns.iter().map(Cell::get);
            let (least, most) = (turns().min(), turns().max());
            let bounds = least.zip(most).expect("there are turns");
            assert!(bounds.0 > 0 && bounds.1 - bounds.0 <= 1, "turns: {bounds:?}");
            state.is_over.set(true);
        }
    }

    let state: &TurnCounts = Box::leak(Box::new(TurnCounts {
        is_over: Cell::new(false),
        turns: [const { Cell::new(0) }; TASKS],
    }));
    let mut runner = executor.enter().expect("there is no other runner");
    let spawner = runner.spawner();
    for number in 0..TASKS {
        let spawned = spawner.spawn_detached(wake_itself(number, state));
        spawned.expect("there is room");
        if number == TASKS / 2 {
            spawner
                .spawn_detached(sleeper(state))
                .expect("there is room");
        }
    }
    runner.run(Halt);
    assert!(state.is_over.get());
}
