//! The entries of devices' interrupts: one for each vector, and one handler.

use core::arch::global_asm;

use crate::arch::x86_64::{interrupt::InterruptEntry, vector};

/// The number of vectors that have an entry: the PIC's sixteen, the timer's, and those for
/// messages.
pub(super) const VECTORS: usize = (vector::LAST_MESSAGE - vector::PIC_FIRST) as usize + 1;

/// Bytes from one entry to the next.
const STRIDE: usize = 8;

// Each entry pushes its vector. The processor has aligned the stack and pushed five words; with the
// vector, nine registers and one word more, it is a multiple of 16 at the call.
global_asm!(
    ".pushsection .text.dormir_device_entries, \"ax\", @progbits",
    ".balign 8",
    ".globl dormir_device_entries",
    "dormir_device_entries:",
    ".set dormir_device_vector, {first}",
    ".rept {vectors}",
    "    .balign {stride}",
    "    push dormir_device_vector",
    "    jmp dormir_device_common",
    "    .set dormir_device_vector, dormir_device_vector + 1",
    ".endr",
    "dormir_device_common:",
    "    push rax",
    "    push rcx",
    "    push rdx",
    "    push rsi",
    "    push rdi",
    "    push r8",
    "    push r9",
    "    push r10",
    "    push r11",
    "    mov rdi, [rsp + 72]",
    "    sub rsp, 8",
    "    cld",
    "    call {handler}",
    "    add rsp, 8",
    "    pop r11",
    "    pop r10",
    "    pop r9",
    "    pop r8",
    "    pop rdi",
    "    pop rsi",
    "    pop rdx",
    "    pop rcx",
    "    pop rax",
    // The vector.
    "    add rsp, 8",
    "    iretq",
    ".popsection",
    first = const vector::PIC_FIRST,
    vectors = const VECTORS,
    stride = const STRIDE,
    handler = sym super::on_interrupt,
);

unsafe extern "C" {
    static dormir_device_entries: u8;
}

/// The entry of the vector at `index` behind the PIC's first.
pub(super) fn of(index: usize) -> InterruptEntry {
    let address = (&raw const dormir_device_entries).wrapping_add(index * STRIDE);
    // SAFETY: `index` is below `VECTORS`, so an entry begins there; only the interrupt table is
    // given its address.
    unsafe { core::mem::transmute::<*const u8, InterruptEntry>(address) }
}
