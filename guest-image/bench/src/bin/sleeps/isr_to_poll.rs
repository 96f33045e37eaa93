//! `isr_to_poll`: the instructions from the first of the timer interrupt's entry to the first of
//! the woken task's future, through everything that lies between them in every guest.

use core::time::Duration;

use dormir::platform::bare::Machine;

use crate::{
    entry, executors,
    sleeper::{Sleeper, take_tally},
};

/// How often the task sleeps...
const SLEEPS: u32 = 100;

/// ... and how long each time: in instructions, a million.
const TIME: Duration = Duration::from_millis(1);

/// `isr_to_poll` in each executor, unless `max` rules out even one timer.
pub(crate) fn run(machine: &Machine, max: usize) {
    if max == 0 {
        return;
    }
    entry::install();
    executors::each(|subject, sleep| {
        sleep(Sleeper::new(SLEEPS, TIME));
        subject.report_tally_with("isr_to_poll", machine.timer, &take_tally());
    });
}
