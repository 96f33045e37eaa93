//! The sweep over wake, pass and idle check, in an executor of one word and in one of two levels.

use libtest_mimic::{Failed, Trial};

use super::{Step, check_way, none_lost, run, some_lost};

const PROGRAM: &str = "wake-sweep";

/// The way from the poll that arms the interrupt, through those of the tasks that it wakes, to `hlt` has
/// some 300 instructions; the rest of the steps find it asleep.
const STEPS: u32 = 500;

/// Sizes of executors, and whom the handler wakes there: see the guest program's `cast`.
const EXECUTORS: [(&str, &[&str]); 2] = [
    ("64", &["itself", "behind", "ahead", "led"]),
    (
        "4096",
        &[
            "itself",
            "behind",
            "ahead",
            "led",
            "empty-word-behind",
            "empty-word-ahead",
            "behind-led-far",
            "led-far",
        ],
    ),
];

/// Each mutant of `Cpus`, with the size of the executor, and whose wake must be lost there. A mistake that
/// words and summaries have in common is to be caught in both.
const MUTANTS: [(&str, &str, &str); 9] = [
    ("clear-in-three", "64", "ahead"),
    ("clear-in-three", "4096", "empty-word-ahead"),
    ("clear-late", "64", "itself"),
    ("clear-late", "4096", "behind-led-far"),
    ("set-in-three", "64", "behind"),
    ("set-in-three", "4096", "behind-led-far"),
    ("raise-in-three", "4096", "empty-word-behind"),
    ("raise-not-in-handlers", "4096", "empty-word-ahead"),
    ("raise-if-word-was-empty", "4096", "behind-led-far"),
];

/// The tests of the real thing, then those of the mutants.
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
    steps: Vec<Step>,
    /// Polls that nobody had woken for.
    stray_polls: u64,
}

impl Swept {
    /// Lines of `VICTIM STEP 0xADDRESS LATE STRAY-POLLS`.
    fn parse(victim: &'static str, lines: &[&str]) -> Option<Self> {
        let mut swept = Self {
            victim,
            steps: Vec::new(),
            stray_polls: 0,
        };
        for (index, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, step @ .., stray_polls] = &words[..] else {
                return None;
            };
            if *name != victim {
                return None;
            }
            swept.steps.push(Step::parse(index, step)?);
            swept.stray_polls += stray_polls.parse::<u64>().ok()?;
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
        "there are not as many steps as asked for",
    )?;
    let sweeps = victims.iter().zip(lines.chunks(STEPS as usize));
    let parsed: Option<Vec<Swept>> = sweeps
        .map(|(victim, lines)| Swept::parse(victim, lines))
        .collect();
    Ok(parsed.ok_or_else(|| format!("not the sweep's output:\n{}", run.console))?)
}

/// At each instruction of the way, by NMI and by interrupt: whoever is woken there is polled soon, and
/// nobody is polled whom nobody woke.
fn every_instruction(cpus: &str, tasks: &str, victims: &[&'static str]) -> Result<(), Failed> {
    let mut ways = Vec::new();
    for via in ["nmi", "interrupt"] {
        let mut swept = sweep(via, cpus, tasks, victims)?;
        for of_victim in &swept {
            let name = format!("{via}, waking `{}`", of_victim.victim);
            none_lost(&of_victim.steps, &name)?;
            if of_victim.stray_polls != 0 {
                return Err(format!("{name}: tasks were polled that nobody had woken").into());
            }
            // Up to the interrupt all is the same, whomever its handler wakes.
            if !of_victim.addresses().eq(swept[0].addresses()) {
                return Err(format!("{name}: the way is another one").into());
            }
        }
        ways.push(swept.swap_remove(0).steps);
    }
    let listing = format!("wake-path-{cpus}-{tasks}.txt");
    let locked = check_way(PROGRAM, &ways[0], &ways[1], &listing)?;
    // The way has one wake and poll in an executor of 64, two in one of 4096.
    let expected = match (cpus, tasks) {
        ("single", _) => 0,
        (_, "64") => 2,
        _ => 2 * 4,
    };
    if locked != expected {
        return Err(format!("{locked} locked instructions on the way, not {expected}").into());
    }
    Ok(())
}
