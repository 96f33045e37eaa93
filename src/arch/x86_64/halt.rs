//! The library's only `hlt`, and the last check before it.
//!
//! A maskable interrupt cannot come between the check and the `hlt`. Interrupts are masked from
//! before the check until the `sti`, and `sti` delays interrupts for one more instruction, which is
//! the `hlt` (SDM vol. 2, STI). A pending interrupt ends the `hlt` as soon as it begins.
//!
//! NMIs cannot be masked. If one comes after the check and wakes a task, the result of the check is
//! out of date and the vCPU must not halt. So the check is preceded by clearing a flag that the NMI
//! handler sets, and the flag is tested just before the `sti`. An NMI between that test and the
//! `hlt` comes too late for the test. Its handler then returns to `dormir_halt_over`, which unmasks
//! interrupts and returns without halting.
//!
//! The flag is one static: only one vCPU may halt here.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU8, Ordering, compiler_fence},
};

use x86_64::instructions::interrupts;

// An NMI in the window, from behind the test up to and including the `hlt`, returns to
// `dormir_halt_over`.
global_asm!(
    ".pushsection .text.dormir_halt, \"ax\", @progbits",
    ".globl dormir_halt",
    ".type dormir_halt, @function",
    "dormir_halt:",
    "    cmp byte ptr [rip + {nmi_came}], 0",
    ".globl dormir_halt_window",
    "dormir_halt_window:",
    "    jne dormir_halt_over",
    "    sti",
    ".globl dormir_halt_instruction",
    "dormir_halt_instruction:",
    // The library's one halt. `sti` holds interrupts off until it has begun.
    "    hlt",
    "    ret",
    ".globl dormir_halt_over",
    "dormir_halt_over:",
    "    sti",
    "    ret",
    ".size dormir_halt, . - dormir_halt",
    ".popsection",
    nmi_came = sym NMI_CAME,
);

unsafe extern "C" {
    pub(crate) safe fn dormir_halt();
    static dormir_halt_window: u8;
    static dormir_halt_instruction: u8;
    static dormir_halt_over: u8;
}

/// Whether an NMI has come since the last check began, on the one vCPU.
static NMI_CAME: AtomicU8 = AtomicU8::new(0);

/// Masks interrupts and calls `nothing_to_do`. If it returns true, halts until the next interrupt.
/// Interrupts are unmasked afterwards.
///
/// It is for code of one vCPU that is not an interrupt handler.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::{arch::x86_64::halt::halt_if, platform::bare};
///
/// /// Sleeps until there have been more timer interrupts than `seen`.
/// fn sleep(seen: u64) {
///     let nothing_to_do = || bare::timer_interrupts() == seen;
///     while nothing_to_do() {
///         halt_if(nothing_to_do);
///     }
/// }
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("there is a local APIC");
/// # let seen = bare::timer_interrupts();
/// # apic.one_shot_mode();
/// # apic.start_count(1_000_000);
/// # sleep(seen);
/// ```
#[inline]
pub fn halt_if(nothing_to_do: impl FnOnce() -> bool) {
    interrupts::disable();
    NMI_CAME.store(0, Ordering::Relaxed);
    // An NMI's handler runs on this vCPU, so only the compiler could reorder what it sees.
    compiler_fence(Ordering::SeqCst);
    if nothing_to_do() {
        // The compiler moves no memory access across a call into assembly.
        dormir_halt();
    } else {
        interrupts::enable();
    }
}

/// Keeps [`halt_if`] from halting after an NMI that woke a task: takes the interrupted RIP and
/// returns the one to return to.
///
/// An NMI handler that is not dormir's calls it at every NMI, before or after its own work. So does
/// a handler for machine checks that returns.
///
/// # Examples
///
/// For a guest with an interrupt table of its own:
///
/// ```
/// # dormir_guest::entry!(main);
/// use dormir::arch::x86_64::{halt, interrupt::InterruptFrame};
///
/// extern "sysv64" fn on_nmi(frame: &mut InterruptFrame) {
///     // Wake the task that waits for the NMI, then:
///     frame.rip = halt::on_nmi(frame.rip);
/// }
/// # let halt_instruction = halt::halt_instruction();
/// # let mut frame = InterruptFrame { rip: halt_instruction, cs: 8, rflags: 2, rsp: 0, ss: 16 };
/// # on_nmi(&mut frame);
/// # assert!(frame.rip > halt_instruction, "it skips the `hlt`");
/// # frame.rip = 0x20_1234;
/// # on_nmi(&mut frame);
/// # assert_eq!(frame.rip, 0x20_1234);
/// ```
#[must_use = "the handler must return to this address"]
#[inline]
pub fn on_nmi(interrupted: u64) -> u64 {
    NMI_CAME.store(1, Ordering::Relaxed);
    let window = (&raw const dormir_halt_window) as u64..=halt_instruction();
    if window.contains(&interrupted) {
        (&raw const dormir_halt_over) as u64
    } else {
        interrupted
    }
}

/// The address of the `hlt`. It is one byte long, so a halt that has ended returns to the next one.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main);
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use dormir::arch::x86_64::{halt::halt_instruction, interrupt::InterruptFrame};
///
/// static WAKES: AtomicU64 = AtomicU64::new(0);
///
/// /// Counts the interrupts that ended a halt: they return behind the `hlt`.
/// extern "sysv64" fn on_device(frame: &InterruptFrame) {
///     if frame.rip == halt_instruction() + 1 {
///         WAKES.fetch_add(1, Ordering::Relaxed);
///     }
/// #   dormir::platform::bare::end_of_interrupt();
/// }
/// # dormir::interrupt_entry!(entry => on_device);
/// # use dormir::{arch::x86_64::{halt::halt_if, vector}, platform::bare};
/// # // SAFETY: made by `interrupt_entry!`, and ends the local APIC's interrupt.
/// # unsafe { bare::set_interrupt_handler(vector::FREE, entry) };
/// # x86_64::instructions::interrupts::disable();
/// # let apic = bare::machine().and_then(|machine| machine.apic).expect("an APIC");
/// # apic.interrupt_self(vector::FREE);
/// # halt_if(|| true);
/// # assert_eq!(WAKES.load(Ordering::Relaxed), 1);
/// ```
#[must_use]
#[inline]
pub fn halt_instruction() -> u64 {
    (&raw const dormir_halt_instruction) as u64
}
