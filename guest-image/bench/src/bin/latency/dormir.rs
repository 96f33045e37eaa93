//! dormir: executors with `Shared`, and the timers, clock and interrupt entry that `bare::init` has
//! set up.

use alloc::vec::Vec;
use core::{
    cell::RefCell,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use critical_section::Mutex;
use dormir::{
    Event,
    arch::x86_64::interrupt::InterruptFrame,
    executor::{AbortHandle, Capacity, Executor, Runner, Shared, Spawner, Up64, Up4096},
    idle::{Adaptive, Halt, Idle, IdleContext, Spin},
    platform::bare,
    time::{Instant, Timer},
};

use crate::{
    load::{Busy, Load, MOST_BUSY, MOST_SLEEPERS, far_deadline},
    machine::machine,
    ping_pong::{self, PING_PONG_TASKS, StampedPingPong},
    rounds::{Expected, Round},
    stamps, turn,
};

/// Two executors of one capacity.
struct Executors<C: Capacity> {
    plain: Executor<C>,
    /// Its wake hook stamps.
    hooked: Executor<C>,
}

/// For up to 64 tasks...
static SMALL: Executors<Up64> = Executors {
    plain: Executor::new(Shared),
    hooked: Executor::new(Shared),
};

/// ... and for more.
static LARGE: Executors<Up4096> = Executors {
    plain: Executor::new(Shared),
    hooked: Executor::new(Shared),
};

/// dormir's own entry of the timer's interrupt.
static TIMER_ENTRY: AtomicU64 = AtomicU64::new(0);

/// What the host's interrupt signals.
static INTERRUPTED: Event = Event::new();

extern "sysv64" fn on_host(_frame: &InterruptFrame) {
    bare::end_of_interrupt();
    INTERRUPTED.signal();
}
dormir::interrupt_entry!(host_entry => on_host);

/// Must be called before another runtime has its turn.
pub(crate) fn init() {
    SMALL.hooked.on_wake(stamps::wake);
    LARGE.hooked.on_wake(stamps::wake);
    TIMER_ENTRY.store(machine().timer_entry(), Ordering::Relaxed);
}

/// How dormir waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdlePolicy {
    Halt,
    Adaptive,
    Spin,
}

impl IdlePolicy {
    /// Returns the policy with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "halt" => Some(Self::Halt),
            "adaptive" => Some(Self::Adaptive),
            "spin" => Some(Self::Spin),
            _ => None,
        }
    }
}

/// How it waits, and what else it has to do.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) policy: IdlePolicy,
    pub(crate) load: Load,
    /// Whether wakes are stamped.
    pub(crate) stamps_wakes: bool,
}

impl Setting {
    /// Returns whether only the interrupt makes dormir notice a deadline.
    pub(crate) fn needs_interrupt(self) -> bool {
        self.policy == IdlePolicy::Halt || self.load.keeps_awake()
    }

    fn expected_of_deadline(self) -> Expected {
        Expected {
            sleep: !self.load.keeps_awake(),
            handler: self.needs_interrupt(),
        }
    }

    fn expected_of_host(self) -> Expected {
        Expected {
            sleep: !self.load.keeps_awake(),
            handler: true,
        }
    }
}

/// An idle policy that stamps before each wait.
struct Stamped<I>(I);

impl<I: Idle> Idle for Stamped<I> {
    #[inline]
    fn wait(&mut self, cx: &IdleContext<'_>) {
        stamps::fall_asleep();
        self.0.wait(cx);
    }
}

dormir::tasks! {
    async fn sleeper(rounds: usize, expected: Expected), pool = 1 {
        for _ in 0..rounds {
            let round = Round::by_deadline(expected);
            let mut timer = pin!(Timer::at(round.deadline()));
            let poll = stamps::last_poll(timer.as_mut()).await;
            round.end(poll);
        }
        turn::end_one();
    }

    async fn waiter(rounds: usize, expected: Expected), pool = 1 {
        let mut interrupt = pin!(INTERRUPTED.wait().expect("this is its only waiter"));
        for _ in 0..rounds {
            let round = Round::by_host(expected);
            let poll = stamps::last_poll(interrupt.as_mut()).await;
            round.end(poll);
        }
        turn::end_one();
    }

    fn ping_pong_task(task: StampedPingPong) -> StampedPingPong, pool = PING_PONG_TASKS { task }

    async fn far_sleeper(deadline: Instant), pool = MOST_SLEEPERS {
        Timer::at(deadline).await;
    }

    fn busy() -> Busy, pool = MOST_BUSY { Busy::for_a_turn() }
}

/// Runs a task that sleeps until `rounds` deadlines, one after another.
pub(crate) fn sleep(rounds: usize, setting: Setting) {
    take_turn(setting, setting.policy, 1, |spawner| {
        let expected = setting.expected_of_deadline();
        spawner.spawn_detached(sleeper(rounds, expected)).is_ok()
    });
}

/// Runs a task that waits for `rounds` interrupts from the host, one after another.
pub(crate) fn sleep_until_host(rounds: usize, setting: Setting) {
    take_turn(setting, setting.policy, 1, |spawner| {
        let expected = setting.expected_of_host();
        spawner.spawn_detached(waiter(rounds, expected)).is_ok()
    });
}

/// Runs two tasks that wake each other `rounds` times.
pub(crate) fn ping_pong(rounds: usize, setting: Setting) {
    take_turn(setting, IdlePolicy::Halt, PING_PONG_TASKS, |spawner| {
        ping_pong::two(rounds)
            .into_iter()
            .all(|each| spawner.spawn_detached(ping_pong_task(each)).is_ok())
    });
}

/// Runs the `tasks` tasks that `spawn` spawns, beside the load, until they have completed.
fn take_turn(
    setting: Setting,
    policy: IdlePolicy,
    tasks: usize,
    spawn: impl FnOnce(&Spawner) -> bool,
) {
    // SAFETY: the first entry is the one that `bare::init` installed, the second is made by
    // `interrupt_entry!`. Each ends its interrupt.
    unsafe { stamps::go_on_to(TIMER_ENTRY.load(Ordering::Relaxed), host_entry) };
    turn::begin(tasks, abort_far_sleepers);
    if matches!(setting.load, Load::Sleepers(_)) {
        run(&LARGE, setting, policy, spawn);
    } else {
        run(&SMALL, setting, policy, spawn);
    }
}

fn run<C: Capacity>(
    executors: &'static Executors<C>,
    setting: Setting,
    policy: IdlePolicy,
    spawn: impl FnOnce(&Spawner) -> bool,
) {
    let executor = match setting.stamps_wakes {
        true => &executors.hooked,
        false => &executors.plain,
    };
    let mut runner: Runner<C> = executor.enter().expect("it is not entered");
    let spawner = runner.spawner();
    spawn_load(&spawner, setting.load);
    assert!(spawn(&spawner), "there is room for a task or two");
    match policy {
        IdlePolicy::Halt => runner.run(Stamped(Halt)),
        IdlePolicy::Adaptive => runner.run(Stamped(Adaptive::new(Halt))),
        IdlePolicy::Spin => runner.run(Stamped(Spin)),
    }
}

/// Abort handles of the sleepers of the load, which must end with the turn.
static FAR_SLEEPERS: Mutex<RefCell<Vec<AbortHandle>>> = Mutex::new(RefCell::new(Vec::new()));

fn spawn_load(spawner: &Spawner, load: Load) {
    let room = "there is room for the load";
    match load {
        Load::None => {}
        Load::Sleepers(tasks) => {
            let spawned = (0..tasks).map(|_| {
                let handle = spawner.spawn(far_sleeper(far_deadline())).ok();
                handle.expect(room).abort_handle()
            });
            let spawned: Vec<_> = spawned.collect();
            critical_section::with(|cs| FAR_SLEEPERS.replace(cs, spawned));
        }
        Load::Busy(tasks) => {
            for _ in 0..tasks {
                assert!(spawner.spawn_detached(busy()).is_ok(), "{room}");
            }
        }
    }
}

fn abort_far_sleepers() {
    let sleepers = critical_section::with(|cs| FAR_SLEEPERS.take(cs));
    sleepers.iter().for_each(AbortHandle::abort);
}
