//! Hangs, at which the time limit ends the guest.

use dormir_guest::print;
use x86_64::instructions::interrupts;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("end-hang-halted", hang_halted),
    ("end-hang-asleep", hang_asleep),
    ("end-hang-spinning", hang_spinning),
];

/// Distinguishes a hang in the case from one before it.
const HANGS: &str = "now hanging\n";

fn hang_halted() {
    print!("{HANGS}");
    interrupts::disable();
    x86_64::instructions::hlt();
}

/// Waits for a wake that never comes.
fn hang_asleep() {
    print!("{HANGS}");
    dormir::block_on(core::future::pending::<()>(), dormir::idle::Halt);
}

fn hang_spinning() {
    print!("{HANGS}");
    loop {
        core::hint::spin_loop();
    }
}
