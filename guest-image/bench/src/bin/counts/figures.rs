//! The figures, as they are reported to the harness.

use core::fmt::Write;

use alloc::string::String;

/// What operations took that were counted one by one.
pub(crate) struct Tally {
    operations: usize,
    instructions: u64,
    worst: u64,
}

impl Tally {
    /// No operation yet.
    pub(crate) const fn new() -> Self {
        Self {
            operations: 0,
            instructions: 0,
            worst: 0,
        }
    }

    /// Adds an operation.
    pub(crate) fn add(&mut self, instructions: u64) {
        self.operations += 1;
        self.instructions += instructions;
        self.worst = self.worst.max(instructions);
    }
}

/// What a figure is of, apart from the case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// The runtime's name.
    pub(crate) runtime: &'static str,
    /// How many tasks there are; in the cases of timers, how many timers.
    pub(crate) n: usize,
    /// How many there is room for, where that is fixed.
    pub(crate) capacity: Option<usize>,
    /// Whether other vCPUs may wake (`shared`) or not (`single`), where the runtime has the choice.
    pub(crate) cpus: Option<&'static str>,
}

impl Subject {
    /// Reports what one of `operations` takes that took `instructions` together: in tenths, rounded
    /// half up, under the name `RUNTIME/CASE/N/CAPACITY/CPUS/instructions_x10`. What does not apply
    /// is a dash.
    pub(crate) fn report(&self, case: &str, instructions: u64, operations: usize) {
        let operations = operations as u64;
        let tenths = (instructions * 10 + operations / 2) / operations;
        self.report_as(case, "instructions_x10", tenths);
    }

    /// Reports the mean of what was tallied, as [`report`](Self::report) does, and then the worst, in
    /// instructions, under the same name but for `worst` at its end.
    pub(crate) fn report_tally(&self, case: &str, tally: &Tally) {
        self.report(case, tally.instructions, tally.operations);
        self.report_as(case, "worst", tally.worst);
    }

    fn report_as(&self, case: &str, what: &str, value: u64) {
        let mut name = String::new();
        let Self { runtime, n, .. } = self;
        let cpus = self.cpus.unwrap_or("-");
        // Writing to a string does not fail.
        let _ = write!(name, "{runtime}/{case}/{n}/");
        let _ = match self.capacity {
            Some(capacity) => write!(name, "{capacity}"),
            None => write!(name, "-"),
        };
        let _ = write!(name, "/{cpus}/{what}");
        dormir_guest::console::report(&name, value);
    }
}
