//! Guests that end badly: each end is recognised as what it is.

use std::time::Duration;

use dormir_harness::vmm::{Outcome, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{boot, config, is_fault, is_panic, on_every_vmm};

/// Enough time to boot and hang.
const HANG_LIMIT: Duration = Duration::from_secs(5);

type Expectation = fn(Vmm, &Outcome) -> bool;

const ENDINGS: &[(&str, Expectation)] = &[
    ("end-exit-7", |_, outcome| *outcome == Outcome::Exited(7)),
    ("end-exit-255", |_, outcome| {
        *outcome == Outcome::Exited(255) && outcome.to_string().contains("code 255")
    }),
    ("end-marked-lines", |_, outcome| {
        *outcome == Outcome::Exited(7)
    }),
    ("end-panic", |_, outcome| {
        is_panic(outcome, "a panic of two lines") && is_panic(outcome, "panics.rs:")
    }),
    ("end-panic-long-value", |_, outcome| {
        is_panic(outcome, &"a".repeat(300))
    }),
    ("end-panic-long-literal", |_, outcome| {
        is_panic(outcome, "tried before. as an assertion") && is_panic(outcome, "tried before. ")
    }),
    // More than a record holds: its beginning, and a mark that it was cut.
    ("end-panic-long-error", |_, outcome| {
        is_panic(outcome, "opening the device: \"éééé") && is_panic(outcome, "éé...")
    }),
    ("end-panic-long-list", |_, outcome| {
        is_panic(outcome, "lists differ   left: [1, 1,") && is_panic(outcome, "right: [2, 2,")
    }),
    ("end-panic-in-task", |_, outcome| {
        is_panic(outcome, "task endings::panics::unlucky: ") && is_panic(outcome, ": no luck")
    }),
    ("end-panic-after-task", |_, outcome| {
        is_panic(outcome, "the luck is over") && !is_panic(outcome, "lucky")
    }),
    ("end-panic-hook", |_, outcome| {
        is_panic(outcome, "the first panic")
    }),
    ("end-panic-hook-exits", |_, outcome| {
        *outcome == Outcome::Exited(9)
    }),
    ("end-panic-in-hook", |_, outcome| {
        is_panic(outcome, "again: the first panic")
    }),
    ("end-out-of-memory", |_, outcome| {
        is_panic(outcome, "memory allocation of 1099511627776")
    }),
    ("end-page-fault", |_, outcome| {
        is_fault(
            outcome,
            "page fault writing unmapped address 0xf0000000 at 0x",
        )
    }),
    ("end-null-pointer", |_, outcome| {
        is_fault(outcome, "page fault reading unmapped address 0x0 at 0x")
    }),
    ("end-write-to-code", |_, outcome| {
        is_fault(outcome, "page fault writing protected address")
    }),
    ("end-write-to-constant", |_, outcome| {
        is_fault(outcome, "page fault writing protected address")
    }),
    ("end-execute-stack", executed_data),
    ("end-execute-static", executed_data),
    ("end-execute-constant", executed_data),
    ("end-execute-heap", executed_data),
    ("end-stack-overflow", |_, outcome| {
        is_fault(outcome, "stack overflow of the main stack")
    }),
    ("end-divide-error", |_, outcome| {
        is_fault(outcome, "divide error at 0x")
    }),
    ("end-invalid-opcode", |_, outcome| {
        is_fault(outcome, "invalid opcode at 0x")
    }),
    ("end-unhandled-interrupt", |_, outcome| {
        is_fault(outcome, "interrupt 0x55, for which there is no handler")
    }),
    ("end-triple-fault", |vmm, outcome| match outcome {
        Outcome::TripleFault { registers } => vmm != Vmm::Kvm || registers.is_some(),
        _ => false,
    }),
    ("end-console-flood", |_, outcome| {
        matches!(outcome, Outcome::ConsoleFlooded { .. })
    }),
];

/// What the case `end-marked-lines` prints.
const MARKED: &str = "plain\n\x1e{\"level\":\"info\"}\n\x1epanic not really\n\x1estat x 5\nlast\n";

fn executed_data(_: Vmm, outcome: &Outcome) -> bool {
    is_fault(outcome, "page fault executing protected address")
}

/// What the case `end-invalid-opcode` puts into the registers.
const REGISTERS: [(&str, u64); 15] = [
    ("rax", 0xa1),
    ("rbx", 0xb1),
    ("rcx", 0xc1),
    ("rdx", 0xd1),
    ("rsi", 0x51),
    ("rdi", 0xd2),
    ("rbp", 0xb2),
    ("r8", 0x80),
    ("r9", 0x90),
    ("r10", 0x10),
    ("r11", 0x11),
    ("r12", 0x12),
    ("r13", 0x13),
    ("r14", 0x14),
    ("r15", 0x15),
];

/// The report of a fault names each register with its value.
fn registers_are_reported(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("endings", &config(vmm, "case=end-invalid-opcode"))?;
    for (name, value) in REGISTERS {
        let expected = format!(" {name} {value:#018x}");
        run.check(run.console.contains(&expected), &format!("no `{expected}`"))?;
    }
    Ok(())
}

const HANGS: &[&str] = &["end-hang-halted", "end-hang-asleep", "end-hang-spinning"];

pub(crate) fn trials() -> Vec<Trial> {
    let endings = ENDINGS.iter().flat_map(|(case, expected)| {
        on_every_vmm(case, move |vmm| {
            let mut config = config(vmm, format!("case={case}"));
            config.console_limit = 64 << 10;
            let run = boot("endings", &config)?;
            run.check(
                expected(vmm, &run.report.outcome),
                "the guest ended in another way",
            )?;
            run.check(
                *case != "end-panic-hook" || run.console.starts_with("the hook was called\n"),
                "the hook was not called first",
            )?;
            let faulted = matches!(run.report.outcome, Outcome::Faulted(_));
            let marked = *case != "end-marked-lines" || run.console == MARKED;
            run.check(marked, "the console has lost a line")?;
            run.check(
                !faulted || run.console.contains("rip 0x"),
                "the registers are not on the console",
            )
        })
    });
    let hangs = HANGS
        .iter()
        .flat_map(|case| on_every_vmm(case, move |vmm| hangs(vmm, case)));
    endings
        .chain(hangs)
        .chain(on_every_vmm(
            "end-reports-registers",
            registers_are_reported,
        ))
        .collect()
}

fn hangs(vmm: Vmm, case: &str) -> Result<(), Failed> {
    let mut config = config(vmm, format!("case={case}"));
    config.timeout = HANG_LIMIT;
    let run = boot("endings", &config)?;
    run.check(
        matches!(run.report.outcome, Outcome::TimedOut { limit, .. } if limit == HANG_LIMIT),
        "a hang was not recognised as one",
    )?;
    run.check(
        run.console.contains("now hanging"),
        "it ended before it hung",
    )
}
