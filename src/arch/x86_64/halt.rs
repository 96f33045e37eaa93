//! The one `hlt`, and the last look before it.
//!
//! A maskable interrupt cannot come between the look and the `hlt`: it is masked from before the look
//! until the `sti`, and `sti` holds interrupts off for one more instruction, which is the `hlt` (SDM
//! vol. 2, STI). One that is pending ends the `hlt` as soon as it begins.
//!
//! An NMI is masked by nothing. If one comes after the look and wakes a task, the look is out of date
//! and the vCPU must not halt on it. So the NMI handler raises a flag that was lowered before the look,
//! and the flag is tested just before the `sti`. Between that test and the `hlt` there is no flag left
//! to see: an NMI that comes there returns behind the `hlt` instead of to it.

use core::{
    arch::global_asm,
    sync::atomic::{AtomicU8, Ordering, compiler_fence},
};

use x86_64::instructions::interrupts;

// The window in which an NMI steps over the `hlt` begins behind the test and ends with the `hlt`.
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
    // The one halt. `sti` holds interrupts off until it has begun.
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

/// Whether an NMI came since the last look began. Of the one vCPU.
static NMI_CAME: AtomicU8 = AtomicU8::new(0);

/// Masks interrupts and looks; if there is nothing to do, halts until the next interrupt. Returns with
/// interrupts unmasked.
///
/// For the main line of one vCPU.
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
    // An NMI's handler runs on this vCPU: the processor keeps the order, the compiler must too.
    compiler_fence(Ordering::SeqCst);
    if nothing_to_do() {
        // A call into assembly: the compiler moves no memory access across.
        dormir_halt();
    } else {
        interrupts::enable();
    }
}

/// The part of an NMI handler (or of one for machine checks that returns) that keeps [`halt_if`] from
/// sleeping on a wake: takes the interrupted RIP and gives the one to return to. To be called at every
/// NMI, before or after what the handler does.
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
///     // Wake whoever waits for the NMI, then:
///     frame.rip = halt::on_nmi(frame.rip);
/// }
/// # let halt_instruction = halt::halt_instruction();
/// # let mut frame = InterruptFrame { rip: halt_instruction, cs: 8, rflags: 2, rsp: 0, ss: 16 };
/// # on_nmi(&mut frame);
/// # assert!(frame.rip > halt_instruction, "it steps over the `hlt`");
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

/// The address of the `hlt`.
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
/// /// Counts the interrupts that ended a halt: those return behind the `hlt`, which is one byte long.
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
/// # bare::machine().and_then(|machine| machine.apic).expect("an APIC").interrupt_self(vector::FREE);
/// # halt_if(|| true);
/// # assert_eq!(WAKES.load(Ordering::Relaxed), 1);
/// ```
#[must_use]
#[inline]
pub fn halt_instruction() -> u64 {
    (&raw const dormir_halt_instruction) as u64
}
