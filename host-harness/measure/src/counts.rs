//! The figures of the guest program `counts`: what it is run with, and what it reports.

use dormir_harness::vmm::{Accelerator, Machine, RunConfig, Vmm};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, time::Duration};

/// The guest program.
pub const PROGRAM: &str = "counts";

/// A runtime that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// Its name, for the guest's argument `runtime=` too.
    pub name: &'static str,
    /// The packages whose versions are shown with its figures.
    pub packages: &'static [&'static str],
    /// How it is used here, and what of its figures is not its own doing.
    pub note: &'static str,
}

/// The runtimes, in the order of the table's columns.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "dormir",
        packages: &["dormir"],
        note: "Runner::pass; below the name the executor's capacity, and whether other vCPUs may wake its \
               tasks (shared) or not (single). Tasks lie in a static pool for n; spawn is \
               spawn_detached, join has what a handle costs. All n timers are one task's; they are served \
               as in Runner::run: by TimerQueue::turn, after each pass",
    },
    Runtime {
        name: "embassy",
        packages: &[
            "embassy-executor",
            "embassy-time",
            "embassy-time-queue-utils",
        ],
        note: "the raw executor, with an empty pender. Tasks lie in a static pool for n, in which each \
               spawn looks for a free place from the first on. They have no results, so no join. Timers \
               are embassy-time's with the queue that is integrated into tasks, so n timers are n tasks'; \
               whatever changes the queue goes through all of it",
    },
    Runtime {
        name: "edge",
        packages: &["edge-executor"],
        note: "LocalExecutor with a BoundQueue for n, a pass by try_tick until nothing is ready \
               (polling its run() costs more). Tasks lie on the heap, whose cost is in spawn and join",
    },
    Runtime {
        name: "futures-unordered",
        packages: &["futures-util"],
        note: "FuturesUnordered, a pass by poll_next with a waker that does nothing. Futures lie on the \
               heap, whose cost is in spawn and join",
    },
    Runtime {
        name: "heap",
        packages: &["rlsf"],
        note: "no runtime, but dormir-guest's heap: what a box costs, wherever one is made. n is how many \
               blocks there are, of up to 4 KiB. Interrupts are masked meanwhile, so the worst holds them up",
    },
];

/// What holds for all runtimes alike.
pub(super) const NOTES: &[&str] = &[
    "n is how many tasks there are (in ping_pong two where n is 1), or in the rows of timers how many \
     timers are pending. An instruction is one of the guest's, whatever time it takes",
    "timers: the mean of all operations, and in parentheses the worst single one. In each of 1,000 rounds \
     the first deadline passes, that timer is made anew, one is cancelled, and that one is made anew; new \
     deadlines lie among those that are pending. Clock and alarm are the bench's own and the same for \
     all: one RDTSC and an addition, and one store",
    "the heap is TLSF, by the crate rlsf, and masks interrupts while it works, as critical sections do",
    "isr_to_poll: behind it stands the timer. With xapic it is counted as the rest is, the mean of 100; with \
     the others our own VMM steps through it under KVM, where it waits for 3 sleeps. What is dormir's lies \
     between: the handler with its acknowledgement, the return to the loop, the timer's way out of the \
     queue, the wake, the pass",
    "at 65536 are left out: embassy, whose pool would be searched through at each spawn, and edge, \
     whose queue is made on the stack and larger than that. Timers: embassy at 100000, which would need \
     minutes; edge and futures-unordered, which have none",
];

/// The case that depends on the timer.
pub const ISR_TO_POLL: &str = "isr_to_poll";

/// A case: one kind of operation.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What one operation is.
    pub about: &'static str,
}

/// The cases, in the order of the table's rows.
pub const CASES: &[Case] = &[
    Case {
        name: "wake_first",
        about: "a wake of a task that is not queued, alone: the mean of 100",
    },
    Case {
        name: "wake_dup",
        about: "a wake of a task that is queued already, in a loop of 100 that is counted too",
    },
    Case {
        name: "wake_poll",
        about: "a wake of one task and a pass that polls it, in a loop of 100 that is counted too",
    },
    Case {
        name: "wake_all_poll_all",
        about: "n wakes and one pass that polls n tasks, per task",
    },
    Case {
        name: "ping_pong",
        about: "a switch between two tasks that wake each other, the first spawned and the last: the \
                mean of 10,000",
    },
    Case {
        name: "spawn",
        about: "n tasks spawned and not yet polled, per task",
    },
    Case {
        name: "spawn_boxed",
        about: "the same of tasks on the heap (Task::boxed), one by one",
    },
    Case {
        name: "join",
        about: "n tasks spawned, ended at their first poll, and their results taken, per task",
    },
    Case {
        name: "empty_pass",
        about: "a pass with nothing ready, in a loop of 100 that is counted too",
    },
    Case {
        name: "timer_arm",
        about: "a wake of a task, the pass in which it makes a timer and polls it, and the alarm if that \
                has to be set: n timers are pending then",
    },
    Case {
        name: "timer_fire",
        about: "a deadline has passed: from the alarm's handler to where the task has found its timer \
                ready. The alarm is set to the next deadline on the way",
    },
    Case {
        name: "timer_cancel",
        about: "a pending timer dropped. embassy's costs nothing to drop, but stays in the queue: there it \
                is what the alarm's handler and the needless poll take at its deadline",
    },
    Case {
        name: "heap_alloc",
        about: "a block allocated while there are n others, of any size, in no order",
    },
    Case {
        name: "heap_free",
        about: "one of them freed",
    },
    Case {
        name: ISR_TO_POLL,
        about: "the vCPU halts in Runner::run until a task's timer is due: from the first instruction of \
                the timer interrupt's entry to the first of that task's future",
    },
];

/// What `--help` says of the cases.
pub(super) fn cases_help() -> String {
    let case = |case: &Case| format!("\n  {:18} {}", case.name, case.about);
    let cases: String = CASES.iter().map(case).collect();
    let names: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.name).collect();
    format!(
        "The runtimes: {}.\n\nThe cases, at n = 1, 64, 1024, 4096 and 65536 tasks that only return \
         Pending, of timers at n = 1, 10, 100, 1000, 4000, 10000 and 100000 (isr_to_poll: at 1), and of the \
         heap at n = 1, 64, 1000, 10000 and 100000 blocks:{cases}\n\n{}",
        names.join(", "),
        super::exits::ABOUT
    )
}

/// Far more than one runtime takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Room for 65536 futures on a heap, or 100000 timers.
const MEMORY_MIB: u32 = 256;

/// How the guest is run to count `runtime`; with at most `max` tasks or timers, if that is given.
#[must_use]
pub fn config(runtime: &str, max: Option<u32>) -> RunConfig {
    let max = max.map_or(String::new(), |max| format!(" max={max}"));
    RunConfig {
        memory_mib: MEMORY_MIB,
        timeout: LIMIT,
        arguments: format!("runtime={runtime}{max}"),
        count_instructions: true,
        ..RunConfig::new(Vmm::Qemu(Accelerator::Tcg, Machine::Q35))
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The runtime's name.
    pub runtime: String,
    /// The case's name.
    pub case: String,
    /// How many tasks there were, or how many timers.
    pub n: u64,
    /// How many there was room for, where that is fixed.
    pub capacity: Option<u64>,
    /// Whether other vCPUs could wake (`shared`) or not (`single`), where the runtime has the choice.
    pub cpus: Option<String>,
    /// The timer source, where the case depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// What one operation took, in the mean.
    pub instructions: Tenths,
    /// What the worst single one took, where they were counted one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<u64>,
}

/// A number of instructions, in tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenths(pub u64);

/// As in `41.3`.
impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.0 / 10, self.0 % 10))
    }
}

/// A number with one digit behind the point: of all floats, the nearest one is written so.
impl Serialize for Tenths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 10.0)
    }
}

impl<'de> Deserialize<'de> for Tenths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A negative number, or none at all, becomes 0.
        Ok(Self((f64::deserialize(deserializer)? * 10.0).round() as u64))
    }
}

/// The guest reported something that is no figure of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guest reported `{name} {value}`, which is no count that this command knows: build command \
     and guest from the same sources"
)]
pub struct NotACount {
    pub(super) name: String,
    pub(super) value: u64,
}

/// Reads what a guest reported.
///
/// # Errors
///
/// The first thing that is no count.
pub fn read(stats: &[(String, u64)]) -> Result<Vec<Count>, NotACount> {
    let mut counts: Vec<Count> = Vec::new();
    for (name, value) in stats {
        let known = match name.rsplit_once('/') {
            Some((subject, "instructions_x10")) => {
                Count::read(subject, *value).map(|count| counts.push(count))
            }
            Some((subject, "worst")) => add_worst(&mut counts, subject, *value),
            _ => None,
        };
        known.ok_or_else(|| NotACount {
            name: name.clone(),
            value: *value,
        })?;
    }
    Ok(counts)
}

/// Adds the worst operation to the count of the same subject, which was reported just before.
fn add_worst(counts: &mut [Count], subject: &str, worst: u64) -> Option<()> {
    let last = counts.last_mut()?;
    // Not if it has one already.
    let is_same = Count::read(subject, last.instructions.0)? == *last;
    is_same.then(|| last.worst = Some(worst))
}

impl Count {
    /// Reads `RUNTIME/CASE/N/CAPACITY/CPUS`, where a dash is what does not apply; `/TIMER` follows where the
    /// case depends on it.
    pub(super) fn read(subject: &str, tenths: u64) -> Option<Self> {
        let parts: Vec<&str> = subject.split('/').collect();
        let (&[runtime, case, n, capacity, cpus], timer) = match parts.as_slice() {
            [parts @ .., timer] if parts.len() == 5 => (parts.first_chunk()?, Some(*timer)),
            parts if parts.len() == 5 => (parts.first_chunk()?, None),
            _ => return None,
        };
        if timer.is_some() != (case == ISR_TO_POLL) || timer == Some("") {
            return None;
        }
        if runtime.is_empty() || !CASES.iter().any(|known| known.name == case) {
            return None;
        }
        let capacity = match capacity {
            "-" => None,
            capacity => Some(capacity.parse().ok()?),
        };
        let cpus = match cpus {
            "-" => None,
            "shared" | "single" => Some(cpus.to_owned()),
            _ => return None,
        };
        Some(Self {
            runtime: runtime.to_owned(),
            case: case.to_owned(),
            n: n.parse().ok()?,
            capacity,
            cpus,
            timer: timer.map(str::to_owned),
            instructions: Tenths(tenths),
            worst: None,
        })
    }
}

#[cfg(test)]
mod tests;
