//! Figures, and how they are reported to the harness.

use core::fmt::Write;

use alloc::string::String;

use dormir::platform::bare::TimerSource;

/// The sum and the maximum of operations that are counted one by one.
#[derive(Debug, Default)]
pub struct Tally {
    operations: u64,
    instructions: u64,
    worst: u64,
}

impl Tally {
    /// An empty tally.
    pub const fn new() -> Self {
        Self {
            operations: 0,
            instructions: 0,
            worst: 0,
        }
    }

    /// Adds an operation.
    pub fn add(&mut self, instructions: u64) {
        self.operations += 1;
        self.instructions += instructions;
        self.worst = self.worst.max(instructions);
    }
}

/// What a figure is about, besides the case.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The runtime's name.
    pub runtime: &'static str,
    /// How many tasks there are; in the cases of timers, how many timers.
    pub n: usize,
    /// The capacity, where it is fixed.
    pub capacity: Option<usize>,
    /// Whether other vCPUs may wake (`shared`) or not (`single`), where the runtime offers the
    /// choice.
    pub cpus: Option<&'static str>,
}

impl Subject {
    /// Reports the mean of `operations` that took `instructions` in total: in tenths, rounded half
    /// up, under the name `RUNTIME/CASE/N/CAPACITY/CPUS/instructions_x10`. A part that does not
    /// apply is a dash.
    pub fn report(&self, case: &str, instructions: u64, operations: usize) {
        let tenths = mean_x10(instructions, operations as u64);
        self.report_as(case, None, "instructions_x10", tenths);
    }

    /// Reports the mean of a tally, as [`report`](Self::report) does, and then the worst operation,
    /// in instructions, under the same name with `worst` as its last part.
    pub fn report_tally(&self, case: &str, tally: &Tally) {
        self.report_tally_as(case, None, tally);
    }

    /// Does the same for a case that depends on the timer, whose name follows CPUS.
    pub fn report_tally_with(&self, case: &str, timer: TimerSource, tally: &Tally) {
        self.report_tally_as(case, Some(timer), tally);
    }

    /// Reports another value of a case that depends on the timer, under the name
    /// `RUNTIME/CASE/N/CAPACITY/CPUS/TIMER/what`.
    pub fn report_with(&self, case: &str, timer: TimerSource, what: &str, value: u64) {
        self.report_as(case, Some(timer), what, value);
    }

    fn report_tally_as(&self, case: &str, timer: Option<TimerSource>, tally: &Tally) {
        self.report_as(
            case,
            timer,
            "instructions_x10",
            mean_x10(tally.instructions, tally.operations),
        );
        self.report_as(case, timer, "worst", tally.worst);
    }

    fn report_as(&self, case: &str, timer: Option<TimerSource>, what: &str, value: u64) {
        let mut name = String::new();
        let Self { runtime, n, .. } = self;
        let cpus = self.cpus.unwrap_or("-");
        // Writing to a string never fails.
        let _ = write!(name, "{runtime}/{case}/{n}/");
        let _ = match self.capacity {
            Some(capacity) => write!(name, "{capacity}"),
            None => write!(name, "-"),
        };
        let _ = write!(name, "/{cpus}/");
        if let Some(timer) = timer {
            let _ = write!(name, "{timer}/");
        }
        let _ = write!(name, "{what}");
        dormir_guest::console::report(&name, value);
    }
}

/// Returns the mean in tenths, rounded half up.
fn mean_x10(instructions: u64, operations: u64) -> u64 {
    (instructions * 10 + operations / 2) / operations
}
