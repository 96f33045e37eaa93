//! What is shown of counted instructions.

use super::tables::{Figure, markdown, recorded, row, series, version};
use crate::{
    document::counts::{Count, CountsDocument, Exits, ISR_TO_POLL},
    report::{names, numbers::grouped},
};

/// The rows of operations: what each is called, its case, and the number of tasks.
const TASKS: &[(&str, &str, u64)] = &[
    ("wake a task", "wake_first", 64),
    ("wake it once more", "wake_dup", 64),
    ("wake and poll one task", "wake_poll", 64),
    (
        "the same for all of 64 tasks, per task",
        "wake_all_poll_all",
        64,
    ),
    (
        "two of 64 tasks wake each other, per switch",
        "ping_pong",
        64,
    ),
    ("spawn one task of 64", "spawn", 64),
    ("spawn, end and join, per task", "join", 64),
];

/// The columns: an executor's capacity and who may wake.
const EXECUTORS: [(u64, &str); 4] = [
    (64, "shared"),
    (64, "single"),
    (4096, "shared"),
    (4096, "single"),
];

/// How many timers are pending.
const TIMERS: &[u64] = &[1, 10, 1000, 10_000, 100_000];

/// The cases of timers, in the order of the columns.
const TIMER_CASES: [&str; 3] = ["timer_arm", "timer_fire", "timer_cancel"];

/// The figure of this kind; an inner `None` where the record does not have it.
pub(super) fn figure(
    document: &CountsDocument,
    kind: &str,
    subject: &str,
) -> Option<Option<Figure>> {
    Some(match (kind, subject) {
        ("counts-tasks", "") => Some(Figure::Table(tasks(document))),
        ("counts-timers", "") => Some(Figure::Table(timers(document))),
        ("counts-sleeps", "") => Some(Figure::Table(sleeps(document))),
        ("counts-record", "") => Some(Figure::Value(record(document))),
        ("slack", "") => slack(document).map(Figure::Value),
        ("count", subject) => {
            find(document, subject).map(|count| Figure::Value(whole(count.instructions)))
        }
        ("worst", subject) => find(document, subject)
            .and_then(|count| count.worst)
            .map(|worst| Figure::Value(grouped(worst))),
        _ => return None,
    })
}

/// The figure of `RUNTIME/CASE/N/CAPACITY/CPUS`, as the guest names it.
fn find<'a>(document: &'a CountsDocument, subject: &str) -> Option<&'a Count> {
    let wanted = Count::of(subject, 0.0)?;
    document.counts.iter().find(|count| {
        let same = Count {
            instructions: 0.0,
            worst: None,
            ..(*count).clone()
        };
        same == wanted
    })
}

/// dormir's figure, of an executor of this capacity.
fn dormir<'a>(
    document: &'a CountsDocument,
    (case, n): (&str, u64),
    (capacity, cpus): (u64, &str),
) -> Option<&'a Count> {
    document.counts.iter().find(|count| {
        (&*count.runtime, &*count.case, count.n) == ("dormir", case, n)
            && (count.capacity, count.cpus.as_deref()) == (Some(capacity), Some(cpus))
    })
}

fn embassy<'a>(document: &'a CountsDocument, (case, n): (&str, u64)) -> Option<&'a Count> {
    let mut counts = document.counts.iter();
    counts.find(|count| (&*count.runtime, &*count.case, count.n) == ("embassy", case, n))
}

/// To the nearest whole number, and of two as near the larger.
fn whole(instructions: f64) -> String {
    grouped(instructions.round() as u64)
}

fn mean(count: Option<&Count>) -> String {
    count.map_or_else(|| "not measured".into(), |count| whole(count.instructions))
}

/// The mean, and in parentheses the worst operation.
fn with_worst(count: Option<&Count>) -> String {
    match count.and_then(|count| count.worst) {
        Some(worst) => format!("{} ({})", mean(count), grouped(worst)),
        None => mean(count),
    }
}

fn tasks(document: &CountsDocument) -> String {
    let embassys = series(&document.versions, "embassy-executor").unwrap_or_default();
    let embassys = format!("embassy-executor {embassys}");
    let header = [
        "",
        "dormir, `Up64`",
        "with `SingleVcpu`",
        "dormir, `Up4096`",
        "with `SingleVcpu`",
    ];
    let header: Vec<String> = header
        .map(str::to_owned)
        .into_iter()
        .chain([embassys])
        .collect();
    let rows = TASKS.iter().map(|&(name, case, n)| {
        let ours = EXECUTORS.map(|executor| mean(dormir(document, (case, n), executor)));
        let theirs = match case {
            // Its tasks have no results.
            "join" => "has none".into(),
            case => mean(embassy(document, (case, n))),
        };
        row(name, ours.into_iter().chain([theirs]))
    });
    markdown(&header, &rows.collect::<Vec<_>>())
}

fn timers(document: &CountsDocument) -> String {
    let header = [
        "n",
        "arm",
        "fire",
        "cancel",
        "embassy: arm",
        "fire",
        "cancel",
    ];
    let rows = TIMERS.iter().map(|&n| {
        let ours = TIMER_CASES.map(|case| with_worst(dormir(document, (case, n), EXECUTORS[0])));
        let theirs = TIMER_CASES.map(|case| mean(embassy(document, (case, n))));
        row(&grouped(n), ours.into_iter().chain(theirs))
    });
    markdown(&header.map(str::to_owned), &rows.collect::<Vec<_>>())
}

/// The sleeps of one task that were stepped through.
fn sleeps(document: &CountsDocument) -> String {
    let header = [
        "timer",
        "alarm writes",
        "halts",
        "EOIs",
        "other exits",
        "from the interrupt's first instruction to the task's, `Up64`",
    ];
    let stepped = |exits: &&Exits| exits.others.is_some() && exits.tasks == 1;
    let rows = document.exits.iter().filter(stepped).map(|exits| {
        let writes = match &*exits.timer {
            // It takes a count as two bytes.
            "pit" => format!("{} (two bytes)", per_sleep(exits.alarm_writes / 2.0)),
            _ => per_sleep(exits.alarm_writes),
        };
        let path = document.counts.iter().find(|count| {
            (&*count.case, count.timer.as_deref()) == (ISR_TO_POLL, Some(&*exits.timer))
                && (count.capacity, count.cpus.as_deref()) == (Some(64), Some("shared"))
        });
        let others = exits.others.map(per_sleep).unwrap_or_default();
        let figures = [
            per_sleep(exits.halts),
            per_sleep(exits.eois),
            others,
            mean(path),
        ];
        let timer = match &*exits.timer {
            timer @ ("x2apic" | "xapic") => format!("{}, one-shot", names::timer(timer)),
            timer => names::timer(timer).to_owned(),
        };
        row(&timer, [writes].into_iter().chain(figures))
    });
    markdown(&header.map(str::to_owned), &rows.collect::<Vec<_>>())
}

/// What slack leaves of the alarm writes of a sleep.
fn slack(document: &CountsDocument) -> Option<String> {
    let exits = document.exits.iter().find(|exits| exits.slack_ns > 0)?;
    Some(per_sleep(exits.alarm_writes))
}

/// As in `1`, `0.38`.
fn per_sleep(events: f64) -> String {
    if events.fract() == 0.0 {
        return events.to_string();
    }
    format!("{events:.2}")
}

/// As in `2026-01-02, rustc 1.95.0, QEMU 7.2.22`.
fn record(document: &CountsDocument) -> String {
    let versions = &document.versions;
    let software = [
        version(versions, "rustc", "rustc"),
        version(versions, "qemu", "QEMU"),
    ];
    recorded(document.date.as_ref(), &software)
}
