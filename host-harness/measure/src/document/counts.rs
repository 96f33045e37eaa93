//! What was counted: instructions of operations, and what sleeps ask the machine for.

use super::{Host, Versions, now};
use serde::{Deserialize, Serialize};

/// A runtime that is counted.
#[derive(Clone, Copy, Debug)]
pub struct Runtime {
    /// Its name, for the guest's argument `runtime=` too.
    pub name: &'static str,
    /// The packages whose versions are shown with its figures.
    pub packages: &'static [&'static str],
    /// How it is used here, and which parts of its figures are not its own.
    pub note: &'static str,
}

/// The runtimes, in the order of the table's columns.
pub const RUNTIMES: &[Runtime] = &[
    Runtime {
        name: "dormir",
        packages: &["dormir"],
        note: "SandboxRunner::pass; below the name the executor's capacity, and whether other vCPUs may \
               wake its tasks (shared) or not (single). Tasks lie in a static pool for n; spawn is \
               spawn_detached, join has what a handle costs. All n timers are one task's; they are \
               served as in SandboxRunner::run: by TimerQueue::turn, after each pass",
    },
    Runtime {
        name: "embassy",
        packages: &[
            "embassy-executor",
            "embassy-time",
            "embassy-time-queue-utils",
        ],
        note: "the raw executor, with an empty pender. Tasks lie in a static pool for n, in which \
               each spawn looks for a free place from the first on. They have no results, so no \
               join. Timers are embassy-time's with the queue that is integrated into tasks, so n \
               timers are n tasks'; whatever changes the queue goes through all of it",
    },
    Runtime {
        name: "edge",
        packages: &["edge-executor"],
        note: "LocalExecutor with a BoundQueue for n, a pass by try_tick until nothing is ready \
               (polling its run() costs more). Tasks lie on the heap, whose cost is in spawn and \
               join",
    },
    Runtime {
        name: "futures-unordered",
        packages: &["futures-util"],
        note: "FuturesUnordered, a pass by poll_next with a waker that does nothing. Futures lie \
               on the heap, whose cost is in spawn and join",
    },
    Runtime {
        name: "heap",
        packages: &["rlsf"],
        note: "no runtime, but dormir-guest's heap: what a box costs, wherever one is made. n is \
               how many blocks there are, of up to 4 KiB. Interrupts are masked meanwhile, so the \
               worst holds them up",
    },
];

/// What holds for all runtimes alike.
pub(crate) const NOTES: &[&str] = &[
    "n is how many tasks there are (in ping_pong two where n is 1), or in the rows of timers how \
     many timers are pending. An instruction is one of the guest's, whatever time it takes",
    "timers: the mean of all operations, and in parentheses the worst single one. In each of 1,000 \
     rounds the first deadline passes, that timer is made anew, one is cancelled, and that one is \
     made anew; new deadlines lie among those that are pending. Clock and alarm are the bench's \
     own and the same for all: one RDTSC and an addition, and one store",
    "the heap is TLSF, by the crate rlsf, and masks interrupts while it works, as critical \
     sections do",
    "isr_to_poll: behind it stands the timer. With xapic it is counted as the rest is, the mean of \
     100; with the others our own VMM steps through it under KVM, where it waits for 3 sleeps. \
     What is dormir's lies between: the handler with its acknowledgement, the return to the loop, \
     the timer's way out of the queue, the wake, the pass",
    "at 65536 are left out: embassy, whose pool would be searched through at each spawn, and edge, \
     whose queue is made on the stack and larger than that. Timers: embassy at 100000, which would \
     need minutes; edge and futures-unordered, which have none",
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
        about: "a switch between two tasks that wake each other, the first spawned and the last: \
                the mean of 10,000",
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
        about: "a wake of a task, the pass in which it makes a timer and polls it, and the alarm \
                if that has to be set: n timers are pending then",
    },
    Case {
        name: "timer_fire",
        about: "a deadline has passed: from the alarm's handler to where the task has found its \
                timer ready. The alarm is set to the next deadline on the way",
    },
    Case {
        name: "timer_cancel",
        about: "a pending timer dropped. embassy's costs nothing to drop, but stays in the queue: \
                there it is what the alarm's handler and the needless poll take at its deadline",
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
        about: "the vCPU halts in SandboxRunner::run until a task's timer is due: from the first \
                instruction of the timer interrupt's entry to the first of that task's future",
    },
];

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// The runtime's name.
    pub runtime: String,
    /// The case's name.
    pub case: String,
    /// How many tasks there were, or how many timers.
    pub n: u64,
    /// How many could exist at once, where that is fixed.
    pub capacity: Option<u64>,
    /// Whether other vCPUs could wake (`shared`) or not (`single`), where the runtime has the
    /// choice.
    pub cpus: Option<String>,
    /// The timer source, where the case depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// What one operation took, in the mean, to a tenth.
    pub instructions: f64,
    /// What the worst single one took, where they were counted one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<u64>,
}

impl Count {
    /// A figure of `RUNTIME/CASE/N/CAPACITY/CPUS`, where a dash is what does not apply; `/TIMER`
    /// follows where the case depends on it.
    pub(crate) fn of(subject: &str, instructions: f64) -> Option<Self> {
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
            instructions,
            worst: None,
        })
    }
}

/// What a number of sleeps asked the machine for, each in the mean, to a thousandth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exits {
    /// The runtime's name.
    pub runtime: String,
    /// The timer source.
    pub timer: String,
    /// How many tasks slept.
    pub tasks: u64,
    /// The queue's slack.
    pub slack_ns: u64,
    /// How often they slept, together.
    pub sleeps: u64,
    /// Writes to the alarm; the PIT takes two for a count.
    pub alarm_writes: f64,
    /// Executions of `hlt`.
    pub halts: f64,
    /// Acknowledged interrupts.
    pub eois: f64,
    /// What else leaves the processor, where that was looked for: other ports, MSRs, and registers
    /// of the local APIC, read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
}

/// The layout of the document; another number is another layout.
pub(crate) const SCHEMA: u32 = 1;

/// All that was counted in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountsDocument {
    pub(crate) schema: u32,
    /// When the run ended, in UTC. Older files do not have it, nor the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<Host>,
    pub(crate) counts: Vec<Count>,
    pub(crate) exits: Vec<Exits>,
    /// What could not be counted, and why: sentences without their full stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left_out: Vec<String>,
    /// Packages, compiler and QEMU, with their versions.
    pub(crate) versions: Versions,
}

impl CountsDocument {
    pub(crate) fn new(host: Host, versions: Versions) -> Self {
        Self {
            schema: SCHEMA,
            date: Some(now()),
            host: Some(host),
            counts: Vec::new(),
            exits: Vec::new(),
            left_out: Vec::new(),
            versions,
        }
    }

    /// The document as text.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests;
