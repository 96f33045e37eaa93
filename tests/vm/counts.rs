//! The counts of instructions: complete, and the same in every run. See the guest program `counts`.

use dormir_harness::cli::bench::counts::{CASES, Count, PROGRAM, RUNTIMES, config, read};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, boot};

/// With more tasks it takes longer.
const MAX: u32 = 64;

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "qemu-tcg/q35::counts-are-complete-and-repeat",
        complete_and_repeat,
    )]
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
                    // The two are to have room, too.
                    "ping_pong" => choice.is_none_or(|(capacity, _)| n + 2 <= capacity),
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
