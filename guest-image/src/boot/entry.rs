//! The two entries of the image, in assembly, up to the first call into Rust.

use core::arch::global_asm;

use dormir_abi::{direct_entry, note};

/// The size of the memory, from address 0, that the boot page tables map one to one with 2 MiB
/// pages, writable and executable. It contains every possible image, and enough RAM for `start` to
/// build the final tables. The boot tables are initialised data, so no code needs to fill them.
pub(super) const BOOT_MAPPED_BYTES: u64 = 2 << 30;

// At the 64-bit entry the VMM's tables are loaded, which may map less. They map the entry's code,
// which is the first of the image.
const _: () = assert!(direct_entry::IDENTITY_MAPPED_BYTES >= 4 << 20);

const _: () = assert!(matches!(note::NAME, b"dormir"));

global_asm!(
    // The PVH note (Xen, public/elfnote.h): XEN_ELFNOTE_PHYS32_ENTRY is 18.
    ".pushsection .note.Xen, \"a\", @note",
    ".balign 4",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long dormir_pvh_entry",
    // The guest writes records (dormir_abi::note).
    ".long 7, 0, {records}",
    ".asciz \"dormir\"",
    ".balign 4",
    // The end of the image, for the harness, which refuses segments behind it. QEMU only reads the
    // first note.
    ".long 7, 8, {image_end}",
    ".asciz \"dormir\"",
    ".balign 4",
    ".quad __image_end",
    ".popsection",

    // Empty sections. The linker places a section that the script does not name behind the last
    // section of its kind that exists. These make sure that there is one of each large kind. The
    // stacks are of a kind (large, initially zero) that is rare elsewhere.
    ".pushsection .ltext, \"axl\", @progbits",
    ".popsection",
    ".pushsection .lrodata, \"al\", @progbits",
    ".popsection",
    ".pushsection .ldata, \"awl\", @progbits",
    ".popsection",
    ".pushsection .stacks, \"awl\", @nobits",
    ".popsection",

    ".pushsection .data.dormir_boot, \"aw\", @progbits",
    ".balign 4096",
    "dormir_boot_pml4:",
    ".quad dormir_boot_pdpt + 0x3", // present, writable
    ".fill 511, 8, 0",
    "dormir_boot_pdpt:",
    ".quad dormir_boot_pd + 0x3",
    ".quad dormir_boot_pd + 0x1003",
    ".fill 510, 8, 0",
    "dormir_boot_pd:",
    ".set dormir_page, 0",
    ".rept {boot_pages}",
    ".quad (dormir_page << 21) + 0x83", // present, writable, 2 MiB
    ".set dormir_page, dormir_page + 1",
    ".endr",
    "dormir_boot_gdt:",
    ".quad 0",
    ".quad 0x00af9b000000ffff", // 64-bit code, ring 0
    ".quad 0x00cf93000000ffff", // data, ring 0
    "dormir_boot_gdt_pointer:",
    ".word . - dormir_boot_gdt - 1",
    ".long dormir_boot_gdt",
    ".popsection",

    ".pushsection .text.dormir_boot, \"ax\", @progbits",
    // PVH: 32-bit protected mode without paging, EBX = start info.
    ".code32",
    ".globl dormir_pvh_entry",
    "dormir_pvh_entry:",
    "cli",
    "cld",
    "movl %ebx, %edi",
    "movl $dormir_boot_pml4, %eax",
    "movl %eax, %cr3",
    "movl %cr4, %eax",
    "orl $0x620, %eax", // PAE, OSFXSR, OSXMMEXCPT
    "movl %eax, %cr4",
    "movl $0xc0000080, %ecx", // IA32_EFER
    "rdmsr",
    "orl $0x100, %eax", // LME
    "wrmsr",
    "movl %cr0, %eax",
    "orl $0x80000001, %eax", // PG, PE
    "movl %eax, %cr0",
    "lgdt dormir_boot_gdt_pointer",
    "ljmpl $0x8, $dormir_pvh_long_mode",
    ".code64",
    "dormir_pvh_long_mode:",
    "movl $0x10, %eax",
    "movl %eax, %ds",
    "movl %eax, %es",
    "movl %eax, %ss",
    "movl %edi, %edi", // clears the upper half, which the mode switch leaves undefined
    "xorl %esi, %esi", // not DIRECT
    "jmp dormir_start",
    // 64-bit: RDI = start info (dormir_abi::direct_entry).
    ".globl dormir_direct_entry",
    "dormir_direct_entry:",
    "cli",
    "cld",
    "movl $dormir_boot_pml4, %eax",
    "movq %rax, %cr3",
    "movl ${direct}, %esi",
    "dormir_start:",
    "movabsq $__stack_top, %rsp",
    "xorl %ebp, %ebp",
    "call {start}",
    "ud2",
    ".popsection",
    start = sym super::start,
    direct = const DIRECT,
    records = const note::RECORDS,
    boot_pages = const BOOT_MAPPED_BYTES >> 21,
    image_end = const note::IMAGE_END,
    options(att_syntax),
);

/// What the 64-bit entry passes in ESI; the PVH entry passes 0.
pub(super) const DIRECT: u32 = 1;
