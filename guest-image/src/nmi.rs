//! NMIs: the program's handler, or a report of what the guest was doing. The harness sends an NMI
//! at the time limit.

use core::{
    fmt,
    sync::atomic::{AtomicPtr, Ordering},
};

use dormir::{
    arch::x86_64::interrupt::InterruptFrame,
    executor::{current_task, last_yield},
    platform::bare,
    time::{Instant, TimerQueue},
};
use dormir_abi::{exit as exit_code, record::Record};

use crate::{
    backtrace,
    boot::image,
    console::{TextLine, write_record},
    exit, fault, println,
};

/// The address of the program's handler; null if there is none. A function pointer fits, since on
/// this target both are addresses.
static NMI_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Makes NMIs call `handler`, which may wake tasks. Without a handler an NMI ends the guest, and
/// reports what it was doing. The harness sends an NMI at the time limit, which calls `handler`
/// too.
///
/// # Safety
///
/// `handler` must not use timers, critical sections or the heap: they do not mask NMIs, so an NMI
/// can interrupt any of them.
pub unsafe fn set_nmi_handler(handler: fn(&InterruptFrame)) {
    NMI_HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

pub(crate) fn on_nmi(frame: &InterruptFrame) {
    let handler = NMI_HANDLER.load(Ordering::Relaxed);
    if handler.is_null() {
        report(frame);
    }
    // SAFETY: an address other than null was stored by `set_nmi_handler`, from a function of this
    // type.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&InterruptFrame)>(handler) };
    handler(frame);
}

/// Reports what the NMI interrupted, and ends the guest.
///
/// The backtrace comes first. If the rest faults, because the guest has spoiled what is read here,
/// the harness has the backtrace, and the report of that fault does not ask for the task again.
fn report(frame: &InterruptFrame) -> ! {
    fault::begin_report();
    backtrace::report_interrupted(backtrace::here(), frame);
    let doing = Doing::new(frame);
    // Without the library's features that time polls, the compiler leaves the first of these out.
    let text = match last_yield() {
        Some(yielded) if !doing.is_halted => doing.unyielding(Instant::now(), yielded),
        _ => TextLine::message(format_args!("{doing}")),
    };
    write_record(Record::Hang(text.as_str()));
    println!("NMI at {:#x}: {}", frame.rip, text.as_str());
    exit(exit_code::EXCEPTION)
}

/// What the guest was doing.
struct Doing {
    task: Option<&'static str>,
    is_halted: bool,
    is_masked: bool,
    /// The time and the next deadline of the global queue; `None` without a clock.
    timer: Option<(Instant, Instant)>,
}

impl Doing {
    fn new(frame: &InterruptFrame) -> Self {
        const INTERRUPT_FLAG: u64 = 1 << 9;
        Self {
            // In an NMI only because the report never returns: see `current_task`.
            task: current_task(),
            is_halted: follows_halt(frame.rip),
            is_masked: frame.rflags & INTERRUPT_FLAG == 0,
            timer: bare::clock().map(|_| (Instant::now(), TimerQueue::global().next_deadline())),
        }
    }

    /// Such as "running task main::work, which has not yielded for 4.2s".
    fn unyielding(&self, now: Instant, yielded: Instant) -> TextLine {
        let (the_task, name) = match self.task {
            Some(name) => ("task ", name),
            None => ("a future outside of tasks", ""),
        };
        let length = now.saturating_duration_since(yielded);
        let masked = if self.is_masked {
            ", with interrupts masked"
        } else {
            ""
        };
        TextLine::message(format_args!(
            "running {the_task}{name}, which has not yielded for {length:.1?}{masked}"
        ))
    }
}

/// Whether the instruction before `rip` is a `hlt`. (It is one byte long.)
fn follows_halt(rip: u64) -> bool {
    const HLT: u8 = 0xf4;
    let before = rip.wrapping_sub(1);
    // SAFETY: the image's code is mapped, and never written.
    image::text().contains(&before) && unsafe { (before as *const u8).read() } == HLT
}

/// Such as "running task main::work, which does not yield, a timer has been due for 4.2s", or
/// "halted, no timer is set".
impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.task, self.is_halted) {
            (Some(task), true) => write!(f, "halted in task {task}, which does not return")?,
            (Some(task), false) => write!(f, "running task {task}, which does not yield")?,
            (None, true) => f.write_str("halted")?,
            (None, false) => f.write_str("running code outside of tasks")?,
        }
        if self.is_masked {
            f.write_str(", with interrupts masked")?;
        }
        match self.timer {
            None => Ok(()),
            Some((_, Instant::NEVER)) => f.write_str(", no timer is set"),
            Some((now, deadline)) if deadline > now => {
                let left = deadline.saturating_duration_since(now);
                write!(f, ", the next timer is due in {left:.1?}")
            }
            Some((now, deadline)) => {
                let late = now.saturating_duration_since(deadline);
                write!(f, ", a timer has been due for {late:.1?}")
            }
        }
    }
}
