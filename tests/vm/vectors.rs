//! An interrupt on a vector that nothing has claimed ends the guest, with a report that names the
//! vector. (What comes on the others is tested in the guest: `guest-image/cases`, `vectors`.)

use dormir_harness::vmm::{Accelerator, MachineType, Vmm};
use libtest_mimic::{Failed, Trial};

use crate::guest::{boot, config, is_fault};

/// A line of each PIC, the first that is free, the first of messages, and the last.
const SOME: [u8; 5] = [0x21, 0x2e, 0x31, 0x41, 0xfe];

/// Those that have a handler from the start: of the timers, of the last lines, and the spurious
/// one.
const HANDLED: [u8; 5] = [0x20, 0x27, 0x2f, 0x30, 0xff];

pub(crate) fn trials() -> Vec<Trial> {
    let name = "qemu-tcg/microvm::unclaimed-vectors";
    let all = || (0x20..=0xff).filter(|vector| !HANDLED.contains(vector));
    vec![
        Trial::test(name, || end_the_guest(SOME)),
        Trial::test(format!("{name}-all"), move || end_the_guest(all())).with_ignored_flag(true),
    ]
}

fn end_the_guest(vectors: impl IntoIterator<Item = u8>) -> Result<(), Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm);
    for vector in vectors {
        let arguments = format!("case=end-unhandled-interrupt vector={vector}");
        let run = boot("endings", &config(vmm, arguments))?;
        let report = format!("interrupt {vector:#04x}, for which there is no handler");
        run.check(
            is_fault(&run.report.outcome, &report),
            &format!("not `{report}`"),
        )?;
    }
    Ok(())
}
