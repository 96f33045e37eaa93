//! The clock and the alarm that the runtimes share, and whose interrupt goes where.
//!
//! The clock is the one of dormir's timers, so a deadline is the same instant for all. dormir's own alarm is
//! `bare::init`'s; the floor and embassy have [another](alarm::another).

use alloc::string::String;
use core::{
    cell::RefCell,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::{apic::Apic, interrupt::InterruptEntry, pic, tsc::TscClock, vector},
    platform::bare::{self, TimerSource},
    time::{Alarm, Clock, Instant},
};
use dormir_bench_guest::{alarm, gates, random::Random};
use spin::Once;
use x86_64::registers::model_specific::Msr;

/// What the runtimes share.
pub(crate) struct Machine {
    pub(crate) clock: &'static TscClock,
    pub(crate) alarm: &'static dyn Alarm,
    /// Whether the timer is the PIT, whose interrupts come from the PIC.
    by_pit: bool,
    /// The local APIC, from which all other interrupts come.
    apic: Option<Apic>,
    /// The least time from a round's start to its deadline.
    interval_nanos: u64,
}

static MACHINE: Once<Machine> = Once::new();

/// Finds the clock and makes the alarm.
pub(crate) fn start(interval_us: u64) -> Result<(), String> {
    let found = bare::machine().ok_or("the machine is not set up")?;
    let clock = bare::clock().ok_or("the machine has no clock")?;
    let alarm = alarm::another(found, clock)?;
    CLOCK.store(ptr::from_ref(clock).cast_mut(), Ordering::Relaxed);
    MACHINE.call_once(|| Machine {
        clock,
        alarm,
        by_pit: found.timer == TimerSource::Pit,
        apic: found.apic,
        interval_nanos: interval_us.saturating_mul(1000),
    });
    Ok(())
}

/// How long the host waits, at least, before it injects an interrupt: by then the vCPU sleeps.
const HOST_INTERVAL_NANOS: u64 = 1_000_000;

/// That long, and up to half as long again, so that the rounds do not fall into step with anything that the host
/// does regularly.
fn and_some_more(nanos: u64) -> u64 {
    static RANDOM: Mutex<RefCell<Random>> =
        Mutex::new(RefCell::new(Random::seeded(0x9e37_79b9_7f4a_7c15)));
    let more = critical_section::with(|cs| RANDOM.borrow_ref_mut(cs).below(nanos / 2 + 1));
    nanos.saturating_add(more)
}

/// The clock, without a look whether it is there.
static CLOCK: AtomicPtr<TscClock> = AtomicPtr::new(ptr::null_mut());

/// The time. It must not be asked for before [`start`].
#[inline(always)]
pub(crate) fn now() -> Instant {
    let clock = CLOCK.load(Ordering::Relaxed);
    debug_assert!(!clock.is_null());
    // SAFETY: `start`, with which the guest begins, has put a static there; nobody asks for the time in a guest
    // where it failed.
    unsafe { &*clock }.now()
}

/// What [`start`] made.
#[inline(always)]
pub(crate) fn machine() -> &'static Machine {
    MACHINE.get().expect("the guest begins with it")
}

/// A way to end an interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Pic,
    Xapic,
    X2apic,
}

impl Ending {
    /// Ends the timer's interrupt in this way. Where it is known when this is compiled, nothing is looked up.
    #[inline(always)]
    pub(crate) fn end_timer_interrupt(self) {
        match self {
            Self::Pic => pic::end_of_interrupt(0),
            Self::Xapic => {
                // SAFETY: the local APIC's page is where it is after a reset, as `bare` uses it, and mapped one to
                // one; its EOI register is at 0xb0.
                unsafe { ptr::with_exposed_provenance_mut::<u32>(XAPIC_EOI).write_volatile(0) };
            }
            Self::X2apic => {
                // SAFETY: it is the EOI register of the local APIC, which is in x2APIC mode.
                unsafe { Msr::new(X2APIC_EOI).write(0) };
            }
        }
    }
}

const XAPIC_EOI: usize = 0xfee0_00b0;
const X2APIC_EOI: u32 = 0x80b;

impl Machine {
    /// How the timer's interrupt is ended.
    pub(crate) fn timer_ending(&self) -> Ending {
        if self.by_pit {
            Ending::Pic
        } else {
            self.host_ending()
        }
    }

    /// How an interrupt from the host is ended, which the local APIC delivers.
    pub(crate) fn host_ending(&self) -> Ending {
        match self.apic {
            Some(apic) if apic.is_x2apic() => Ending::X2apic,
            _ => Ending::Xapic,
        }
    }

    /// Lets the timer's interrupt enter there from now on.
    ///
    /// # Safety
    ///
    /// `entry` must behave like one of `interrupt_entry!`, and end the timer's interrupt.
    pub(crate) unsafe fn on_timer(&self, entry: InterruptEntry) {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { bare::set_interrupt_handler(self.timer_vector(), entry) };
    }

    /// Where the timer's interrupt enters at present.
    pub(crate) fn timer_entry(&self) -> u64 {
        // SAFETY: `bare::init` has loaded the table, or there were no machine, and no handler of this guest
        // changes it.
        unsafe { gates::entry_of(self.timer_vector()) }
    }

    fn timer_vector(&self) -> u8 {
        if self.by_pit {
            vector::PIT
        } else {
            vector::APIC_TIMER
        }
    }

    /// How long it is to be from the start of the next round to its deadline.
    pub(crate) fn until_deadline(&self) -> u64 {
        and_some_more(self.interval_nanos)
    }

    /// The same to the interrupt from the host.
    pub(crate) fn until_interrupt(&self) -> u64 {
        and_some_more(HOST_INTERVAL_NANOS)
    }
}
