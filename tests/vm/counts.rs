//! The counts of instructions: complete, and the same in every run. See the guest program `counts`.

use dormir_harness::cli::bench::counts::{CASES, Count, PROGRAM, RUNTIMES, config, read};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot};

/// With more tasks it takes longer.
const MAX: u32 = 64;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "qemu-tcg/q35::counts-are-complete-and-repeat",
            complete_and_repeat,
        ),
        Trial::test("qemu-tcg/q35::counts-within-bounds", within_bounds),
        Trial::test("qemu-tcg/q35::counts-are-flat", flat),
    ]
}

/// Runs the guest for one runtime.
fn count(runtime: &str) -> Result<Vec<Count>, Failed> {
    let mut config = config(runtime, Some(MAX));
    config.timeout = LIMIT;
    let run = boot(PROGRAM, &config)?.succeeded()?;
    Ok(read(&run.report.stats)?)
}

/// What a figure is of: runtime, n, case, and where there is a choice of vCPUs, capacity and that.
type Key<'a> = (&'a str, u64, &'a str, Option<(u64, &'a str)>);

fn key(count: &Count) -> Key<'_> {
    let choice = count.capacity.zip(count.cpus.as_deref());
    (&count.runtime, count.n, &count.case, choice)
}

/// Each runtime reports each case at each number of tasks, once, and another run says the same.
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
        if let Some(count) = counts.iter().find(|count| count.instructions.0 == 0) {
            return Err(format!("nothing takes no instruction: {count:?}").into());
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
        for n in [1, u64::from(MAX)] {
            for case in CASES {
                let is_there = match case.name {
                    // Its tasks have no results.
                    "join" => runtime != "embassy",
                    _ => true,
                };
                if is_there {
                    keys.push((runtime, n, case.name, choice));
                }
            }
        }
    }
    keys
}

/// In an executor of 64, each operation takes at most what it takes with embassy. But a spawn: embassy's
/// finds a place at once in a pool of one, so it has a bound of its own, at every n.
fn within_bounds() -> Result<(), Failed> {
    let embassy = count("embassy")?;
    for count in count("dormir")?
        .iter()
        .filter(|count| count.capacity == Some(64))
    {
        let peer = embassy
            .iter()
            .find(|peer| (&peer.case, peer.n) == (&count.case, count.n));
        let bound = match (&*count.case, peer) {
            ("spawn", _) => 650,
            (_, Some(peer)) => peer.instructions.0,
            // embassy's tasks have no results.
            (_, None) => continue,
        };
        if count.instructions.0 > bound {
            let bound = bound as f64 / 10.0;
            return Err(format!("more than {bound} instructions: {count:?}").into());
        }
    }
    Ok(())
}

/// In an executor of one size, an operation takes as long with 64 tasks as with one, give or take a tenth.
fn flat() -> Result<(), Failed> {
    // Those that are not shared out among n tasks.
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
            many.n == u64::from(MAX) && setting(many) == setting(one)
        };
        let many = counts.iter().find(is_same).ok_or("a row is missing")?;
        let (few, many) = (one.instructions.0, many.instructions.0);
        if few.abs_diff(many) * 10 > few {
            return Err(format!("{one:?}, but {many} tenths with {MAX} tasks").into());
        }
    }
    Ok(())
}
