//! The demos: their output, its order, and how they wait.

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, on_every_vmm};

type Test = fn(Vmm) -> Result<(), Failed>;

/// The demos that the guest program has, each with its test.
const DEMOS: &[(&str, Test)] = &[
    ("basic", basic),
    ("basic-busy", busy),
    ("advanced", advanced),
    ("sleepers", sleepers),
    ("tasks", tasks),
    ("roles", roles),
    ("reactor", reactor),
];

pub(crate) fn trials() -> Vec<Trial> {
    let demos = DEMOS
        .iter()
        .flat_map(|(name, test)| on_every_vmm(&format!("demo-{name}"), *test));
    demos
        .chain(on_every_vmm("hello", hello))
        .chain([
            Trial::test(
                "qemu-tcg/q35::demo-tasks:in-instructions",
                tasks_in_instructions,
            ),
            Trial::test("qemu-tcg/microvm::no-demo-is-left-out", no_demo_is_left_out),
        ])
        .collect()
}

/// The program `hello` prints hello, and again a second later.
fn hello(vmm: Vmm) -> Result<(), Failed> {
    let run = boot("hello", &config(vmm, ""))?.succeeded()?;
    run.check(
        run.console == "hello\nhello again\n",
        "the output is not as expected",
    )?;
    let seconds = run.report.wall.as_secs();
    run.check(
        (1..20).contains(&seconds),
        &format!("it took {seconds} s to sleep for one"),
    )
}

const MILLISECOND: u64 = 1_000_000;

/// Runs a demo to its successful end.
fn run(vmm: Vmm, demo: &str) -> Result<Run, Failed> {
    boot("demo", &config(vmm, format!("demo={demo}")))?.succeeded()
}

impl Run {
    fn has_printed(&self, expected: &str) -> Result<(), Failed> {
        self.check(self.console == expected, "the output is not as expected")
    }

    /// Checks that what the guest timed took at least `nanos`, and not ten times that: this would
    /// be a clock of the wrong scale.
    fn took(&self, stat: &str, nanos: u64) -> Result<(), Failed> {
        let took = self.stat(stat)?;
        self.check(
            (nanos..10 * nanos).contains(&took),
            &format!("{stat} is {took}, not about {nanos}"),
        )
    }

    fn was_halted(&self, least_percent: u64) -> Result<(), Failed> {
        let share = self.stat("halted_ns")? * 100 / self.stat("elapsed_ns")?;
        self.check(
            share >= least_percent,
            &format!("halted for {share} % of the time only"),
        )
    }
}

const BASIC_OUTPUT: &str = "going to sleep\n\
    slept once, in an async fn\n\
    slept twice, in a future written by hand\n\
    slept three times; good morning\n";

/// Three naps.
const BASIC_NANOS: u64 = 3 * 250 * MILLISECOND;

/// It is halted for most of the time, and is polled once at the start and once for each nap.
fn basic(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "basic")?;
    run.has_printed(BASIC_OUTPUT)?;
    run.took("elapsed_ns", BASIC_NANOS)?;
    run.check(
        (2..=4).contains(&run.stat("polls")?),
        "polled more often than at the start and after each nap",
    )?;
    run.check(
        run.stat("timer_interrupts")? >= 2,
        "three naps without their interrupts",
    )?;
    run.was_halted(50)?;
    if let Some(counters) = run.report.counters {
        let halts = counters.halt_exits.ok_or("this KVM does not count halts")?;
        run.check(halts >= 2, &format!("KVM saw {halts} halts for three naps"))?;
    }
    Ok(())
}

/// It never halts, by the guest's report and by KVM's count, and is polled all the time.
fn busy(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "basic-busy")?;
    run.has_printed(BASIC_OUTPUT)?;
    run.took("elapsed_ns", BASIC_NANOS)?;
    run.check(run.stat("halted_ns")? == 0, "the busy variant halted")?;
    run.check(run.stat("polls")? > 100, "the busy variant hardly polled")?;
    if let Some(counters) = run.report.counters {
        let halts = counters.halt_exits.ok_or("this KVM does not count halts")?;
        run.check(halts == 0, &format!("KVM saw {halts} halts"))?;
    }
    Ok(())
}

/// Futures of another crate sleep concurrently: they complete in the order of their deadlines, and
/// are polled when they are woken.
fn advanced(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "advanced")?;
    run.has_printed(
        "each of these letters is a future that slept until its turn\n\
        the cat slept for 200 ms\n\
        the owl slept for 400 ms\n\
        the bear slept for 600 ms\n\
        nobody waits for spring\n",
    )?;
    run.took("elapsed_ns", (1000 + 58 * 10 + 600 + 250) * MILLISECOND)?;
    run.check(
        run.stat("polls")? < 1000,
        "polled by far more often than woken",
    )?;
    run.was_halted(20)
}

/// All sleep at once, and each is polled twice: to go to sleep, and to wake up.
fn sleepers(vmm: Vmm) -> Result<(), Failed> {
    const SLEEPERS: u64 = 4000;
    let run = run(vmm, "sleepers")?;
    let lines: Vec<&str> = run.console.lines().collect();
    let expected = matches!(
        lines[..],
        [
            "4000 tasks go to sleep, for two to three seconds each",
            asleep,
            "all are up again, none before its time",
        ] if asleep.starts_with("4000 are asleep at once, on ")
    );
    run.check(expected, "the output is not as expected")?;
    run.check(
        run.stat("asleep_at_once")? == SLEEPERS,
        "not all were asleep at once",
    )?;
    run.check(
        run.stat("polls")? == 2 * SLEEPERS,
        "not polled once to go to sleep and once to wake up",
    )?;
    run.took("elapsed_ns", 2999 * MILLISECOND)
}

const TASKS_OUTPUT: &str = "ping pong ping pong ping pong in turn\n\
    one task has ended, with 4\n\
    two have ended, with 9 and 16\n\
    five have ended, with [25, 36, 49, 64, 81]\n\
    one was aborted: the task ended without an output: it was aborted, its runner was \
    dropped, or it panicked\n\
    12000 have ended, with 575928002000 in all\n\
    each took ";

fn tasks(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "tasks")?;
    run.check(
        run.console.starts_with(TASKS_OUTPUT),
        "the output is not as expected",
    )?;
    // A thread would take a stack of some thousand bytes.
    run.check(
        (16..400).contains(&run.stat("bytes_per_task")?),
        "a task takes more memory than its future and a header",
    )?;
    run.check(run.stat("tsc_per_task")? > 0, "tasks take no time")
}

/// With a TSC that counts instructions, a task costs a few hundred of them, from its spawn until
/// its output is joined.
fn tasks_in_instructions() -> Result<(), Failed> {
    let mut config = config(Vmm::Qemu(Accelerator::Tcg, MachineType::Q35), "demo=tasks");
    config.count_instructions = true;
    let run = boot("demo", &config)?.succeeded()?;
    let instructions = run.stat("tsc_per_task")?;
    run.check(
        (30..1000).contains(&instructions),
        &format!("a task takes {instructions} instructions"),
    )
}

/// Prints three lines with a pause before the third, and ends; then two errors, and no panic.
fn roles(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "roles")?;
    run.has_printed(
        "hello\n\
        hello from the stage\n\
        hello again\n\
        no task is left\n\
        refused: the pool of `demo::roles::one_of_three` is full: make it larger \
        (`pool = N`), or await or drop the handles of tasks that have ended\n\
        refused: `demo::roles::one_of_many` was not spawned, since the executor is full: give it a \
        larger capacity, or await or drop the handles of tasks that have ended\n\
        when the others had ended, there was room for it\n",
    )?;
    run.took("pause_ns", 2000 * MILLISECOND)?;
    run.took("elapsed_ns", 2000 * MILLISECOND)?;
    // Two tasks: each is polled at the start, and after its wait.
    run.check(run.stat("polls")? == 4, "not polled twice each")?;
    run.was_halted(50)
}

/// Each task is woken by the interrupts that it waits for. The order of two interrupts is not
/// checked, since it is undefined if the vCPU was descheduled for long.
fn reactor(vmm: Vmm) -> Result<(), Failed> {
    let run = run(vmm, "reactor")?;
    let printed_by = |source| -> Vec<&str> {
        let lines = run.console.lines();
        lines.filter_map(|line| line.strip_prefix(source)).collect()
    };
    run.check(
        printed_by("timer: ") == ["tick 1", "tick 2", "tick 3"]
            && printed_by("serial line: ") == ["hello", "who is there?", "goodbye"]
            && run.console.lines().count() == 6,
        "the output is not as expected",
    )?;
    run.took("elapsed_ns", 900 * MILLISECOND)?;
    let serial = run.stat("serial_interrupts")?;
    // No more than one for each byte.
    run.check(
        (1..=28).contains(&serial),
        &format!("the serial line interrupted {serial} times"),
    )?;
    run.check(
        run.stat("timer_interrupts")? >= 1,
        "the timer did not interrupt",
    )?;
    run.check(
        run.stat("polls")? <= 2 + 3 + serial,
        "polled more often than started and woken",
    )?;
    run.was_halted(50)
}

/// The guest, the command and this file list the same demos.
fn no_demo_is_left_out() -> Result<(), Failed> {
    let run = run(Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm), "list")?;
    let tested: Vec<&str> = DEMOS.iter().map(|(name, _)| *name).collect();
    run.check(
        run.console.lines().eq(tested.iter().copied()),
        "the guest's demos are not those of this file",
    )?;
    let command = include_str!("../../host-harness/src/cli/demo.rs");
    let shown = command.lines().filter_map(|line| {
        let name = line.strip_prefix("        name: \"")?;
        name.strip_suffix("\",")
    });
    run.check(
        shown.eq(tested),
        "the demos of `cargo vm demo` are not those of this file",
    )
}
