//! The ways to end other than by success. None of these returns.

use core::arch::asm;

use dormir_guest::{exit, print};
use x86_64::instructions::interrupts;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("end-exit-7", || exit(7)),
    ("end-panic", || panic!("a panic\nof two lines")),
    ("end-out-of-memory", out_of_memory),
    ("end-page-fault", page_fault),
    ("end-null-pointer", null_pointer),
    ("end-write-to-code", write_to_code),
    ("end-write-to-constant", write_to_constant),
    ("end-execute-data", execute_data),
    ("end-stack-overflow", || {
        overflow_the_stack(0);
    }),
    ("end-divide-error", divide_error),
    ("end-invalid-opcode", invalid_opcode),
    ("end-unhandled-interrupt", unhandled_interrupt),
    ("end-triple-fault", triple_fault),
    ("end-hang-halted", hang_halted),
    ("end-hang-asleep", hang_asleep),
    ("end-hang-spinning", hang_spinning),
    ("end-console-flood", console_flood),
];

fn out_of_memory() {
    let much = alloc::vec![1u8; 1 << 40];
    core::hint::black_box(much);
}

/// Where no memory is mapped: behind the highest RAM that a guest may have, below the APICs.
const UNMAPPED: *mut u8 = 0xf000_0000 as *mut u8;

fn page_fault() {
    // SAFETY: none: the case is about what the machine does with it.
    unsafe { UNMAPPED.write_volatile(1) }
}

fn null_pointer() {
    let null: *const u8 = core::hint::black_box(core::ptr::null());
    // SAFETY: none, see above. In assembly, since the compiler may assume that nobody does this.
    unsafe { asm!("mov al, [{}]", in(reg) null, out("al") _) }
}

fn write_to_code() {
    let code = write_to_code as *mut u8;
    // SAFETY: none, see above.
    unsafe { code.write_volatile(0x90) }
}

fn write_to_constant() {
    static CONSTANT: u8 = 7;
    // SAFETY: none, see above.
    unsafe { asm!("mov byte ptr [{}], 1", in(reg) &raw const CONSTANT) }
}

fn execute_data() {
    let ret = [0xc3_u8];
    // SAFETY: none, see above.
    unsafe { asm!("call {}", in(reg) ret.as_ptr()) }
}

#[expect(unconditional_recursion, reason = "the case is about its end")]
fn overflow_the_stack(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    overflow_the_stack(depth + 1) + frame[0]
}

fn divide_error() {
    // SAFETY: none, see above.
    unsafe {
        asm!("xor edx, edx", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
    }
}

fn invalid_opcode() {
    // SAFETY: none, see above.
    unsafe { asm!("ud2") }
}

fn unhandled_interrupt() {
    let apic = dormir::platform::bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
        .interrupt_self(0x55);
    hang_halted();
}

/// An exception with an interrupt table that holds none.
fn triple_fault() {
    use x86_64::{VirtAddr, structures::DescriptorTablePointer};
    let empty = DescriptorTablePointer {
        limit: 0,
        base: VirtAddr::zero(),
    };
    interrupts::disable();
    // SAFETY: none, see above.
    unsafe { x86_64::instructions::tables::lidt(&empty) };
    invalid_opcode();
}

fn hang_halted() {
    print!("{HANGS}");
    interrupts::disable();
    x86_64::instructions::hlt();
}

/// Tells a hang in the case from one on the way to it.
const HANGS: &str = "now hanging\n";

/// Waits for a wake that nobody sends.
fn hang_asleep() {
    print!("{HANGS}");
    dormir::block_on(core::future::pending::<()>(), dormir::idle::Halt);
}

fn hang_spinning() {
    print!("{HANGS}");
    loop {
        core::hint::spin_loop();
    }
}

fn console_flood() {
    let line = core::str::from_utf8(&[b'-'; 255]).unwrap_or_default();
    loop {
        dormir_guest::println!("{line}");
    }
}
