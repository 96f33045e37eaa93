//! Sleeps through which the harness's VMM steps, instruction by instruction.

use core::time::Duration;

use dormir::{
    arch::x86_64::vector,
    platform::bare::{Machine, TimerSource},
};
use dormir_abi::port;
use x86_64::instructions::port::Port;

use crate::{executors, sleeper::Sleeper};

/// How often the task sleeps in each executor...
const SLEEPS: u32 = 3;

/// ... and how long each time: no longer than the PIT can count.
const TIME: Duration = Duration::from_millis(20);

/// Runs a sleeping task in each executor, between two writes to the port that starts and ends the
/// stepping.
pub(crate) fn run(machine: &Machine) {
    let vector = match machine.timer {
        TimerSource::Pit => vector::PIT,
        _ => vector::APIC_TIMER,
    };
    executors::each(|subject, sleep| {
        subject.report_with("isr_to_poll", machine.timer, "sleeps", SLEEPS.into());
        write(vector.into());
        sleep(Sleeper::new(SLEEPS, TIME));
        write(port::STEPS_END);
    });
}

fn write(value: u32) {
    // SAFETY: the port belongs to the VMM, and a write changes nothing in the guest; without such a
    // port it has no effect.
    unsafe { Port::new(port::STEPS).write(value) }
}
