//! The sweep with [two interrupts](crate::pair) in each step.
//!
//! `via=interrupt|nmi` is the first, `then=interrupt|nmi` the second. `first=A-B` are the steps of
//! the first, `gap=C-D` how many instructions after it was sent the second comes; 0 is for an
//! interrupt that is pending when the first returns. `wakes=second|both` says whose handler wakes
//! the task. Each step prints one line: the first's K, the gap, both interrupted addresses, and how
//! many instructions after the second the task was polled. With `show=lost` only the first line is
//! printed whose wake is lost; the figures `steps` and `lost` count all. `longest_first` is the
//! last K, and `longest_gap` the longest gap, with which the interrupted vCPU was still awake:
//! beyond these no step differs from another.

use core::ops::RangeInclusive;

use dormir::arch::x86_64::halt::halt_instruction;
use dormir_guest::{args, console::report, println};
use dormir_programs::machine::Delivery;

use crate::{
    idle::Wait,
    machine::{self, Via},
    pair, step,
};

/// A wake that no poll follows within this many instructions is lost.
const LOST: u64 = 100_000;

/// Sweeps as the arguments say.
pub(crate) fn sweep(via: Via, then: &str, wait: Wait) -> Result<(), &'static str> {
    let Via::Hit(first) = via else {
        return Err("then= follows via=interrupt or via=nmi");
    };
    let second_is_nmi = match then {
        "interrupt" => false,
        "nmi" => true,
        _ => return Err("then= is interrupt or nmi"),
    };
    let both_wake = match args::value("wakes") {
        Some("second") => false,
        Some("both") => true,
        _ => return Err("missing wakes=second|both"),
    };
    let shows_all = args::value("show") != Some("lost");
    let (firsts, gaps) = (range("first")?, range("gap")?);
    if *firsts.start() == 0 || (second_is_nmi && *gaps.start() == 0) {
        return Err("a count begins at 1");
    }
    pair::choose(second_is_nmi, both_wake);
    machine::init(Via::Pair, false)?;
    let run = |k: u32, gap: u32| {
        pair::aim(first == Delivery::Nmi, gap);
        let outcome = step::run(Via::Pair, k, wait);
        (pair::first(), outcome)
    };
    // The first step also runs code that runs only once; its result is not printed.
    run(*firsts.start(), *gaps.start());
    let (mut steps, mut lost) = (0_u64, 0_u64);
    let (mut longest_first, mut longest_gap) = (0, 0);
    // An interrupt that ends a `hlt` returns behind it.
    let asleep = halt_instruction() + 1;
    for k in firsts {
        for gap in gaps.clone() {
            let (first, outcome) = run(k, gap);
            assert!(first != 0 && outcome.interrupted != 0, "one did not come");
            let is_lost = outcome.late > LOST;
            if shows_all || (is_lost && lost == 0) {
                let (second, late) = (outcome.interrupted, outcome.late);
                println!("{k} {gap} {first:#x} {second:#x} {late}");
            }
            if first != asleep {
                longest_first = longest_first.max(k);
            }
            if outcome.interrupted != asleep {
                longest_gap = longest_gap.max(gap);
            }
            steps += 1;
            lost += u64::from(is_lost);
        }
    }
    report("steps", steps);
    report("lost", lost);
    report("longest_first", longest_first.into());
    report("longest_gap", longest_gap.into());
    Ok(())
}

/// The argument `NAME=A-B`.
fn range(name: &str) -> Result<RangeInclusive<u32>, &'static str> {
    let parse = || {
        let (start, end) = args::value(name)?.split_once('-')?;
        Some(start.parse().ok()?..=end.parse().ok()?)
    };
    parse().ok_or("missing first=A-B or gap=C-D, for example first=1-400 gap=0-0")
}
