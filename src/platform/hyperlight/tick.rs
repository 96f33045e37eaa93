//! The periodic timer of a sandbox with `hw-interrupts`, and its interrupt handler.
//!
//! It uses Hyperlight's own tables: the interrupt table, found by `sidt`, and the task state
//! segment, found through the descriptor table. Each call that waits writes both again and
//! initializes the controllers, because restoring a snapshot undoes that.
//!
//! The handler only counts and acknowledges. It has a stack of its own: on the interrupted stack,
//! or on that of the exceptions, the delivery could touch a page that is still to be copied on
//! write.

use core::{
    arch::{asm, global_asm},
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use x86_64::instructions::{
    interrupts,
    port::Port,
    tables::{sgdt, sidt},
};

use crate::arch::x86_64::{pic, vector};

/// Hyperlight's paravirtual timer: takes a period in microseconds; zero stops it.
const TIMER_PORT: u16 = 107;

/// The host's bounds for a period, in microseconds.
const SHORTEST: u32 = 100;
const LONGEST: u32 = 10_000_000;

/// The timer's line at the first interrupt controller.
const TIMER_LINE: u8 = 0;

/// Our entry of the interrupt stack table: Hyperlight uses the first.
const STACK_INDEX: u64 = 2;
/// The offset of that entry in the task state segment (SDM vol. 3, figure 9-11).
const STACK_ENTRY: u64 = 0x2c;

/// Present, ring 0, 64-bit interrupt gate: interrupts are masked in the handler.
const GATE: u64 = 0x8e;

/// The handler needs 48 bytes. A page of its own is written by nothing else.
#[repr(C, align(4096))]
struct Stack(UnsafeCell<[u8; 4096]>);

// SAFETY: only the processor uses it, in one interrupt at a time.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; 4096]));

/// The number of ticks since the guest started.
static TICKS: AtomicU64 = AtomicU64::new(0);

static PERIOD: AtomicU32 = AtomicU32::new(1000);

// It saves the registers that it changes, and `iretq` restores the flags.
global_asm!(
    ".pushsection .text.dormir_hyperlight_tick, \"ax\", @progbits",
    ".type dormir_hyperlight_tick, @function",
    "dormir_hyperlight_tick:",
    "    push rax",
    "    inc qword ptr [rip + {ticks}]",
    // The controller's end of interrupt.
    "    mov al, 0x20",
    "    out 0x20, al",
    "    pop rax",
    "    iretq",
    ".size dormir_hyperlight_tick, . - dormir_hyperlight_tick",
    ".popsection",
    ticks = sym TICKS,
);

unsafe extern "C" {
    /// Entered by an interrupt only; its address is taken.
    static dormir_hyperlight_tick: u8;
}

pub(super) fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

pub(super) fn set_period(period: Duration) {
    let micros = u32::try_from(period.as_micros()).unwrap_or(u32::MAX);
    PERIOD.store(micros.clamp(SHORTEST, LONGEST), Ordering::Relaxed);
}

pub(super) fn period() -> Duration {
    Duration::from_micros(PERIOD.load(Ordering::Relaxed).into())
}

/// Starts the timer, which ticks until [`stop`].
///
/// # Safety
///
/// The sandbox has `hw-interrupts`: without them, the first write to an interrupt controller
/// poisons it. Ring 0, one vCPU, and Hyperlight's descriptor tables.
pub(super) unsafe fn start() {
    interrupts::without_interrupts(|| {
        // SAFETY: as the caller promises.
        unsafe { install() };
        // This drops a pending edge, and a tick of an earlier call.
        pic::init();
        pic::unmask(TIMER_LINE);
    });
    // SAFETY: the port is the timer's, and the handler of its interrupt was just installed.
    unsafe { Port::new(TIMER_PORT).write(PERIOD.load(Ordering::Relaxed)) }
}

/// Stops the timer. The host waits for the timer's thread, up to one period.
pub(super) fn stop() {
    // SAFETY: the port is the timer's; this stops it.
    unsafe { Port::new(TIMER_PORT).write(0_u32) }
}

/// Writes the gate and the stack's address into Hyperlight's tables.
///
/// # Safety
///
/// As [`start`], with interrupts masked.
unsafe fn install() {
    let selector: u16;
    // SAFETY: reads a register that ring 0 may read.
    unsafe { asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    let task: u16;
    // SAFETY: the same.
    unsafe { asm!("str {0:x}", out(reg) task, options(nomem, nostack, preserves_flags)) };

    // Makes the page present and writable before the processor needs it.
    let stack = STACK.0.get().cast::<u8>();
    // SAFETY: it is our static, used in an interrupt only, and interrupts are masked.
    unsafe { stack.write_volatile(0) };
    TICKS.store(ticks(), Ordering::Relaxed);

    let descriptor = sgdt().base.as_u64() + u64::from(task & !7);
    // SAFETY: the task register names a descriptor in that table, which Hyperlight keeps mapped.
    let low = unsafe { (descriptor as *const u64).read_volatile() };
    // SAFETY: a task state segment's descriptor has two words.
    let high = unsafe { ((descriptor + 8) as *const u64).read_volatile() };
    let entry = segment_base(low, high) + STACK_ENTRY;
    let top = stack as u64 + size_of::<Stack>() as u64;
    // The segment is packed: its 64-bit fields are aligned to 32 bits. SAFETY: the segment is
    // mapped and writable, and Hyperlight leaves this entry to the guest.
    unsafe { (entry as *mut u32).write_volatile(top as u32) };
    // SAFETY: the same.
    unsafe { ((entry + 4) as *mut u32).write_volatile((top >> 32) as u32) };

    let handler = (&raw const dormir_hyperlight_tick) as u64;
    let gate = sidt().base.as_u64() + 16 * u64::from(vector::PIT);
    let (low, high) = gate_of(handler, selector);
    // SAFETY: the table has 256 entries and is writable, and the vector is not an exception's.
    unsafe { ((gate + 8) as *mut u64).write_volatile(high) };
    // SAFETY: the same.
    unsafe { (gate as *mut u64).write_volatile(low) };
}

/// An interrupt gate on our stack (SDM vol. 3, figure 7-8).
const fn gate_of(handler: u64, selector: u16) -> (u64, u64) {
    let low = (handler & 0xffff)
        | (selector as u64) << 16
        | STACK_INDEX << 32
        | GATE << 40
        | (handler >> 16 & 0xffff) << 48;
    (low, handler >> 32)
}

/// The address in a segment descriptor of 16 bytes (SDM vol. 3, figure 9-4).
const fn segment_base(low: u64, high: u64) -> u64 {
    (low >> 16 & 0xff_ffff) | (low >> 56) << 24 | high << 32
}

const _: () = {
    let (low, high) = gate_of(0x1122_3344_5566_7788, 8);
    assert!(low == 0x5566_8e02_0008_7788 && high == 0x1122_3344);
    assert!(segment_base(0x1200_8934_5678_0067, 0xffff_fd00) == 0xffff_fd00_1234_5678);
};
