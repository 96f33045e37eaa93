//! Two interrupts in one step: the first one's handler sends the second.
//!
//! `via=interrupt|nmi` is the first, `then=interrupt|nmi` the second. `first=A-B` are the steps of
//! the first, `gap=C-D` how many instructions after it was sent the second comes; 0 is for an
//! interrupt that is pending when the first returns. `wakes=second|both` says whose handler wakes
//! the task. Each step prints one line: the first's K, the gap, both interrupted addresses, and how
//! many instructions after the second the task was polled. With `show=lost` only the first line is
//! printed whose wake is lost; the figures `steps` and `lost` count all. `longest_first` is the
//! last K, and `longest_gap` the longest gap, with which the interrupted vCPU was still awake:
//! beyond these no step differs from another.

use core::{
    ops::RangeInclusive,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use dormir::{
    arch::x86_64::{halt::halt_instruction, interrupt::InterruptFrame, vector},
    interrupt_entry,
    platform::bare,
};
use dormir_guest::{args, console::report, println};
use dormir_programs::{
    hit,
    machine::{Delivery, apic},
};

use crate::{
    idle::Wait,
    machine::{self, Via},
    step,
};

/// A wake that no poll follows within this many instructions is lost.
const LOST: u64 = 100_000;

/// The address that the first has interrupted; 0 if it has not come.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// From the first to the second, in instructions.
static GAP: AtomicU32 = AtomicU32::new(0);
static SECOND_IS_NMI: AtomicBool = AtomicBool::new(false);
static BOTH_WAKE: AtomicBool = AtomicBool::new(false);

/// Puts the handlers into place.
pub(crate) fn install() {
    // SAFETY: the handler only stores, writes to the local APIC, and wakes: `block_on`'s waker is
    // a store.
    unsafe { dormir_guest::set_nmi_handler(on_either) };
    for vector in [vector::APIC_TIMER, vector::FREE] {
        // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
        unsafe { bare::set_interrupt_handler(vector, either_entry) };
    }
}

fn on_either(frame: &InterruptFrame) {
    if FIRST.load(Ordering::Relaxed) != 0 {
        return hit::on_hit(frame);
    }
    FIRST.store(frame.rip, Ordering::Relaxed);
    match GAP.load(Ordering::Relaxed) {
        0 => apic().interrupt_self(vector::FREE),
        gap => {
            set_delivery(SECOND_IS_NMI.load(Ordering::Relaxed));
            apic().start_count(gap);
        }
    }
    if BOTH_WAKE.load(Ordering::Relaxed) {
        hit::wake();
    }
}

extern "sysv64" fn on_interrupt(frame: &InterruptFrame) {
    on_either(frame);
    apic().end_of_interrupt();
}
interrupt_entry!(either_entry => on_interrupt);

fn set_delivery(is_nmi: bool) {
    if is_nmi {
        apic().one_shot_nmi_mode();
    } else {
        apic().one_shot_mode();
    }
}

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
    SECOND_IS_NMI.store(second_is_nmi, Ordering::Relaxed);
    BOTH_WAKE.store(both_wake, Ordering::Relaxed);
    machine::init(Via::Pair, false)?;
    let run = |k: u32, gap: u32| {
        FIRST.store(0, Ordering::Relaxed);
        GAP.store(gap, Ordering::Relaxed);
        set_delivery(first == Delivery::Nmi);
        let outcome = step::run(Via::Pair, k, wait);
        (FIRST.load(Ordering::Relaxed), outcome)
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
