//! The clock and the alarm that the runtimes share, and the routing of the timer's interrupt.
//!
//! The clock is that of dormir's timers, so a deadline is the same instant for all runtimes. dormir
//! uses the alarm of `bare::init`; the floor and embassy use [another](alarm::another).

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
pub(crate) struct SharedMachine {
    pub(crate) clock: &'static TscClock,
    pub(crate) alarm: &'static dyn Alarm,
    /// Whether the timer is the PIT, whose interrupts the PIC delivers.
    by_pit: bool,
    /// The local APIC, which delivers all other interrupts.
    apic: Option<Apic>,
    /// The least time from a round's start to its deadline.
    interval_nanos: u64,
}

static MACHINE: Once<SharedMachine> = Once::new();

/// Finds the clock and makes the alarm.
pub(crate) fn start(interval_us: u64) -> Result<(), String> {
    let found = bare::machine().ok_or("the machine is not set up")?;
    let clock = bare::clock().ok_or("the machine has no clock")?;
    let alarm = alarm::another(found, clock)?;
    CLOCK.store(ptr::from_ref(clock).cast_mut(), Ordering::Relaxed);
    MACHINE.call_once(|| SharedMachine {
        clock,
        alarm,
        by_pit: found.timer == TimerSource::Pit,
        apic: found.apic,
        interval_nanos: interval_us.saturating_mul(1000),
    });
    Ok(())
}

/// The least time before the host injects an interrupt: by then the vCPU sleeps.
const HOST_INTERVAL_NANOS: u64 = 1_000_000;

/// Returns `nanos` plus a random part of up to half as much, so that the rounds do not synchronise
/// with periodic work of the host.
fn with_jitter(nanos: u64) -> u64 {
    static RANDOM: Mutex<RefCell<Random>> =
        Mutex::new(RefCell::new(Random::seeded(0x9e37_79b9_7f4a_7c15)));
    let more = critical_section::with(|cs| RANDOM.borrow_ref_mut(cs).below(nanos / 2 + 1));
    nanos.saturating_add(more)
}

/// The clock, for access without a check whether it is set.
static CLOCK: AtomicPtr<TscClock> = AtomicPtr::new(ptr::null_mut());

/// Returns the time. Must not be called before [`start`].
#[inline(always)]
pub(crate) fn now() -> Instant {
    let clock = CLOCK.load(Ordering::Relaxed);
    debug_assert!(!clock.is_null());
    // SAFETY: `start`, which `main` calls first, has stored a static there; a guest in which it
    // failed ends at once.
    unsafe { &*clock }.now()
}

/// Returns what [`start`] made.
#[inline(always)]
pub(crate) fn machine() -> &'static SharedMachine {
    MACHINE.get().expect("`start` is called first")
}

/// A way to end an interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfInterrupt {
    Pic,
    Xapic,
    X2apic,
}

impl EndOfInterrupt {
    /// Ends the timer's interrupt in this way. With a constant `self` there is no branch.
    #[inline(always)]
    pub(crate) fn end_timer_interrupt(self) {
        match self {
            Self::Pic => pic::end_of_interrupt(0),
            Self::Xapic => {
                // SAFETY: the local APIC's page is at its reset address, as `bare` uses it, and is
                // identity-mapped; its EOI register is at 0xb0.
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

impl SharedMachine {
    /// Returns how the timer's interrupt is ended.
    pub(crate) fn timer_ending(&self) -> EndOfInterrupt {
        if self.by_pit {
            EndOfInterrupt::Pic
        } else {
            self.host_ending()
        }
    }

    /// Returns how an interrupt from the host is ended, which the local APIC delivers.
    pub(crate) fn host_ending(&self) -> EndOfInterrupt {
        match self.apic {
            Some(apic) if apic.is_x2apic() => EndOfInterrupt::X2apic,
            _ => EndOfInterrupt::Xapic,
        }
    }

    /// Makes `entry` the entry of the timer's interrupt.
    ///
    /// # Safety
    ///
    /// `entry` must behave like one of `interrupt_entry!`, and end the timer's interrupt.
    pub(crate) unsafe fn on_timer(&self, entry: InterruptEntry) {
        // SAFETY: the caller's promise is the one required.
        unsafe { bare::set_interrupt_handler(self.timer_vector(), entry) };
    }

    /// Returns the address of the timer interrupt's present entry.
    pub(crate) fn timer_entry(&self) -> u64 {
        // SAFETY: `bare::init` has loaded the table, since `self` exists, and no handler of this
        // guest changes it.
        unsafe { gates::entry_of(self.timer_vector()) }
    }

    fn timer_vector(&self) -> u8 {
        if self.by_pit {
            vector::PIT
        } else {
            vector::APIC_TIMER
        }
    }

    /// Returns the time from the start of the next round to its deadline.
    pub(crate) fn until_deadline(&self) -> u64 {
        with_jitter(self.interval_nanos)
    }

    /// Returns the time from the start of the next round to the host's interrupt.
    pub(crate) fn until_interrupt(&self) -> u64 {
        with_jitter(HOST_INTERVAL_NANOS)
    }
}
