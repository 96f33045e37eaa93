//! The cases and demos of the Hyperlight guest, in sandboxes of the real hyperlight-host: one test
//! for each case and mode. Each case runs in a process of its own; the runner asserts, and reports
//! what is wrong.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use dormir_harness::{
    hyperlight::{self, Ran, SandboxMode, SandboxRunner, ShowLimits},
    toolchain::GuestToolchain,
    vmm::{Outcome, RunError, StopToken},
    workspace::Workspace,
};
use libtest_mimic::{Failed, Trial};

use crate::guest::is_panic;

/// The cases, which the runner describes.
const CASES: &[&str] = &[
    "mode-is-what-it-says",
    "answer",
    "sleepers",
    "sleeps-are-never-short",
    "many-calls",
    "beside-a-busy-task",
    "woken-around-another",
    "idle-is-of-its-mode",
    "host-waits-in-either-mode",
    "periods",
    "left-over-tick",
    "interrupt-flag-and-timer-stay",
    "clock-between-calls",
    "poll-once",
    "poll-beside-block-on",
    "poll-with-nothing-to-do",
    "restored-between-polls",
    "restored-in-another-sandbox",
    "snapshots-do-not-wear-out",
    "clock-through-restores",
    "calls-at-once",
    "calls-with-linger",
    "calls-end-in-every-way",
    "large-results",
    "ticks-beside-a-call",
    "call-beside-a-busy-task",
    "dropped-calls",
    "cancelled-calls",
    "events",
    "calls-by-poll-once",
    "restored-calls",
    "exits-of-calls",
    "hostile-batches",
    "typed-calls",
    "typed-calls-differ",
    "typed-calls-checked",
    "streams-down-and-up",
    "streams-end-in-every-way",
    "stream-to-a-slow-reader",
    "dropped-streams",
    "restored-streams",
    "driven-sandboxes",
    "driven-by-one-thread",
    "driven-and-cancelled",
    "called-in-workers",
    "called-in-a-blocking-thread",
    "driven-tasks-that-nothing-wakes",
    "driven-and-cancelled-at-any-time",
    "random-calls",
    "cancelled-wait",
    "cancelled-before-its-call",
    "cancelled-at-any-time",
    "never-returns",
    "guest-panics",
    "deadline-too-far",
    "untrusted-waits",
    "nothing-to-wait-for",
    "runs-tasks-in-a-task",
    "registered-twice",
    "not-registered",
    "answers-nonsense",
    "no-interrupts",
    "too-many-boxed-tasks",
    "host-function-panics",
    "written-once",
];

/// The demos, and what they print, [without times](without_times).
const DEMOS: &[(&str, &str)] = &[
    (
        "basic",
        "going to sleep\nslept once\nslept twice; good morning\n",
    ),
    (
        "advanced",
        "each letter slept until its turn\nnobody came within _ ms\n",
    ),
    (
        "sleepers",
        "4000 tasks go to sleep\n4000 are up again, none before its time\n",
    ),
    (
        "tasks",
        "joined: [1, 4, 9, 16, 25, 36, 49, 64]\naborted: true\ntaking turns: cbacbacba\n",
    ),
    ("roles", "hello\nhello from the stage\nhello again\n"),
    (
        "fetch",
        "10 at a time: 100 pages with 100000 bytes\n  10 failed and were repeated, 1 took too \
         long, was dropped and repeated\none by one: 100 pages with 100000 bytes\ntook _ ms and _ \
         ms\n",
    ),
];

/// How calls end: the outcome that the harness reports, and what the guest has printed.
const ENDINGS: &[(&str, Expectation)] = &[
    ("code_0", |outcome, _| outcome.is_success()),
    ("code_7", |outcome, _| *outcome == Outcome::Exited(7)),
    ("code_124", |outcome, _| is_code(outcome, 124)),
    ("code_256", |outcome, _| is_code(outcome, 256)),
    ("code_65536", |outcome, _| is_code(outcome, 65536)),
    ("code_minus_1", |outcome, _| is_code(outcome, -1)),
    ("code_least", |outcome, _| is_code(outcome, i32::MIN)),
    ("panics_at_length", |outcome, _| {
        is_panic(outcome, &"a".repeat(600))
    }),
    ("panics_beyond_length", |outcome, _| {
        is_panic(outcome, "1,024 bytes")
    }),
    ("panics_in_colours", |outcome, _| {
        is_panic(outcome, "\\u{1b}[2J\\u{1b}[32m100 passed")
    }),
    ("passes_on_lies", |outcome, console| {
        let lies = "\x1eexit 0\n\x1e0123456789abcdef exit 0\nexit 0\n";
        *outcome == Outcome::Exited(3) && console == lies
    }),
    ("no_such_function", |outcome, _| {
        let names = |reason: &String| reason.contains("no_such_function");
        matches!(outcome, Outcome::Died(reason) if names(reason))
    }),
];

type Expectation = fn(&Outcome, &str) -> bool;

/// Returns whether a code that cannot be a status is named, and becomes neither success nor another
/// end.
fn is_code(outcome: &Outcome, code: i32) -> bool {
    *outcome == Outcome::Exited(code)
        && outcome.exit_code() == 111
        && outcome.to_string().contains(&format!("code {code},"))
}

/// The time limit of a case: many times what the longest takes where KVM emulates each instruction.
pub(crate) const LIMIT: Duration = Duration::from_secs(900);

pub(crate) fn trials() -> Vec<Trial> {
    let in_mode = |mode: SandboxMode| {
        let cases = CASES
            .iter()
            .map(move |case| Trial::test(format!("{mode}::{case}"), move || passes(mode, case)));
        let demos = DEMOS.iter().map(move |(name, expected)| {
            let prints = move || prints(mode, name, expected);
            Trial::test(format!("{mode}::demo-{name}"), prints)
        });
        let endings = ENDINGS.iter().map(move |(function, expected)| {
            let ends = move || ends(mode, &format!("call:{function}"), expected);
            Trial::test(format!("{mode}::end-{function}"), ends)
        });
        let others = [
            Trial::test(format!("{mode}::example-hello"), move || example(mode)),
            Trial::test(format!("{mode}::no-case-is-left-out"), move || {
                no_case_is_left_out(mode)
            }),
        ];
        cases.chain(demos).chain(endings).chain(others)
    };
    SandboxMode::ALL.into_iter().flat_map(in_mode).collect()
}

/// Returns the guest, which is built when it is first needed.
fn guest() -> Result<&'static Path, Failed> {
    static GUEST: OnceLock<Result<PathBuf, String>> = OnceLock::new();

    let stop = StopToken::default();
    let guest = GUEST.get_or_init(|| {
        let build = || -> Result<PathBuf, Box<dyn std::error::Error>> {
            let workspace = Workspace::locate()?;
            let toolchain = GuestToolchain::detect(&workspace)?;
            Ok(hyperlight::build_guest(&toolchain, &workspace, &stop)?)
        };
        build().map_err(|error| error.to_string())
    });
    Ok(guest.as_deref().map_err(Clone::clone)?)
}

/// Returns the mode's runner, which is built when it is first needed.
fn runner(mode: SandboxMode) -> Result<SandboxRunner, Failed> {
    static RUNNERS: [OnceLock<Result<SandboxRunner, String>>; 2] = [const { OnceLock::new() }; 2];

    hyperlight::probe()?;
    let runner = RUNNERS[mode as usize].get_or_init(|| {
        let workspace = Workspace::locate().map_err(|error| error.to_string())?;
        SandboxRunner::build(mode, &workspace, &StopToken::default())
            .map_err(|error| error.to_string())
    });
    Ok(runner.clone()?)
}

/// Makes the runner do `what`.
fn run(mode: SandboxMode, what: &str) -> Result<Ran, Failed> {
    Ok(runner(mode)?.run(guest()?, what, LIMIT, &StopToken::default())?)
}

/// Makes the runner show a demo or a call; returns how the guest ended, and what it printed.
fn show(mode: SandboxMode, what: &str) -> Result<(Outcome, String), Failed> {
    let mut console = Vec::new();
    let limits = ShowLimits {
        timeout: LIMIT,
        console_limit: 1 << 20,
        stop: &StopToken::default(),
    };
    let outcome = match runner(mode)?.show(guest()?, what, &limits, &mut console) {
        Err(RunError::Hyperlight { message }) => Outcome::Died(message),
        outcome => outcome?,
    };
    Ok((outcome, String::from_utf8_lossy(&console).into_owned()))
}

/// Runs the example that the documentation shows.
fn example(mode: SandboxMode) -> Result<(), Failed> {
    hyperlight::probe()?;
    let stop = StopToken::default();
    let program = hyperlight::build_host_example(mode, &Workspace::locate()?, "hello", &stop)?;
    let ran = hyperlight::run_example(Command::new(program).arg(guest()?), LIMIT, &stop)?;
    let mut expected = vec!["ten tasks slept: ", "cancelled after 100 ms"];
    if mode == SandboxMode::HostWait {
        expected.push("and again: ");
    }
    let lines: Vec<&str> = ran.output.lines().collect();
    let mut found = lines.iter().zip(&expected);
    let is_expected =
        lines.len() == expected.len() && found.all(|(line, start)| line.starts_with(start));
    if ran.status.success() && is_expected {
        Ok(())
    } else {
        Err(format!("{}\n{}", ran.status, ran.output).into())
    }
}

fn passes(mode: SandboxMode, case: &str) -> Result<(), Failed> {
    let ran = run(mode, case)?;
    if ran.status.success() {
        Ok(())
    } else {
        Err(format!("{}\n{}", ran.status, ran.output).into())
    }
}

fn prints(mode: SandboxMode, demo: &str, expected: &str) -> Result<(), Failed> {
    ends(mode, &format!("demo:{demo}"), |outcome, console| {
        outcome.is_success() && without_times(console) == expected
    })
}

/// The text with `_` in place of each number before `ms`.
fn without_times(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let is_number = words[at - 1].bytes().all(|byte| byte.is_ascii_digit());
        if is_number && words[at].trim_end() == "ms" {
            words[at - 1] = "_";
        }
    }
    words.join(" ")
}

fn ends(
    mode: SandboxMode,
    what: &str,
    expected: impl Fn(&Outcome, &str) -> bool,
) -> Result<(), Failed> {
    let (outcome, console) = show(mode, what)?;
    if expected(&outcome, &console) {
        Ok(())
    } else {
        Err(format!("{outcome}\n{console}").into())
    }
}

/// Every case of the runner is listed here, so that it is run.
fn no_case_is_left_out(mode: SandboxMode) -> Result<(), Failed> {
    let ran = run(mode, "list")?;
    let listed: Vec<&str> = ran.output.lines().collect();
    if listed == CASES {
        Ok(())
    } else {
        Err(format!("the runner's cases are not those of this file: {listed:?}").into())
    }
}
