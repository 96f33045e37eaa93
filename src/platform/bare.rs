//! A machine without an operating system: ring 0, one vCPU, memory mapped one to one.
//!
//! [`install_tables`] and [`init`](fn@init) set up what [`block_on`](crate::block_on) and timers need. A
//! guest that owns its machine can do without either. It puts an entry of its own, which calls
//! [`TimerQueue::on_interrupt`](crate::time::TimerQueue::on_interrupt), into its interrupt table,
//! and [installs](crate::time::TimerQueue::install) a clock and an alarm of its own or those of
//! [`arch`](crate::arch::x86_64).

use crate::arch::x86_64::{
    exceptions::ExceptionFrame,
    idt,
    interrupt::{InterruptEntry, InterruptFrame},
    segments,
};

mod config;
mod device_interrupt;
mod error;
mod init;
mod machine;
pub(crate) mod tick;
mod timer_source;
#[cfg(feature = "watchdog")]
mod watchdog;

pub use config::Config;
pub use device_interrupt::{ClaimError, DeviceInterrupt, Message, unclaimed_interrupts};
pub use error::InitError;
pub use init::init;
pub use machine::{Machine, clock, end_of_interrupt, machine};
pub use tick::{last_timer_interrupt, timer_interrupts};
pub use timer_source::{ParseTimerSourceError, TimerSource};
#[cfg(feature = "watchdog")]
pub use watchdog::start_watchdog;

pub use crate::arch::x86_64::{
    segments::FaultStacks,
    tsc::{ClockSource, FrequencySource},
};

/// Loads segments and an interrupt table. Exceptions go to `on_exception` and NMIs to `on_nmi`;
/// spurious interrupts have no effect.
///
/// An NMI that comes after the executor's last check keeps it from halting, so `on_nmi` may wake
/// tasks.
///
/// # Safety
///
/// Ring 0, 64-bit mode, one vCPU, interrupts masked, called once; the stacks are mapped, writable
/// and used by nothing else. `on_nmi` must not use timers, critical sections, or anything that
/// does: they do not mask NMIs, so an NMI can interrupt any of them. One exception: an `on_nmi`
/// that never returns to what it interrupted may call
/// [`current_task`](crate::executor::current_task), under the conditions described there.
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
/// # // SAFETY: only the processor uses them.
/// # unsafe impl Sync for Stacks {}
/// # static STACKS: Stacks = Stacks(core::cell::UnsafeCell::new([[0; 4096]; 3]));
/// # let start = core::ptr::from_ref(&STACKS).addr() as u64;
/// # let (double_fault, nmi, machine_check) = (start + 0x1000, start + 0x2000, start + 0x3000);
/// // Addresses of memory that the guest has set aside.
/// let stacks = FaultStacks { double_fault, nmi, machine_check };
/// // SAFETY: ring 0, one vCPU, interrupts masked; the stacks are mapped and used by nothing else.
/// unsafe { bare::install_tables(stacks, on_exception, on_nmi) };
/// ```
pub unsafe fn install_tables(
    stacks: FaultStacks,
    on_exception: fn(&ExceptionFrame) -> !,
    on_nmi: fn(&InterruptFrame),
) {
    // SAFETY: the caller guarantees what `segments::load` requires.
    unsafe { segments::load(stacks) };
    // SAFETY: the same, and the segments are loaded.
    unsafe { idt::load(on_exception, on_nmi) };
}

/// Puts an interrupt entry of the guest's own, made by
/// [`interrupt_entry!`](crate::interrupt_entry), into the table. It may be called at any time, in
/// any context but an NMI handler. Drivers need it only for a handler that does more than to signal;
/// otherwise see [`DeviceInterrupt`]. A vector that a driver has claimed is taken from it.
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
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("an APIC");
/// # apic.interrupt_self(vector::FREE);
/// # dormir::block_on(RECEIVED.wait().expect("no other task waits"), dormir::idle::Halt);
/// ```
pub unsafe fn set_interrupt_handler(vector: u8, entry: InterruptEntry) {
    // SAFETY: the caller guarantees what `set_handler` requires.
    unsafe { idt::set_handler(vector, entry) };
}
