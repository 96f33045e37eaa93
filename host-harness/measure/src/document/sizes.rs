//! How large guest programs are.

use serde::{Deserialize, Serialize};

/// A program that is measured, and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The runtime in it.
    pub runtime: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// The programs, smallest first.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "size-empty",
        runtime: "floor",
        about: "boots and ends: what is in the others too, dormir's `platform::bare` (tables, \
                interrupts, timers) among it",
    },
    Program {
        name: "size-dormir",
        runtime: "dormir",
        about: "one task of an `Executor<Up64>` sleeps ten times by `Timer`",
    },
    Program {
        name: "size-embassy",
        runtime: "embassy",
        about: "one task of embassy's raw executor does so by embassy-time, on clocks and alarms \
                of the same types, with a driver as those of its hardware crates",
    },
];

/// The runtime in a program; the floor's where the program is not known.
pub(crate) fn runtime_of(program: &str) -> &'static str {
    let known = PROGRAMS.iter().find(|known| known.name == program);
    known.map_or("floor", |known| known.runtime)
}

/// What one program takes, in bytes, by its file's section headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSize {
    /// The program's name.
    pub program: String,
    /// Instructions.
    pub code: u64,
    /// Constants.
    pub constants: u64,
    /// Variables whose first value is in the file.
    pub data: u64,
    /// Variables that begin as zero, stacks among them: in memory, not in the file.
    pub zeroed: u64,
}

impl ImageSize {
    /// What the file has to contain.
    pub(crate) fn loaded(&self) -> u64 {
        self.code + self.constants + self.data
    }
}
