//! The watchdog: reports to the harness which task does not yield.

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dormir::{arch::x86_64::interrupt::InterruptFrame, platform::bare, watchdog::Stall};
use dormir_abi::{exit as exit_code, record::Record};

use crate::{
    backtrace,
    console::{TextLine, write_record},
    exit, println,
};

/// What the watchdog does after its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStall {
    /// The guest goes on. A poll is reported at most once.
    Continue,
    /// The guest ends, with the exit code 103.
    End,
}

/// Whether a stall ends the guest.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Starts the [watchdog](dormir::watchdog), or changes its limit and what it does: at least a
/// millisecond, and with [`Duration::MAX`] nothing is reported.
///
/// When a poll has not returned for longer than `limit`, the timer's interrupt prints the task and
/// for how long it has not yielded, and reports registers and stack, of which the harness makes
/// file, line and backtrace. The report takes some 6 KiB of the stack that it interrupts.
///
/// ```no_run
/// #![no_std]
/// #![no_main]
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, time::Timer};
/// use dormir_guest::{AtStall, start_watchdog};
///
/// dormir_guest::entry!(main);
///
/// fn main() {
///     start_watchdog(Duration::from_secs(1), AtStall::End);
///     // A guest may wait for as long as it likes.
///     block_on(async { Timer::after(Duration::from_secs(2)).await }, Halt);
/// }
/// ```
///
/// # Panics
///
/// If the limit is shorter than a millisecond, or the guest owns its machine and has not set up its
/// timer by `dormir::platform::bare::init`.
pub fn start_watchdog(limit: Duration, at_stall: AtStall) {
    ENDS.store(at_stall == AtStall::End, Ordering::Relaxed);
    bare::start_watchdog(limit, on_stall);
}

/// Reports what the timer's interrupt has interrupted.
fn on_stall(stall: &Stall, frame: &InterruptFrame) {
    backtrace::report_interrupted(backtrace::here(), frame);
    let text = TextLine::message(format_args!("{stall}"));
    write_record(Record::Stall(text.as_str()));
    println!("watchdog: {}, at {:#x}", text.as_str(), frame.rip);
    if ENDS.load(Ordering::Relaxed) {
        exit(exit_code::STALLED);
    }
}
