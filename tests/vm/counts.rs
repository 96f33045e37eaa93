//! The instruction counts: complete, the same in every run, and within bounds. See the guest
//! program `counts`.

use dormir_measure::{
    document::counts::{CASES, Count, ISR_TO_POLL, RUNTIMES},
    measuring::counts::{PROGRAM, config, read},
};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot};

/// The largest number of tasks or timers in most tests; more would take longer.
const MAX: u32 = 100;

/// How many tasks there are in the cases without timers...
const TASKS: [u64; 2] = [1, 64];

/// ... how many timers in those with ...
const TIMERS: [u64; 3] = [1, 10, 100];

/// ... and how many blocks in those of the heap.
const BLOCKS: [u64; 2] = [1, 64];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "qemu-tcg/q35::counts-are-complete-and-repeat",
            complete_and_repeat,
        ),
        Trial::test("qemu-tcg/q35::counts-within-bounds", within_bounds),
        Trial::test("qemu-tcg/q35::counts-are-flat", flat),
        Trial::test(
            "qemu-tcg/q35::timer-counts-within-bounds",
            timers_within_bounds,
        ),
        Trial::test(
            "qemu-tcg/q35::timer-counts-of-ten-thousand-within-bounds",
            many_timers_within_bounds,
        ),
        Trial::test(
            "qemu-tcg/q35::heap-counts-within-bounds",
            heap_within_bounds,
        ),
    ]
}

/// Runs the guest for one runtime.
fn count(runtime: &str) -> Result<Vec<Count>, Failed> {
    count_up_to(runtime, MAX)
}

/// Runs the guest for one runtime, with at most `max` tasks or timers.
fn count_up_to(runtime: &str, max: u32) -> Result<Vec<Count>, Failed> {
    let mut config = config(runtime, Some(max));
    config.timeout = LIMIT;
    let run = boot(PROGRAM, &config)?.succeeded()?;
    Ok(read(&run.report.stats)?)
}

/// What a figure is about: runtime, n, case, and for dormir the capacity and `Cpus`.
type Key<'a> = (&'a str, u64, &'a str, Option<(u64, &'a str)>);

fn key(count: &Count) -> Key<'_> {
    let choice = count.capacity.zip(count.cpus.as_deref());
    (&count.runtime, count.n, &count.case, choice)
}

fn tenths(count: &Count) -> u64 {
    (count.instructions * 10.0).round() as u64
}

fn is_of_timers(case: &str) -> bool {
    case.starts_with("timer_")
}

fn is_of_heap(case: &str) -> bool {
    case.starts_with("heap_")
}

fn is_counted_one_by_one(case: &str) -> bool {
    is_of_timers(case) || is_of_heap(case) || case == "spawn_boxed"
}

/// Each runtime reports each case at each number of tasks or timers exactly once, and a second run
/// reports the same. A case that is counted one by one has a worst operation, which takes no less
/// than the mean.
fn complete_and_repeat() -> Result<(), Failed> {
    for runtime in RUNTIMES {
        let counts = count(runtime.name)?;
        let mut found: Vec<_> = counts.iter().map(key).collect();
        let mut expected = expected(runtime.name);
        found.sort_unstable();
        expected.sort_unstable();
        if found != expected {
            return Err(format!("expected {expected:?}, but found {found:?}").into());
        }
        if let Some(count) = counts.iter().find(|count| tenths(count) == 0) {
            return Err(format!("a case takes no instruction: {count:?}").into());
        }
        let has_its_worst = |count: &Count| match count.worst {
            Some(worst) => is_counted_one_by_one(&count.case) && worst * 10 >= tenths(count),
            None => !is_counted_one_by_one(&count.case),
        };
        if let Some(count) = counts.iter().find(|count| !has_its_worst(count)) {
            return Err(format!("the worst operation is wrong: {count:?}").into());
        }
        let again = count(runtime.name)?;
        if counts != again {
            return Err(format!("{counts:?}, and then {again:?}").into());
        }
    }
    Ok(())
}

fn expected(runtime: &'static str) -> Vec<Key<'static>> {
    let choices = match runtime {
        "dormir" => ["shared", "single"]
            .into_iter()
            .flat_map(|cpus| [64, 4096, 65_536].map(|capacity| Some((capacity, cpus))))
            .collect(),
        _ => vec![None],
    };
    let mut keys = Vec::new();
    for choice in choices {
        for case in CASES {
            let numbers: &[u64] = match (case.name, runtime) {
                // Counted by the guest program `sleeps`.
                (ISR_TO_POLL, _) => &[],
                (name, "heap") if is_of_heap(name) => &BLOCKS,
                (name, runtime) if is_of_heap(name) || runtime == "heap" => &[],
                ("spawn_boxed", runtime) if runtime != "dormir" => &[],
                // Its tasks have no results.
                ("join", "embassy") => &[],
                (name, "dormir" | "embassy") if is_of_timers(name) => &TIMERS,
                (name, _) if is_of_timers(name) => &[],
                _ => &TASKS,
            };
            keys.extend(numbers.iter().map(|n| (runtime, *n, case.name, choice)));
        }
    }
    keys
}

/// In an executor of 64, each operation takes at most as much as with embassy, except a spawn:
/// embassy's finds a slot at once in a pool of one, so dormir's spawn has a bound of its own at
/// every n. In larger executors each level may add a bounded number of instructions;
/// docs/costs.md explains which.
fn within_bounds() -> Result<(), Failed> {
    let embassy = count("embassy")?;
    for count in count("dormir")?
        .iter()
        .filter(|count| !is_of_timers(&count.case))
    {
        let peer = embassy
            .iter()
            .find(|peer| (&peer.case, peer.n) == (&count.case, count.n));
        let of_capacity = |bounds: [u64; 3]| match count.capacity {
            Some(64) => bounds[0],
            Some(4096) => bounds[1],
            _ => bounds[2],
        };
        let bound = match (&*count.case, peer) {
            ("spawn", _) => of_capacity([650, 670, 700]),
            ("spawn_boxed", _) => of_capacity([1850, 1870, 1900]),
            ("wake_poll", _) => of_capacity([450, 610, 860]),
            ("ping_pong", _) => of_capacity([550, 620, 750]),
            (_, Some(peer)) if count.capacity == Some(64) => tenths(peer),
            // embassy's tasks have no results.
            _ => continue,
        };
        if tenths(count) > bound {
            let bound = bound as f64 / 10.0;
            return Err(format!("more than {bound} instructions: {count:?}").into());
        }
    }
    Ok(())
}

/// In an executor of one size, an operation takes as long with 64 tasks as with one, within a
/// tenth, or within the one instruction that the compiler may need for the loop around it.
fn flat() -> Result<(), Failed> {
    // Operations whose cost is not divided among n tasks.
    const OPERATIONS: [&str; 5] = [
        "wake_first",
        "wake_dup",
        "wake_poll",
        "ping_pong",
        "empty_pass",
    ];
    let counts = count("dormir")?;
    for one in counts.iter().filter(|count| count.n == 1) {
        if !OPERATIONS.contains(&&*one.case) {
            continue;
        }
        let is_same = |many: &&Count| {
            let setting = |count: &Count| (count.case.clone(), count.capacity, count.cpus.clone());
            many.n == TASKS[1] && setting(many) == setting(one)
        };
        let many = counts.iter().find(is_same).ok_or("a row is missing")?;
        let (few, many) = (tenths(one), tenths(many));
        if few.abs_diff(many) > (few / 10).max(10) {
            return Err(format!("{one:?}, but {many} tenths with {} tasks", TASKS[1]).into());
        }
    }
    Ok(())
}

/// With ten timers or more, each operation takes less than with embassy, whatever the executor's
/// capacity. No single one takes more than 2,000 instructions. One timer in an executor of 64 has
/// bounds of its own: embassy's queue is a list, which has nothing to search then.
fn timers_within_bounds() -> Result<(), Failed> {
    let embassy = count("embassy")?;
    let counts = count("dormir")?;
    for count in counts.iter().filter(|count| is_of_timers(&count.case)) {
        let peer = embassy
            .iter()
            .find(|peer| (&peer.case, peer.n) == (&count.case, count.n))
            .ok_or("a row is missing")?;
        let bound = match (&*count.case, count.n, count.capacity) {
            ("timer_arm", 1, Some(64)) => 1450,
            ("timer_fire", 1, Some(64)) => 1100,
            (_, 1, _) => u64::MAX,
            _ => tenths(peer) - 1,
        };
        if tenths(count) > bound {
            let bound = bound as f64 / 10.0;
            return Err(format!("more than {bound} instructions: {count:?}").into());
        }
        if count.worst.is_none_or(|worst| worst > 2000) {
            return Err(format!("one takes more than 2000 instructions: {count:?}").into());
        }
    }
    Ok(())
}

/// Ten thousand timers in an executor of 64 have bounds of their own for the mean and the worst
/// operation.
fn many_timers_within_bounds() -> Result<(), Failed> {
    const MANY: u32 = 10_000;
    let counts = count_up_to("dormir", MANY)?;
    let mut found = 0;
    for count in counts
        .iter()
        .filter(|count| (count.n, count.capacity) == (u64::from(MANY), Some(64)))
    {
        let bound = match &*count.case {
            "timer_arm" => 2500,
            "timer_fire" => 2000,
            "timer_cancel" => 1500,
            _ => continue,
        };
        found += 1;
        if tenths(count) > bound || count.worst.is_none_or(|worst| worst > 2000) {
            let bound = bound as f64 / 10.0;
            return Err(
                format!("more than {bound} instructions, or one than 2000: {count:?}").into(),
            );
        }
    }
    // Three cases for each choice of `Cpus`.
    if found != 6 {
        return Err(format!("{found} rows: {counts:?}").into());
    }
    Ok(())
}

/// Whatever the number and the layout of blocks, no operation of the heap, which masks interrupts,
/// takes more than 200 instructions.
fn heap_within_bounds() -> Result<(), Failed> {
    let counts = count_up_to("heap", 100_000)?;
    if counts.len() != 10 {
        return Err(format!("{} rows: {counts:?}", counts.len()).into());
    }
    match counts
        .iter()
        .find(|count| count.worst.is_none_or(|worst| worst > 200))
    {
        Some(count) => Err(format!("one takes more than 200 instructions: {count:?}").into()),
        None => Ok(()),
    }
}
