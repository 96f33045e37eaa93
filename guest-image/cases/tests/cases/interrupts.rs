//! Tests of interrupts: wakes from a handler, the interrupt flag, spurious interrupts.

use core::{
    arch::{asm, x86_64::__cpuid},
    future::poll_fn,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use critical_section::Mutex;
use dormir::{
    arch::x86_64::{interrupt::InterruptFrame, vector},
    block_on,
    idle::Halt,
    interrupt_entry,
    platform::bare,
    time::Timer,
};
use dormir_guest::println;
use x86_64::instructions::interrupts;

use crate::device::{TestDevice, interrupt_self};

static WAKER: Mutex<core::cell::RefCell<Option<Waker>>> =
    Mutex::new(core::cell::RefCell::new(None));

/// Stores this waker for a device's handler.
fn store_waker(waker: &Waker) {
    critical_section::with(|cs| WAKER.replace(cs, Some(waker.clone())));
}

fn take_waker() -> Option<Waker> {
    critical_section::with(|cs| WAKER.borrow_ref_mut(cs).take())
}

/// A handler wakes the waiting task: an interrupt that is pending when the vCPU halts ends the
/// `hlt`, a hundred times out of a hundred.
#[dormir_guest::test]
fn handler_wakes() {
    const TIMES: u32 = 100;
    let device = TestDevice::new(|| {
        if let Some(waker) = take_waker() {
            waker.wake();
        }
    });
    interrupts::disable();
    for time in 1..=TIMES {
        block_on(
            poll_fn(|cx| {
                if device.interrupts() == time {
                    return Poll::Ready(());
                }
                store_waker(cx.waker());
                device.interrupt();
                Poll::Pending
            }),
            Halt,
        );
    }
    interrupts::enable();
    assert_eq!(device.interrupts(), TIMES);
    assert_eq!(device.halts_ended(), TIMES, "each ended a hlt");
}

/// A handler may create and poll timers: one that is earlier than all others wakes its task. (The
/// sweep tests that its alarm is set however close the handler comes to the `hlt`.)
#[dormir_guest::test]
fn handler_sets_timer() {
    use core::{future::Future, pin::pin};
    use dormir::time::Instant;

    let device = TestDevice::new(|| {
        // A timer created and polled here, with the waiting task's waker.
        let timer = alloc::boxed::Box::new(Timer::after(Duration::from_millis(200)));
        let timer = alloc::boxed::Box::leak(timer);
        // SAFETY: leaked, so it never moves.
        let timer = unsafe { core::pin::Pin::new_unchecked(timer) };
        if let Some(waker) = take_waker() {
            assert!(
                timer
                    .poll(&mut core::task::Context::from_waker(&waker))
                    .is_pending()
            );
        }
    });

    let start = Instant::now();
    let mut far = pin!(Timer::after(Duration::from_secs(3600)));
    let mut polls = 0;
    interrupts::disable();
    block_on(
        poll_fn(|cx| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready(());
            }
            store_waker(cx.waker());
            device.interrupt();
            far.as_mut().poll(cx)
        }),
        Halt,
    );
    interrupts::enable();
    assert_eq!(device.interrupts(), 1);
    let slept = Instant::now().saturating_duration_since(start);
    assert!(slept >= Duration::from_millis(200), "woken after {slept:?}");
}

/// `block_on` leaves the interrupt flag as it found it.
#[dormir_guest::test]
fn flag_is_kept() {
    let nap = || block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    nap();
    assert!(interrupts::are_enabled());
    interrupts::disable();
    nap();
    assert!(!interrupts::are_enabled());
    interrupts::enable();
}

/// Counts the interrupts of handlers other than the [`TestDevice`]'s.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// Stack pointer and flags that the handler of [`entry_saves_all`] found.
static STACK_AT_CALL: AtomicU64 = AtomicU64::new(0);
static FLAGS_AT_CALL: AtomicU64 = AtomicU64::new(0);

/// Records stack pointer and flags at the call, overwrites every caller-saved register, and
/// continues in Rust.
#[unsafe(naked)]
extern "sysv64" fn on_entry_case(_frame: &InterruptFrame) {
    core::arch::naked_asm!(
        "mov [{stack}], rsp",
        "pushfq",
        "pop rax",
        "mov [{flags}], rax",
        "mov rcx, rax",
        "mov rdx, rax",
        "mov rsi, rax",
        "mov r8, rax",
        "mov r9, rax",
        "mov r10, rax",
        "mov r11, rax",
        "jmp {rest}",
        stack = sym STACK_AT_CALL,
        flags = sym FLAGS_AT_CALL,
        rest = sym count,
    )
}

extern "sysv64" fn count(_frame: &InterruptFrame) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    bare::end_of_interrupt();
}
interrupt_entry!(entry_case => on_entry_case);

/// An entry preserves every register and the direction flag, and calls its handler by the ABI:
/// stack aligned, direction flag clear.
#[dormir_guest::test]
fn entry_saves_all() {
    const DIRECTION: u64 = 1 << 10;
    // SAFETY: made by `interrupt_entry!`, and `count` acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::FREE, entry_case) };
    interrupts::disable();
    interrupt_self();
    let (mut a, mut c, mut d, mut si, mut di) = (1_u64, 2_u64, 3_u64, 4_u64, 5_u64);
    let (mut r8, mut r9, mut r10, mut r11) = (6_u64, 7_u64, 8_u64, 9_u64);
    let flags: u64;
    // SAFETY: takes the pending interrupt; the flags are restored after it.
    unsafe {
        asm!(
            "std",
            "sti",
            // Some KVMs deliver an interrupt only some instructions later.
            "2:",
            "cmp dword ptr [{interrupts}], 0",
            "je 2b",
            "cli",
            "pushfq",
            "pop {flags}",
            "cld",
            inout("rax") a, inout("rcx") c, inout("rdx") d, inout("rsi") si, inout("rdi") di,
            inout("r8") r8, inout("r9") r9, inout("r10") r10, inout("r11") r11,
            flags = out(reg) flags,
            interrupts = sym INTERRUPTS,
        );
    }
    interrupts::enable();
    assert_eq!(
        INTERRUPTS.load(Ordering::Relaxed),
        1,
        "the interrupt came during the loop"
    );
    assert_eq!(
        [a, c, d, si, di, r8, r9, r10, r11],
        [1, 2, 3, 4, 5, 6, 7, 8, 9]
    );
    assert_ne!(flags & DIRECTION, 0, "the direction flag is preserved");
    assert_eq!(FLAGS_AT_CALL.load(Ordering::Relaxed) & DIRECTION, 0);
    // The call has pushed its return address.
    assert_eq!((STACK_AT_CALL.load(Ordering::Relaxed) + 8) % 16, 0);
}

const SPURIOUS: [u8; 3] = [
    vector::SPURIOUS,
    vector::PIC_FIRST + 7,
    vector::PIC_SECOND + 7,
];

/// Spurious interrupts of the local APIC and of both PICs are handled, and the timer still works.
#[dormir_guest::test]
fn spurious() {
    SPURIOUS.into_iter().for_each(pretend_interrupt);
    for _ in 0..3 {
        block_on(async { Timer::after(Duration::from_millis(1)).await }, Halt);
    }
}

/// Whether this guest runs under KVM, with or without QEMU.
fn is_under_kvm() -> bool {
    let signature = __cpuid(0x4000_0000);
    let signature = [signature.ebx, signature.ecx, signature.edx];
    signature == [*b"KVMK", *b"VMKV", *b"M\0\0\0"].map(u32::from_le_bytes)
}

/// A spurious interrupt does not end another interrupt that is in service.
#[dormir_guest::test]
fn spurious_ends_no_other() {
    if is_under_kvm() {
        // One that emulates instructions may deliver an interrupt while one of the same priority
        // is in service.
        println!("not tried under KVM");
        return;
    }
    static DEPTH: AtomicU32 = AtomicU32::new(0);

    /// While it is in service, the same interrupt cannot interrupt it.
    extern "sysv64" fn on_device(_frame: &InterruptFrame) {
        assert_eq!(
            DEPTH.fetch_add(1, Ordering::Relaxed),
            0,
            "a spurious interrupt ended this one"
        );
        if INTERRUPTS.fetch_add(1, Ordering::Relaxed) == 0 {
            SPURIOUS.into_iter().for_each(pretend_interrupt);
            interrupt_self();
            interrupts::enable();
            interrupts::disable();
        }
        DEPTH.fetch_sub(1, Ordering::Relaxed);
        bare::end_of_interrupt();
    }
    interrupt_entry!(entry => on_device);
    // SAFETY: made by `interrupt_entry!`, and acknowledges the local APIC's interrupt.
    unsafe { bare::set_interrupt_handler(vector::FREE, entry) };
    interrupt_self();
    while INTERRUPTS.load(Ordering::Relaxed) < 2 {
        core::hint::spin_loop();
    }
}

/// Enters the handler of `vector` as the processor does for an interrupt that is not in service in
/// any controller. (`int` would do that, but not every KVM can emulate it.) It must preserve all
/// registers.
pub(crate) fn pretend_interrupt(vector: u8) {
    let table = x86_64::instructions::tables::sidt().base.as_u64();
    let gate = (table + u64::from(vector) * 16) as *const [u16; 8];
    // SAFETY: the table is loaded and has 256 gates of 16 bytes.
    let gate = unsafe { gate.read() };
    let handler = u64::from(gate[0])
        | u64::from(gate[3]) << 16
        | u64::from(gate[4]) << 32
        | u64::from(gate[5]) << 48;
    let were_enabled = interrupts::are_enabled();
    interrupts::disable();
    let (mut a, mut c, mut d, mut si, mut di) = (1_u64, 2_u64, 3_u64, 4_u64, 5_u64);
    let (mut r8, mut r9, mut r10, mut r11) = (6_u64, 7_u64, 8_u64, 9_u64);
    // SAFETY: builds the frame that the processor would (SDM vol. 3, figure 7-4) and enters a
    // handler that returns by it and saves all registers; the frame's RSP restores the stack.
    unsafe {
        asm!(
            "mov r13, rsp",
            "and rsp, -16",
            "mov r14d, ss",
            "push r14",
            "push r13",
            "pushfq",
            "mov r14d, cs",
            "push r14",
            "lea r14, [rip + 2f]",
            "push r14",
            "jmp r12",
            "2:",
            inout("rax") a, inout("rcx") c, inout("rdx") d, inout("rsi") si, inout("rdi") di,
            inout("r8") r8, inout("r9") r9, inout("r10") r10, inout("r11") r11,
            in("r12") handler, out("r13") _, out("r14") _,
        );
    }
    assert_eq!(
        [a, c, d, si, di, r8, r9, r10, r11],
        [1, 2, 3, 4, 5, 6, 7, 8, 9]
    );
    if were_enabled {
        interrupts::enable();
    }
}

#[dormir_guest::test]
fn critical_section_nests() {
    critical_section::with(|_| {
        assert!(!interrupts::are_enabled());
        critical_section::with(|_| assert!(!interrupts::are_enabled()));
        assert!(
            !interrupts::are_enabled(),
            "an inner section ended the outer one"
        );
    });
    assert!(interrupts::are_enabled());
    interrupts::disable();
    critical_section::with(|_| {});
    assert!(
        !interrupts::are_enabled(),
        "a section unmasked interrupts that it had not masked"
    );
    interrupts::enable();
}
