//! The figures, as they are reported to the harness.

use core::fmt::Write;

use alloc::string::String;

/// What a figure is of, apart from the case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// The runtime's name.
    pub(crate) runtime: &'static str,
    /// How many tasks there are.
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
        let mut name = String::new();
        let Self { runtime, n, .. } = self;
        let cpus = self.cpus.unwrap_or("-");
        // Writing to a string does not fail.
        let _ = write!(name, "{runtime}/{case}/{n}/");
        let _ = match self.capacity {
            Some(capacity) => write!(name, "{capacity}"),
            None => write!(name, "-"),
        };
        let _ = write!(name, "/{cpus}/instructions_x10");
        dormir_guest::console::report(&name, tenths);
    }
}
