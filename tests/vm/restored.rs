//! QEMU saves a guest and restores it, at each instruction of the idle path, with an NMI pending
//! whose handler wakes the task: no wake is lost.
//!
//! A debugger steps the guest program `sweep` along its path. At an instruction this test saves the
//! machine, sends the NMI, saves it once more, and goes back to that. The guest runs on to its next
//! step, and has printed where the NMI came and how late the task was polled. Then the machine goes
//! back to the first of the two, and makes one step to the next instruction.

pub(crate) mod qemu;

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::{
    guest::image_of,
    sweep::{Disassembly, RecordedStep, steps_of},
};
use qemu::Qemu;

const PROGRAM: &str = "sweep";

/// The path has some 380 instructions.
const LONGEST_PATH: usize = 800;

const HLT: u8 = 0xf4;

/// Outside of the halt, the instructions at which `cargo vm test` restores.
const EACH: usize = 24;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("qemu-tcg/q35::restored", || no_wake_is_lost(EACH)),
        Trial::test("qemu-tcg/q35::restored-at-each-instruction", || {
            no_wake_is_lost(1)
        })
        .with_ignored_flag(true),
        Trial::test("qemu-tcg/q35::restored-catches-nmi-forgotten", || {
            some_lost("nmi-forgotten", Snapshot::WithNmi)
        }),
        Trial::test("qemu-tcg/q35::restored-catches-one-without-its-nmi", || {
            some_lost("halt", Snapshot::Before)
        }),
    ]
}

/// What the guest is restored to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Snapshot {
    WithNmi,
    /// A planted fault: the NMI is lost.
    Before,
}

/// An instruction at which the guest was restored.
struct Place {
    address: u64,
    step: RecordedStep,
}

impl Place {
    /// Whether the NMI came there and woke the task.
    fn has_come(&self) -> bool {
        self.step.address == self.address && !self.step.is_lost()
    }
}

fn no_wake_is_lost(each: usize) -> Result<(), Failed> {
    let places = along_the_path("halt", each, Snapshot::WithNmi)?;
    println!("restored at {} instructions", places.len());
    for place in &places {
        if !place.has_come() {
            let (at, came, late) = (place.address, place.step.address, place.step.late);
            let text = format!("restored at {at:#x}, the NMI came at {came:#x}, late by {late}");
            return Err(text.into());
        }
    }
    let halt = Disassembly::read(image_of(PROGRAM)?)?.symbol("dormir_halt_instruction")?;
    if places.last().is_none_or(|place| place.address != halt) {
        return Err("the path does not end at the halt".into());
    }
    Ok(())
}

/// At the halt, and the instruction before it, a mistake loses the wake.
fn some_lost(idle: &str, snapshot: Snapshot) -> Result<(), Failed> {
    let places = along_the_path(idle, LONGEST_PATH, snapshot)?;
    // An NMI that only comes elsewhere is another fault, which this must not hide.
    match places.iter().any(|place| place.step.is_lost()) {
        true => Ok(()),
        false => Err("no wake was lost: the test does not find this mistake".into()),
    }
}

/// Restores the guest at every `each`th instruction, and at those of the last check and the halt.
fn along_the_path(idle: &str, each: usize, snapshot: Snapshot) -> Result<Vec<Place>, Failed> {
    let elf = image_of(PROGRAM)?;
    let image = Disassembly::read(elf)?;
    let halt = image.symbol("dormir_halt")?..=image.symbol("dormir_halt_instruction")?;
    let begin = image.symbol("sweep_step_begins")?;
    // Where the interrupt would be armed.
    let armed = steps_of(PROGRAM, "via=nmi", 1)?[0].address;
    // In step 0 the program arms no interrupt of its own, so that nothing else wakes the task
    // before the backup timer.
    let arguments = format!("via=interrupt idle={idle} from=0 steps=1000000");
    let options = ["-accel", "tcg", "-icount", "shift=0,sleep=off"];
    let mut qemu = Qemu::start(elf, &arguments, &options)?;
    qemu.add_disk()?;
    let mut debugger = qemu.debugger()?;
    debugger.order(&format!("Z0,{begin:x},1"))?;
    debugger.resume('c')?;
    debugger.is_at(begin)?;
    // The step before the first also runs code that runs only once. (Without this single step the
    // guest would stop at once.)
    debugger.resume('s')?;
    debugger.resume('c')?;
    debugger.is_at(begin)?;
    let mut steps = 0;
    while debugger.rip()? != armed {
        debugger.resume('s')?;
        steps += 1;
        if steps > LONGEST_PATH {
            return Err("the step arms no interrupt".into());
        }
    }
    let mut places = Vec::new();
    for index in 0..LONGEST_PATH {
        debugger.resume('s')?;
        let address = debugger.rip()?;
        let is_last = debugger.read(address, 1)? == [HLT];
        if is_last || index % each == 0 || halt.contains(&address) {
            qemu.save("here")?;
            qemu.command("inject-nmi", json!({}))?;
            qemu.save("with-nmi")?;
            qemu.restore(match snapshot {
                Snapshot::WithNmi => "with-nmi",
                Snapshot::Before => "here",
            })?;
            debugger.is_at(address)?;
            debugger.resume('c')?;
            debugger.is_at(begin)?;
            let line = qemu.line()?;
            let [_, interrupted, late] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(format!("no step: {line}").into());
            };
            let step = RecordedStep::parse(0, &["1", interrupted, late]);
            let step = step.ok_or_else(|| format!("no step: {line}"))?;
            places.push(Place { address, step });
            qemu.restore("here")?;
            debugger.is_at(address)?;
        }
        if is_last {
            return Ok(places);
        }
    }
    Err("the path does not end".into())
}
