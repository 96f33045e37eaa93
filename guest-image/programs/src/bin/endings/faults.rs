//! Exceptions, and an interrupt without a handler.

use core::arch::asm;

use dormir_guest::args;
use x86_64::instructions::interrupts;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("end-page-fault", page_fault),
    ("end-null-pointer", null_pointer),
    ("end-write-to-code", write_to_code),
    ("end-write-to-constant", write_to_constant),
    ("end-execute-stack", execute_stack),
    ("end-execute-static", execute_static),
    ("end-execute-constant", execute_constant),
    ("end-execute-heap", execute_heap),
    ("end-stack-overflow", || {
        overflow_the_stack(0);
    }),
    ("end-divide-error", divide_error),
    ("end-invalid-opcode", invalid_opcode),
    ("end-unhandled-interrupt", unhandled_interrupt),
    ("end-triple-fault", triple_fault),
];

/// An unmapped address: above the highest RAM that a guest may have, below the APICs.
const UNMAPPED: *mut u8 = 0xf000_0000 as *mut u8;

fn page_fault() {
    // SAFETY: none: the case tests how the machine reacts.
    unsafe { UNMAPPED.write_volatile(1) }
}

fn null_pointer() {
    let null: *const u8 = core::hint::black_box(core::ptr::null());
    // SAFETY: none, see above. In assembly, since the compiler may assume that this never happens.
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

/// Calls the code at `code`: a `ret`, if it may be executed.
fn call(code: *const u8) {
    // SAFETY: none, see above.
    unsafe { asm!("call {}", in(reg) code, clobber_abi("sysv64")) }
}

const RET: u8 = 0xc3;

fn execute_stack() {
    let code = [RET];
    call(code.as_ptr());
}

fn execute_static() {
    static CODE: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(RET);
    call(CODE.as_ptr());
}

fn execute_constant() {
    static CODE: u8 = RET;
    call(&raw const CODE);
}

fn execute_heap() {
    call(alloc::vec![RET; 1].as_ptr());
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

/// Puts a known value into each register, for the test to find in the report.
fn invalid_opcode() {
    // SAFETY: none, see above.
    unsafe {
        asm!(
            "mov rax, 0xa1",
            "mov rbx, 0xb1",
            "mov rcx, 0xc1",
            "mov rdx, 0xd1",
            "mov rsi, 0x51",
            "mov rdi, 0xd2",
            "mov rbp, 0xb2",
            "mov r8, 0x80",
            "mov r9, 0x90",
            "mov r10, 0x10",
            "mov r11, 0x11",
            "mov r12, 0x12",
            "mov r13, 0x13",
            "mov r14, 0x14",
            "mov r15, 0x15",
            "ud2",
            options(noreturn)
        )
    }
}

/// On the vector that the argument `vector=` names.
fn unhandled_interrupt() {
    let vector = args::value("vector").and_then(|vector| vector.parse().ok());
    let apic = dormir::platform::bare::machine().and_then(|machine| machine.apic);
    apic.expect("every machine here has a local APIC")
        .interrupt_self(vector.unwrap_or(0x55));
    x86_64::instructions::hlt();
}

/// Raises an exception with an empty interrupt table.
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
