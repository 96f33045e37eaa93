//! A machine without an operating system: ring 0, one vCPU, memory mapped one to one.
//!
//! [`install_tables`] and [`init`] set up what [`block_on`](crate::block_on) and timers need. A guest
//! that owns its machine can leave out either: put an entry of its own into its interrupt table that
//! calls [`TimerQueue::on_interrupt`], and [install](TimerQueue::install) a clock and an alarm of its
//! own, or those of [`arch`](crate::arch::x86_64).

use core::ops::RangeInclusive;

use spin::Once;

use crate::{
    arch::x86_64::{
        alarm::{OneShotAlarm, PitAlarm, TscDeadlineAlarm},
        apic::{self, Apic},
        cpuid,
        exceptions::ExceptionFrame,
        idt,
        interrupt::{InterruptEntry, InterruptFrame},
        pic, pit, segments, tsc,
        tsc::TscClock,
        vector,
    },
    time::{Alarm, TimerQueue},
};

mod error;
pub(crate) mod tick;
mod timer_source;

pub use error::InitError;
pub use tick::{last_timer_interrupt, timer_interrupts};
pub use timer_source::{TimerSource, UnknownTimerSource};

pub use crate::arch::x86_64::{
    segments::FaultStacks,
    tsc::{ClockSource, FrequencySource},
};

/// How [`init`] sets the machine up. The default chooses everything itself.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config, TimerSource};
///
/// let config = Config { timer: Some(TimerSource::Xapic), ..Config::default() };
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let machine = unsafe { bare::init(config) }?;
/// assert_eq!(machine.timer, TimerSource::Xapic);
/// # Ok::<(), bare::InitError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// The timer to use; `None` takes the best that is present.
    pub timer: Option<TimerSource>,
    /// The TSC's frequency in Hz (1 MHz to 100 GHz), for a clock that goes by the TSC alone. `None` finds it
    /// out, and goes by KVM's paravirtual clock where there is one.
    pub tsc_hz: Option<u64>,
}

/// What [`init`] chose and found.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::platform::bare;
/// use dormir_guest::println;
///
/// let machine = bare::machine().expect("the machine is set up");
/// println!("timer: {}, {} Hz", machine.timer, machine.timer_hz);
/// println!("clock: {}", machine.clock);
/// println!("TSC: {} Hz, by {}", machine.tsc_hz, machine.tsc_source);
/// println!("x2APIC: {}", machine.apic.is_some_and(|apic| apic.is_x2apic()));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Machine {
    /// The timer that interrupts.
    pub timer: TimerSource,
    /// What the clock goes by.
    pub clock: ClockSource,
    /// The TSC's frequency in Hz when this was found out. (Only pvclock can tell of another one later.)
    pub tsc_hz: u64,
    /// Who said so.
    pub tsc_source: FrequencySource,
    /// How often the timer's counter counts in a second.
    pub timer_hz: u64,
    /// The local APIC, enabled; `None` if there is none.
    pub apic: Option<Apic>,
}

/// Loads segments and an interrupt table: exceptions go to `on_exception`, NMIs to `on_nmi`, spurious
/// interrupts nowhere.
///
/// An NMI that comes after the executor's last look keeps it from halting, so `on_nmi` may wake
/// tasks.
///
/// # Safety
///
/// Ring 0, 64-bit mode, one vCPU, interrupts masked, called once; the stacks are mapped, writable and
/// used by nothing else. `on_nmi` must not use timers or critical sections, nor anything that does: they
/// do not hold an NMI off, so it can come in the midst of one.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::{
///     arch::x86_64::{exceptions::ExceptionFrame, interrupt::InterruptFrame},
///     platform::bare::{self, FaultStacks},
/// };
///
/// fn on_exception(frame: &ExceptionFrame) -> ! {
///     dormir_guest::println!("{frame}");
///     dormir_guest::exit(1)
/// }
///
/// fn on_nmi(_frame: &InterruptFrame) {}
///
/// # #[repr(C, align(16))] struct Stacks(core::cell::UnsafeCell<[[u8; 4096]; 3]>);
/// # // SAFETY: nothing but the processor uses them.
/// # unsafe impl Sync for Stacks {}
/// # static STACKS: Stacks = Stacks(core::cell::UnsafeCell::new([[0; 4096]; 3]));
/// # let start = core::ptr::from_ref(&STACKS).addr() as u64;
/// # let (double_fault, nmi, machine_check) = (start + 0x1000, start + 0x2000, start + 0x3000);
/// let stacks = FaultStacks { double_fault, nmi, machine_check };
/// // SAFETY: ring 0, one vCPU, interrupts masked; the stacks are mapped and used by nothing else.
/// unsafe { bare::install_tables(stacks, on_exception, on_nmi) };
/// ```
pub unsafe fn install_tables(
    stacks: FaultStacks,
    on_exception: fn(&ExceptionFrame) -> !,
    on_nmi: fn(&InterruptFrame),
) {
    // SAFETY: the caller's promises are the ones asked for.
    unsafe { segments::load(stacks) };
    // SAFETY: the same, and the segments are loaded.
    unsafe { idt::load(on_exception, on_nmi) };
}

static MACHINE: Once<Machine> = Once::new();
static CLOCK: Once<TscClock> = Once::new();

/// What a TSC's frequency may be: where [`Scale`](crate::time::Scale) is exact.
const TSC_HZ: RangeInclusive<u64> = 1_000_000..=100_000_000_000;

/// Sets up interrupt controllers, clock and alarm, and gives them to the
/// [global queue](TimerQueue::global). Interrupts stay masked.
///
/// # Errors
///
/// See [`InitError`].
///
/// # Safety
///
/// Ring 0, one vCPU, interrupts masked, [`install_tables`] was called, memory is mapped one to one,
/// and so, uncached, is the local APIC's page; nothing else drives PIC, PIT and local APIC.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, platform::bare::{self, Config}, time::Timer};
///
/// // SAFETY: ring 0, one vCPU, interrupts masked; `install_tables` was called; memory is mapped one
/// // to one, the local APIC's page uncached.
/// let machine = unsafe { bare::init(Config::default()) }?;
/// dormir_guest::println!("timer: {}", machine.timer);
/// x86_64::instructions::interrupts::enable();
/// block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
/// # Ok::<(), bare::InitError>(())
/// ```
pub unsafe fn init(config: Config) -> Result<&'static Machine, InitError> {
    if TimerQueue::global().has_clock() {
        return Err(InitError::AlreadyInitialized);
    }
    pic::init();
    let timer = timer_source::choose(config.timer)?;
    let (tsc_hz, tsc_source) = match config.tsc_hz {
        Some(hz) if !TSC_HZ.contains(&hz) => {
            return Err(InitError::ImplausibleTscFrequency { hz });
        }
        Some(hz) => (hz, FrequencySource::Given),
        // SAFETY: the caller's promises are the ones asked for.
        None => unsafe { tsc::find_frequency() }.ok_or(InitError::NoTscFrequency)?,
    };
    // SAFETY: `timer_source::choose` has made sure of what is asked for; the caller mapped the page.
    let apic = unsafe { enable_apic(timer) };
    // The last that can fail: the statics below are for good.
    let timer_hz = match (timer, apic) {
        (TimerSource::Xapic | TimerSource::X2apic, Some(apic)) => apic_hz(apic, tsc_hz)?,
        (TimerSource::TscDeadline, Some(_)) => tsc_hz,
        _ => pit::HZ,
    };
    let by_pvclock = match tsc_source {
        // SAFETY: the caller's promises are the ones asked for.
        FrequencySource::Pvclock => unsafe { TscClock::start_pvclock() },
        _ => None,
    };
    let clock = by_pvclock.unwrap_or_else(|| TscClock::start(tsc_hz));
    let queue = TimerQueue::global();
    let clock = CLOCK.call_once(|| clock.for_queue(queue));
    let alarm: &dyn Alarm = match (timer, apic) {
        (TimerSource::Xapic | TimerSource::X2apic, Some(apic)) => {
            static ALARM: Once<OneShotAlarm> = Once::new();
            ALARM.call_once(|| OneShotAlarm::new(apic, clock, timer_hz))
        }
        (TimerSource::TscDeadline, Some(apic)) => {
            static ALARM: Once<TscDeadlineAlarm> = Once::new();
            // SAFETY: `timer_source::choose` has seen the processor's TSC-deadline bit.
            ALARM.call_once(|| unsafe { TscDeadlineAlarm::new(apic, clock) })
        }
        _ => {
            pit::init();
            pic::unmask(0);
            static ALARM: Once<PitAlarm> = Once::new();
            ALARM.call_once(|| PitAlarm::new(clock))
        }
    };
    // SAFETY: it leaves all as it was, and acknowledges what comes on its vector.
    unsafe { idt::set_handler(vector::PIT, tick::PIT_ENTRY) };
    if let Some(apic) = apic {
        // SAFETY: the same.
        unsafe { idt::set_handler(vector::APIC_TIMER, tick::apic_entry(apic)) };
    }
    queue
        .install(clock, alarm)
        .map_err(|_| InitError::AlreadyInitialized)?;
    Ok(MACHINE.call_once(|| Machine {
        timer,
        clock: clock.source(),
        tsc_hz,
        tsc_source,
        timer_hz,
        apic,
    }))
}

/// The local APIC in the mode that the timer needs. The PIT's interrupts pass through it, so it is
/// enabled for that too, if there is one.
///
/// # Safety
///
/// Ring 0, the APIC's page mapped uncached, and `timer` present.
unsafe fn enable_apic(timer: TimerSource) -> Option<Apic> {
    if !cpuid::has_apic() {
        return None;
    }
    // SAFETY: there is a local APIC.
    let already = unsafe { apic::is_in_x2apic_mode() };
    let x2apic = match timer {
        TimerSource::X2apic => true,
        TimerSource::TscDeadline => cpuid::has_x2apic(),
        TimerSource::Xapic | TimerSource::Pit => already,
    };
    Some(if x2apic {
        // SAFETY: the processor has an x2APIC: it is in that mode, or says so.
        unsafe { Apic::enable_x2apic() }
    } else {
        // SAFETY: it is not in x2APIC mode, and the caller mapped the page.
        unsafe { Apic::enable_xapic() }
    })
}

fn apic_hz(apic: Apic, tsc_hz: u64) -> Result<u64, InitError> {
    let said = match cpuid::hypervisor_timing().apic_hz {
        Some(hz) => Some(hz),
        // A hypervisor's timer need not run from the crystal that the processor's leaf describes.
        None if cpuid::has_hypervisor() => None,
        None => cpuid::crystal_timing().apic_hz,
    };
    said.or_else(|| apic.measure_hz(tsc::read, tsc_hz))
        .ok_or(InitError::ApicTimerStopped)
}

/// What [`init`] chose; `None` before it.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use dormir::platform::bare::{self, Config};
///
/// assert!(bare::machine().is_none());
/// // SAFETY: ring 0, one vCPU, interrupts masked, tables and pages as they must be; called once.
/// let timer = unsafe { bare::init(Config::default()) }?.timer;
/// assert_eq!(bare::machine().map(|machine| machine.timer), Some(timer));
/// # Ok::<(), bare::InitError>(())
/// ```
#[must_use]
pub fn machine() -> Option<&'static Machine> {
    MACHINE.get()
}

/// The clock of the [global queue](TimerQueue::global)'s timers, as [`init`] made it; `None` before it. It turns
/// readings of the TSC into the instants that timers are set to.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::time::Duration;
/// use dormir::{block_on, idle::Halt, platform::bare, time::{Instant, Timer}};
///
/// let clock = bare::clock().expect("the machine is set up");
/// let deadline = Instant::now().saturating_add(Duration::from_millis(1));
/// block_on(async { Timer::at(deadline).await }, Halt);
/// let interrupted = clock.at(bare::last_timer_interrupt());
/// dormir_guest::println!("the interrupt came at {interrupted:?}, due was {deadline:?}");
/// ```
#[must_use]
pub fn clock() -> Option<&'static TscClock> {
    CLOCK.get()
}

/// Puts an interrupt entry of the guest's own into the table, see
/// [`interrupt_entry!`](crate::interrupt_entry). May be called at any time, in any context but NMI.
///
/// # Safety
///
/// `entry` must have been made by `interrupt_entry!` or behave like it, and must acknowledge the
/// interrupts that come on `vector`.
///
/// # Panics
///
/// If `vector` is an exception's (below 32).
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{
///     Event,
///     arch::x86_64::{interrupt::InterruptFrame, vector},
///     interrupt_entry,
///     platform::bare,
/// };
///
/// static RECEIVED: Event = Event::new();
///
/// extern "sysv64" fn on_packet(_frame: &InterruptFrame) {
///     RECEIVED.signal();
///     bare::end_of_interrupt();
/// }
/// interrupt_entry!(packet_entry => on_packet);
///
/// // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// unsafe { bare::set_interrupt_handler(vector::FREE, packet_entry) };
/// # bare::machine().and_then(|machine| machine.apic).expect("an APIC").interrupt_self(vector::FREE);
/// # dormir::block_on(RECEIVED.wait().expect("nobody else waits"), dormir::idle::Halt);
/// ```
pub unsafe fn set_interrupt_handler(vector: u8, entry: InterruptEntry) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { idt::set_handler(vector, entry) };
}

/// Ends an interrupt that came through the local APIC (not one of the PIC's lines: that is
/// [`pic::end_of_interrupt`]). Without a local APIC it does nothing.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::task::Waker;
/// use dormir::{arch::x86_64::interrupt::InterruptFrame, interrupt_entry, platform::bare};
/// use spin::Once;
///
/// static WAITING: Once<Waker> = Once::new();
///
/// extern "sysv64" fn on_device(_frame: &InterruptFrame) {
///     if let Some(waker) = WAITING.get() {
///         waker.wake_by_ref();
///     }
///     bare::end_of_interrupt();
/// }
/// interrupt_entry!(device_entry => on_device);
/// # use dormir::arch::x86_64::vector;
/// # // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// # unsafe { bare::set_interrupt_handler(vector::FREE, device_entry) };
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
/// # let mut polls = 0;
/// # let three_polls = core::future::poll_fn(|cx| {
/// #     WAITING.call_once(|| cx.waker().clone());
/// #     polls += 1;
/// #     if polls == 3 { return core::task::Poll::Ready(()); }
/// #     apic.interrupt_self(vector::FREE);
/// #     core::task::Poll::Pending
/// # });
/// # dormir::block_on(three_polls, dormir::idle::Halt);
/// ```
#[inline]
pub fn end_of_interrupt() {
    if let Some(apic) = MACHINE.get().and_then(|machine| machine.apic) {
        apic.end_of_interrupt();
    }
}
