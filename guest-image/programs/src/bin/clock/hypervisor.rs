//! A small hypervisor below this guest, which moves the guest's TSC.
//!
//! Some VMMs ignore a guest's writes to its TSC, but QEMU's translator emulates AMD's SVM, where a
//! nested guest's TSC has an offset. So this program becomes the guest of its own hypervisor: it
//! continues where it is, with all state unchanged, and a `vmmcall` adds to the offset.
//!
//! References are to the AMD64 Architecture Programmer's Manual, volume 2, chapter 15 and appendix
//! B.

use core::{
    arch::{asm, x86_64::__cpuid},
    cell::UnsafeCell,
    ptr::from_ref,
};

use x86_64::{
    instructions::{
        interrupts,
        segmentation::{CS, DS, SS, Segment},
        tables::{sgdt, sidt},
    },
    registers::{
        control::{Cr0, Cr3, Cr4},
        model_specific::Msr,
    },
};

const EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
/// `VM_HSAVE_PA`: the page where the processor saves the hypervisor's state.
const HOST_SAVE_AREA: u32 = 0xc001_0117;

// The virtual machine control block (appendix B): offsets in bytes.
const INTERCEPTS: usize = 0x10;
const ASID: usize = 0x58;
const ES: usize = 0x400;
const CS_AT: usize = 0x410;
const SS_AT: usize = 0x420;
const DS_AT: usize = 0x430;
const GDTR: usize = 0x460;
const IDTR: usize = 0x480;
const EFER_AT: usize = 0x4d0;
const CR4_AT: usize = 0x548;
const CR3_AT: usize = 0x550;
const CR0_AT: usize = 0x558;
const DR7_AT: usize = 0x560;
const DR6_AT: usize = 0x568;
const PAT_AT: usize = 0x668;
/// VMRUN, which must be intercepted, and VMMCALL.
const INTERCEPTED: u32 = 0b11;
/// `IA32_PAT`.
const PAT: u32 = 0x277;

#[repr(C, align(4096))]
struct AlignedPage(UnsafeCell<[u8; 4096]>);

// SAFETY: one vCPU; only the processor and `enter`, which runs once, access them.
unsafe impl Sync for AlignedPage {}

static CONTROL: AlignedPage = AlignedPage(UnsafeCell::new([0; 4096]));
static SAVED: AlignedPage = AlignedPage(UnsafeCell::new([0; 4096]));
static STACK: AlignedPage = AlignedPage(UnsafeCell::new([0; 4096]));

impl AlignedPage {
    fn address(&self) -> u64 {
        from_ref(self).addr() as u64
    }

    fn put<T>(&self, offset: usize, value: T) {
        assert!(offset + size_of::<T>() <= 4096);
        // SAFETY: in bounds.
        let field = unsafe { self.0.get().cast::<u8>().add(offset) };
        // SAFETY: nothing else uses the page before VMRUN; the write may be unaligned.
        unsafe { field.cast::<T>().write_unaligned(value) };
    }

    /// Writes a segment register: selector, attributes, limit, base.
    fn put_segment(&self, offset: usize, selector: u16, attributes: u16) {
        self.put(offset, selector);
        self.put(offset + 2, attributes);
        self.put(offset + 4, u32::MAX);
        self.put(offset + 8, 0_u64);
    }
}

/// Returns whether the processor has SVM.
pub(crate) fn is_possible() -> bool {
    let leaf = 0x8000_0001;
    __cpuid(0x8000_0000).eax >= leaf && __cpuid(leaf).ecx & (1 << 2) != 0
}

/// Makes the program a nested guest, with all other state unchanged.
///
/// # Safety
///
/// Ring 0, one vCPU, memory mapped one to one, SVM is [possible](is_possible); called once.
pub(crate) unsafe fn enter() {
    let msr = |number| {
        // SAFETY: these MSRs exist on every processor with SVM.
        unsafe { Msr::new(number).read() }
    };
    let efer = msr(EFER) | EFER_SVME;
    // SAFETY: enables SVM's instructions, and changes nothing else.
    unsafe { Msr::new(EFER).write(efer) };
    // SAFETY: the page is used for nothing else.
    unsafe { Msr::new(HOST_SAVE_AREA).write(SAVED.address()) };

    let control = &CONTROL;
    control.put(INTERCEPTS, INTERCEPTED);
    control.put(ASID, 1_u32);
    // Present, of ring 0: 64-bit code, and data.
    control.put_segment(CS_AT, CS::get_reg().0, 0xa9b);
    control.put_segment(SS_AT, SS::get_reg().0, 0xc93);
    control.put_segment(DS_AT, DS::get_reg().0, 0xc93);
    control.put_segment(ES, DS::get_reg().0, 0xc93);
    for (offset, table) in [(GDTR, sgdt()), (IDTR, sidt())] {
        control.put(offset + 4, u32::from(table.limit));
        control.put(offset + 8, table.base.as_u64());
    }
    control.put(EFER_AT, efer);
    control.put(CR0_AT, Cr0::read_raw());
    control.put(CR3_AT, Cr3::read_raw().0.start_address().as_u64());
    control.put(CR4_AT, Cr4::read_raw());
    // As after reset.
    control.put(DR6_AT, 0xffff_0ff0_u64);
    control.put(DR7_AT, 0x400_u64);
    control.put(PAT_AT, msr(PAT));

    let were_enabled = interrupts::are_enabled();
    interrupts::disable();
    // SAFETY: the guest starts at label 3 with this stack, these flags and all other registers
    // unchanged; the code from label 2 on runs on another stack and returns to the guest with all
    // registers restored.
    unsafe {
        asm!(
            "pushfq",
            "pop qword ptr [rax + 0x570]",
            "mov [rax + 0x5d8], rsp",
            "lea rcx, [rip + 3f]",
            "mov [rax + 0x578], rcx",
            "mov rsp, {stack}",
            "2:",
            "vmrun rax",
            // A vmmcall, three bytes long. RAX is the hypervisor's again.
            "add [rax + 0x50], rcx",
            "add qword ptr [rax + 0x578], 3",
            "jmp 2b",
            "3:",
            stack = in(reg) STACK.address() + 4096,
            inout("rax") control.address() => _,
            out("rcx") _,
        );
    }
    if were_enabled {
        interrupts::enable();
    }
}

/// Adds `ticks` to the TSC. Must be called after [`enter`].
pub(crate) fn add_to_tsc(ticks: u64) {
    // SAFETY: the hypervisor adds RCX to the offset, preserves RAX and changes nothing else.
    unsafe { asm!("vmmcall", in("rcx") ticks, options(nostack)) };
}
