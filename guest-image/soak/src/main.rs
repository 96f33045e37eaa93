//! Uses everything there is at once, for a while: timers, tickers, timeouts, tasks that wake, join
//! and abort each other, interrupts, devices, and calls of the host. Each wake is accounted for:
//! one that is lost ends the guest, with its kind and number.
//!
//! `seconds=COUNT` says for how long (10 if it is missing), `seed=NUMBER` chooses what the tasks
//! do, `show=SECONDS` how often progress is shown (10), and `patience=SECONDS` how long a wake may
//! take (30). With `lose=KIND` one in a thousand wakes of that kind is lost, or in as many as `each=`
//! says: that must be found.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod crew;
mod idle;
mod watch;
mod work;

use alloc::{format, rc::Rc};
use core::{future::pending, str::FromStr, sync::atomic::Ordering, time::Duration};

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up4096},
    time::{Instant, Ticker},
};
use dormir_devices_guest::{Failure, random::Random};
use dormir_guest::{args, console::report, heap, println};

use board::Kind;
use crew::Crew;
use idle::{Checked, WAITS};
use work::{devices, interrupts, tasks, timers};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
pub(crate) static EXECUTOR: Executor<Up4096, SingleVcpu> =
    Executor::new(unsafe { SingleVcpu::new() });

/// The tasks that an executor of this capacity holds.
const CAPACITY: usize = 4096;

/// By how many bytes the heap may have grown: tables of drivers and of the connection have what was
/// in flight at once.
const HEAP_GROWTH: usize = 1024;

/// More waits at once than the tasks have.
const WAITS_AT_ONCE: usize = 1024;

/// What is asked for.
struct Wanted {
    length: Duration,
    seed: u64,
    show: Duration,
}

fn main() -> Result<(), Failure> {
    let wanted = Wanted {
        length: Duration::from_secs(number("seconds", 10)?),
        seed: number("seed", 1)?,
        show: Duration::from_secs(number("show", 10)?),
    };
    board::set_up(WAITS_AT_ONCE, Duration::from_secs(number("patience", 30)?));
    if let Some(name) = args::value("lose") {
        let kind = Kind::ALL.iter().find(|(_, known)| *known == name);
        let (kind, _) = kind.ok_or_else(|| format!("there is no kind of wakes `{name}`"))?;
        watch::lose(*kind, number("each", 1000)?);
    }
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    let task = Task::boxed(async move {
        let code = match run(spawner, &wanted).await {
            Ok(()) => 0,
            Err(error) => {
                println!("error: {error}");
                1
            }
        };
        dormir_guest::exit(code);
    });
    assert!(spawner.spawn_detached(task).is_ok(), "there is room");
    runner.run_forever(Checked::new())
}

async fn run(spawner: Spawner, wanted: &Wanted) -> Result<(), Failure> {
    let mut crew = Crew::new(spawner, Random::new(wanted.seed));
    crew.add(24, timers::short);
    crew.add(4, timers::timeouts);
    crew.add(4, timers::embassy);
    for period in [3, 40, 500].map(Duration::from_millis) {
        crew.add(1, move |end, _| timers::ticks(end, period));
    }
    crew.add(2, tasks::yields);
    crew.add(2, move |end, random| tasks::spawns(spawner, end, random));
    for _ in 0..4 {
        let pair = tasks::Pair::default();
        let other = Rc::clone(&pair);
        crew.add(1, move |end, random| {
            tasks::serve(Rc::clone(&pair), end, random)
        });
        crew.add(1, move |_, _| tasks::send_back(Rc::clone(&other)));
    }
    crew.add(1, interrupts::send);
    crew.add(1, |_, _| interrupts::receive());
    if interrupts::has_host() {
        crew.add(1, interrupts::host);
    }
    devices::start(&mut crew).await?;

    let (heap_before, tasks_before) = (heap::used(), EXECUTOR.tasks());
    let start = Instant::now();
    let end = start.saturating_add(wanted.length);
    let has_pit = interrupts::start_pit();
    let supervisor = spawn(spawner, supervise(start, wanted.show))?;
    let mut long = alloc::vec::Vec::new();
    for seed in 0..8 {
        let random = Random::new(wanted.seed ^ seed << 32);
        long.push(spawn(spawner, timers::long(random))?);
    }
    let pit = has_pit.then(|| spawn(spawner, interrupts::receive_pit()));
    for member in crew.spawn(end) {
        member.await?;
    }
    if let Some(pit) = pit {
        interrupts::end_pit();
        pit?.await?;
    }
    for timer in long.drain(..).chain([supervisor]) {
        timer.abort();
        // It was aborted.
        let _ = timer.await;
    }
    drop(long);

    board::settle().map_err(|kind| format!("the wakes of the kind `{kind}` do not add up"))?;
    let heap_after = heap::used();
    if heap_after > heap_before + HEAP_GROWTH {
        return Err(format!("the heap grew from {heap_before} to {heap_after} bytes").into());
    }
    if EXECUTOR.tasks() != tasks_before {
        let tasks = EXECUTOR.tasks();
        return Err(format!("there were {tasks_before} tasks, and {tasks} are left").into());
    }
    let slots = fill(spawner);
    if slots != CAPACITY - tasks_before {
        return Err(format!("{slots} slots are free beside {tasks_before} tasks").into());
    }
    for ((_, name), counts) in Kind::ALL.iter().zip(board::counts()) {
        report(&format!("wakes_{name}"), counts.woken);
    }
    let dropped = board::counts().iter().map(|counts| counts.dropped).sum();
    report("wakes", board::wakes());
    report("dropped", dropped);
    report("idle", WAITS.load(Ordering::Relaxed));
    report("heap_before", heap_before as u64);
    report("heap_after", heap_after as u64);
    show(start);
    Ok(())
}

fn spawn<F: Future<Output = ()> + 'static>(
    spawner: Spawner,
    future: F,
) -> Result<dormir::executor::JoinHandle<()>, Failure> {
    let spawned = spawner.spawn(Task::boxed(future));
    spawned.map_err(|error| format!("{error}").into())
}

/// Looks for lost wakes even while the loop is never idle, adapts the pace, and shows progress.
async fn supervise(start: Instant, period: Duration) {
    let mut ticker = Ticker::every(Duration::from_millis(250));
    let mut next = start.saturating_add(period);
    let mut before = 0;
    loop {
        ticker.next().await;
        board::check();
        let idle = WAITS.load(Ordering::Relaxed);
        work::adapt(idle - before);
        before = idle;
        if Instant::now() >= next {
            next = next.saturating_add(period);
            show(start);
        }
    }
}

fn show(start: Instant) {
    println!(
        "{:6} s: {} wakes, {} times idle; {} tasks, {} bytes of heap",
        start.elapsed().as_secs(),
        board::wakes(),
        WAITS.load(Ordering::Relaxed),
        EXECUTOR.tasks(),
        heap::used()
    );
}

/// Fills the executor, and returns how many tasks it took. None of these runs.
fn fill(spawner: Spawner) -> usize {
    let mut slots = 0;
    while spawner.spawn_detached(Task::boxed(pending::<()>())).is_ok() {
        slots += 1;
    }
    slots
}

fn number<N: FromStr>(name: &str, default: N) -> Result<N, N::Err> {
    args::value(name).map_or(Ok(default), str::parse)
}
