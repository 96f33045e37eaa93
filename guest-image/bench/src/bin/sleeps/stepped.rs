//! Sleeps that the harness's VMM steps through, instruction by instruction.

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

/// ... and how long each time: not longer than the PIT counts.
const TIME: Duration = Duration::from_millis(20);

/// Has a task sleep in each executor, between two writes to the port that begins and ends the steps.
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
    // SAFETY: the port is the VMM's, and the write does not change what the guest computes; where there is
    // no such port, it goes nowhere.
    unsafe { Port::new(port::STEPS).write(value) }
}
