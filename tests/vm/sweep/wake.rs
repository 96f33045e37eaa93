//! The wake sweep: over wake, pass and idle check, in an executor of one word and in one of two
//! levels.

use libtest_mimic::{Failed, Trial};

use super::{RecordedStep, check_path, none_lost, run, some_lost};

const PROGRAM: &str = "wake-sweep";

/// The path from the poll that arms the interrupt, through the polls of the tasks that it wakes, to
/// `hlt` has some 300 instructions; in the remaining steps the vCPU is asleep.
const STEPS: u32 = 500;

/// Executor sizes, and the tasks that the handler wakes: see the guest program's module `fixture`.
const EXECUTORS: [(&str, &[&str]); 2] = [
    ("64", &["itself", "behind", "ahead", "woken"]),
    (
        "4096",
        &[
            "itself",
            "behind",
            "ahead",
            "woken",
            "empty-word-behind",
            "empty-word-ahead",
            "behind-woken-far",
            "woken-far",
        ],
    ),
];

/// Each mutant of `Cpus`, with the executor's size and the task whose wake must be lost. A mistake
/// that affects both words and summaries is caught in both.
const MUTANTS: [(&str, &str, &str); 9] = [
    ("clear-in-three", "64", "ahead"),
    ("clear-in-three", "4096", "empty-word-ahead"),
    ("clear-late", "64", "itself"),
    ("clear-late", "4096", "behind-woken-far"),
    ("set-in-three", "64", "behind"),
    ("set-in-three", "4096", "behind-woken-far"),
    ("raise-in-three", "4096", "empty-word-behind"),
    ("raise-not-in-handlers", "4096", "empty-word-ahead"),
    ("raise-if-word-was-empty", "4096", "behind-woken-far"),
];

/// The tests of the real implementations, then those of the mutants.
pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for cpus in ["shared", "single"] {
        for (tasks, victims) in EXECUTORS {
            trials.push(Trial::test(
                format!("qemu-tcg/q35::wake-sweep-{cpus}-{tasks}"),
                move || every_instruction(cpus, tasks, victims),
            ));
        }
    }
    trials.extend(MUTANTS.map(|(cpus, tasks, victim)| {
        Trial::test(
            format!("qemu-tcg/q35::wake-sweep-catches-{cpus}-{tasks}"),
            move || {
                let swept = sweep("interrupt", cpus, tasks, &[victim])?;
                some_lost(&swept[0].steps)
            },
        )
    }));
    trials
}

/// The steps in which the handler wakes one of the tasks.
struct Swept {
    victim: &'static str,
    /// Step K is element K - 1.
    steps: Vec<RecordedStep>,
    /// Polls without a wake.
    spurious_polls: u64,
}

impl Swept {
    /// Lines of `VICTIM STEP 0xADDRESS LATE SPURIOUS-POLLS`.
    fn parse(victim: &'static str, lines: &[&str]) -> Option<Self> {
        let mut swept = Self {
            victim,
            steps: Vec::new(),
            spurious_polls: 0,
        };
        for (index, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, step @ .., spurious_polls] = &words[..] else {
                return None;
            };
            if *name != victim {
                return None;
            }
            swept.steps.push(RecordedStep::parse(index, step)?);
            swept.spurious_polls += spurious_polls.parse::<u64>().ok()?;
        }
        Some(swept)
    }

    fn addresses(&self) -> impl Iterator<Item = u64> {
        self.steps.iter().map(|step| step.address)
    }
}

/// Runs the guest: one sweep for each victim.
fn sweep(
    via: &str,
    cpus: &str,
    tasks: &str,
    victims: &[&'static str],
) -> Result<Vec<Swept>, Failed> {
    let wakes = victims.join(",");
    let run = run(
        PROGRAM,
        format!("via={via} cpus={cpus} tasks={tasks} wakes={wakes} steps={STEPS}"),
    )?;
    let lines: Vec<&str> = run.console.lines().collect();
    let expected = victims.len() * STEPS as usize;
    run.check(
        lines.len() == expected,
        "the number of steps is not as asked for",
    )?;
    let sweeps = victims.iter().zip(lines.chunks(STEPS as usize));
    let parsed: Option<Vec<Swept>> = sweeps
        .map(|(victim, lines)| Swept::parse(victim, lines))
        .collect();
    Ok(parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?)
}

/// At each instruction of the path, by NMI and by interrupt: a task that is woken there is polled
/// soon, and no task is polled without a wake.
fn every_instruction(cpus: &str, tasks: &str, victims: &[&'static str]) -> Result<(), Failed> {
    let mut paths = Vec::new();
    for via in ["nmi", "interrupt"] {
        let mut swept = sweep(via, cpus, tasks, victims)?;
        for of_victim in &swept {
            let name = format!("{via}, waking `{}`", of_victim.victim);
            none_lost(&of_victim.steps, &name)?;
            if of_victim.spurious_polls != 0 {
                return Err(format!("{name}: tasks were polled without a wake").into());
            }
            // Up to the interrupt the path is the same, whichever task its handler wakes.
            if !of_victim.addresses().eq(swept[0].addresses()) {
                return Err(format!("{name}: the path is different").into());
            }
        }
        paths.push(swept.swap_remove(0).steps);
    }
    let listing = format!("wake-path-{cpus}-{tasks}.txt");
    let locked = check_path(PROGRAM, &paths[0], &paths[1], &listing)?;
    // The path has one wake and poll in an executor of 64, two in one of 4096.
    let expected = match (cpus, tasks) {
        ("single", _) => 0,
        (_, "64") => 2,
        _ => 2 * 4,
    };
    if locked != expected {
        return Err(format!("{locked} locked instructions on the path, not {expected}").into());
    }
    Ok(())
}
