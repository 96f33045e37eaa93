//! Random programs of tasks against the [reference](crate::random_programs), on a virtual clock.
//!
//! They use the global queue, and a program that goes wrong leaves anything behind. So they run in
//! processes of their own, by which a program that fails is also made smaller.

use super::*;
use crate::random_programs::{self, Machine, Note, words};
use std::{
    collections::BTreeMap,
    env, eprintln,
    fmt::Write,
    format, println,
    process::{self, Command},
    string::ToString,
    sync::atomic::AtomicU64,
    time::Duration,
};

/// How many programs, and the seed of the first: for a longer run.
const COUNT: &str = "DORMIR_PROGRAMS";
const SEED: &str = "DORMIR_PROGRAMS_SEED";

/// Given to a process that runs programs: the executor, and either the first seed and the number
/// of programs, or the words of one.
const TASK: &str = "DORMIR_PROGRAMS_TASK";

const TEST: &str = "executor::tests::random_programs::programs_follow_the_reference";

/// The words of programs that once failed: the reference was wrong about deadlines that pass amid a
/// long pass, where a task has a timer of embassy-time and another.
const FOUND: [(On, &[u32]); 1] = [(
    On::Up4096,
    &[
        12274, 9888000, 1966131, 982272, 3516023787, 145, 15269928, 8912920, 7602176, 115, 147,
        7733248, 14699210, 4250853136, 235, 971565, 201, 6249216, 15990784,
    ],
)];

/// Precedes the seed of a program that failed.
const FAILED: &str = "The seed is ";

/// Nothing takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// The kinds of notes, each of which a thousand programs make.
const KINDS: usize = if cfg!(feature = "embassy-time") {
    31
} else {
    30
};

static CLOCK: VirtualClock = VirtualClock::new();

/// The seed of the program that is running.
static AT: AtomicU64 = AtomicU64::new(0);

/// The executors on which programs run.
#[derive(Clone, Copy, Debug)]
enum On {
    Up64,
    Up64SingleVcpu,
    Up4096,
    Up4096SingleVcpu,
}

const ALL: [On; 4] = [
    On::Up64,
    On::Up64SingleVcpu,
    On::Up4096,
    On::Up4096SingleVcpu,
];

fn machine() -> Machine {
    Machine {
        unit: 1000,
        is_exact: true,
        wait: |cx, until| {
            let until = until.map(Instant::from_nanos);
            let to = until.or(cx.deadline()).expect("something to wait for");
            CLOCK.advance_to(to, TimerQueue::global());
        },
        pass_time: |to| CLOCK.advance_to(Instant::from_nanos(to), TimerQueue::global()),
        catch: |body| unwinds(body),
        unwind: Some(|| unwind()),
        #[cfg(feature = "embassy-time")]
        embassy: Some(|at| {
            let at = embassy_time::Instant::from_micros(at / 1000);
            Box::pin(embassy_time::Timer::at(at))
        }),
        #[cfg(not(feature = "embassy-time"))]
        embassy: None,
        alarm: || CLOCK.alarm().map(Instant::as_nanos),
        fail: |wrong| {
            eprintln!("{wrong}{FAILED}{}", AT.load(Ordering::Relaxed));
            process::exit(1)
        },
    }
}

/// How often what was noted.
type Figures = BTreeMap<String, u64>;

fn kind_of(note: &Note) -> String {
    let text = format!("{note:?}");
    text.split(' ').next().unwrap_or_default().into()
}

/// Runs programs on that executor: those of the words that `next` returns.
fn follow(on: On, next: impl FnMut() -> Option<Vec<u32>>) -> Figures {
    // SAFETY: this process, which runs one test, uses the executors on this thread only.
    const SINGLE: SingleVcpu = unsafe { SingleVcpu::new() };
    static UP_64: Executor<Up64> = Executor::new(Shared);
    static UP_64_SINGLE: Executor<Up64, SingleVcpu> = Executor::new(SINGLE);
    static UP_4096: Executor<Up4096> = Executor::new(Shared);
    static UP_4096_SINGLE: Executor<Up4096, SingleVcpu> = Executor::new(SINGLE);

    fn all<C: Capacity, M: Cpus>(
        executor: &'static Executor<C, M>,
        is_wide: bool,
        mut next: impl FnMut() -> Option<Vec<u32>>,
    ) -> Figures {
        let mut figures = Figures::new();
        if is_wide {
            random_programs::spread(executor);
        }
        while let Some(words) = next() {
            let notes = random_programs::run(executor, is_wide, machine(), &words);
            for kind in notes.iter().map(kind_of) {
                *figures.entry(kind).or_default() += 1;
            }
        }
        figures
    }

    TimerQueue::global()
        .install(&CLOCK, &CLOCK)
        .expect("the first clock");
    match on {
        On::Up64 => all(&UP_64, false, next),
        On::Up64SingleVcpu => all(&UP_64_SINGLE, false, next),
        On::Up4096 => all(&UP_4096, true, next),
        On::Up4096SingleVcpu => all(&UP_4096_SINGLE, true, next),
    }
}

/// What a process of its own does.
fn follow_task(task: &str) -> Figures {
    let (on, what) = task.split_once(' ').expect("an executor");
    let on = ALL.into_iter().find(|each| format!("{each:?}") == on);
    let on = on.expect("the name of an executor");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    end_if_it_does_not();
    let (first, count) = what.split_once('+').unwrap_or((what, ""));
    if count.is_empty() {
        let mut words = Some(what.split(' ').map(|word| number(word) as u32).collect());
        return follow(on, || words.take());
    }
    let mut seeds = number(first)..number(first) + number(count);
    follow(on, || {
        let seed = seeds.next()?;
        AT.store(seed, Ordering::Relaxed);
        Some(words(seed))
    })
}

/// Ends this process if a program takes too long. On a virtual clock, nothing else ends a loop that
/// never waits.
fn end_if_it_does_not() {
    thread::spawn(|| {
        let mut before = u64::MAX;
        while before != AT.load(Ordering::Relaxed) {
            before = AT.load(Ordering::Relaxed);
            thread::sleep(LIMIT);
        }
        eprintln!("the program does not end\n{FAILED}{before}");
        process::exit(1);
    });
}

/// Runs a task in a process of its own. Returns what that printed, and whether all was well.
fn run(task: &str) -> (String, bool) {
    let output = Command::new(env::current_exe().expect("the test program"))
        .args([TEST, "--exact", "--test-threads=1", "--nocapture"])
        .env(TASK, task)
        .output()
        .expect("the test program starts");
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed += &String::from_utf8_lossy(&output.stderr);
    let is_well = output.status.success() && printed.contains("1 passed");
    (printed, is_well)
}

/// The words of a program, as a task names them.
fn task_of(on: On, words: &[u32]) -> String {
    let words: Vec<_> = words.iter().map(ToString::to_string).collect();
    format!("{on:?} {}", words.join(" "))
}

/// Leaves out what does not make the program fail, and returns what is left.
fn smallest(on: On, mut words: Vec<u32>) -> Vec<u32> {
    let fails = |words: &[u32]| !words.is_empty() && !run(&task_of(on, words)).1;
    let mut part = words.len() / 2;
    while part > 0 {
        // From the end, so that what follows stays where it is.
        let mut start = words.len();
        while start > 1 {
            start = start.saturating_sub(part).max(1);
            let end = (start + part).min(words.len());
            let without = [&words[..start], &words[end..]].concat();
            if fails(&without) {
                words = without;
            }
        }
        part /= 2;
    }
    for word in 0..words.len() {
        for byte in 0..4 {
            let mut simpler = words.clone();
            simpler[word] &= !(0xff << (8 * byte));
            if simpler != words && fails(&simpler) {
                words = simpler;
            }
        }
    }
    words
}

/// Says why a program fails, and which part of it does so.
fn explain(on: On, seed: u64, printed: &str) -> String {
    let words = words(seed);
    if run(&task_of(on, &words)).1 {
        return format!("seed {seed} on {on:?} fails only after others:\n{printed}");
    }
    let smallest = smallest(on, words);
    let printed = run(&task_of(on, &smallest)).0;
    format!("seed {seed} on {on:?} fails, and so do these of its words: {smallest:?}\n{printed}")
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no processes")]
fn programs_follow_the_reference() {
    if let Ok(task) = env::var(TASK) {
        let figures = follow_task(&task);
        let mut line = String::from("\n");
        for (kind, number) in figures {
            write!(line, "{kind}={number} ").expect("a string");
        }
        println!("{line}");
        return;
    }
    for (on, words) in FOUND {
        let (printed, is_well) = run(&task_of(on, words));
        assert!(is_well, "{on:?} {words:?}\n{printed}");
    }
    let (count, seed) = (setting(COUNT, 1000), setting(SEED, 0));
    for on in ALL {
        let (printed, is_well) = run(&format!("{on:?} {seed}+{count}"));
        let failed = printed.rsplit_once(FAILED);
        let failed = failed.and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        match failed {
            _ if is_well => {}
            Some(seed) => panic!("{}", explain(on, seed, &printed)),
            None => panic!("{printed}"),
        }
        // Each program makes this note, so how many were run can be counted.
        let line = printed.lines().find(|line| line.contains("Ended="));
        println!("{on:?}, {count} programs: {}", line.unwrap_or_default());
        let kinds = line.map_or(0, |line| line.split_whitespace().count());
        assert!(
            count < 1000 || kinds == KINDS,
            "{kinds} kinds of notes: {line:?}"
        );
    }
}
