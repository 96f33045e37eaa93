//! A small hypervisor below this guest, which moves the guest's TSC, stops it and changes its rate.
//!
//! Some VMMs ignore a guest's writes to its TSC, but QEMU's translator emulates AMD's SVM, where a
//! nested guest's TSC has an offset. So this program becomes the guest of its own hypervisor: it
//! continues where it is, with all state unchanged, and a `vmmcall` adds to the offset. For another
//! rate it intercepts RDTSC.
//!
//! References are to the AMD64 Architecture Programmer's Manual, volume 2, chapter 15 and appendix
//! B.

use core::{
    arch::{asm, x86_64::__cpuid},
    cell::UnsafeCell,
    ptr::from_ref,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use dormir::arch::x86_64::tsc;
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
const INTERCEPTED_INSTRUCTIONS: usize = 0x0c;
const INTERCEPTS: usize = 0x10;
const TSC_OFFSET: usize = 0x50;
const EXIT_CODE: usize = 0x70;
const RIP_AT: usize = 0x578;
const RAX_AT: usize = 0x5f8;
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
const INTERCEPT_RDTSC: u32 = 1 << 14;
const EXIT_RDTSC: u64 = 0x6e;
/// The lengths of the two instructions.
const RDTSC_LENGTH: u64 = 2;
const VMMCALL_LENGTH: u64 = 3;
/// `IA32_PAT`.
const PAT: u32 = 0x277;

#[repr(C, align(4096))]
struct AlignedPage(UnsafeCell<[u8; 4096]>);

// SAFETY: one vCPU; only the processor, `enter`, which runs once, and then `on_exit` access them,
// one after the other.
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
        // SAFETY: nothing else uses the page between an exit and VMRUN; the write may be unaligned.
        unsafe { field.cast::<T>().write_unaligned(value) };
    }

    fn get<T>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= 4096);
        // SAFETY: in bounds.
        let field = unsafe { self.0.get().cast::<u8>().add(offset) };
        // SAFETY: the processor has written it, or this hypervisor, which is not interrupted.
        unsafe { field.cast::<T>().read_unaligned() }
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
            // RAX is the hypervisor's again, and all other registers are the guest's.
            "push rax",
            "push rcx",
            "push rdx",
            "push rsi",
            "push rdi",
            "push r8",
            "push r9",
            "push r10",
            "push r11",
            "lea rdi, [rsp + 48]",
            "sub rsp, 8",
            "call {on_exit}",
            "add rsp, 8",
            "pop r11",
            "pop r10",
            "pop r9",
            "pop r8",
            "pop rdi",
            "pop rsi",
            "pop rdx",
            "pop rcx",
            "pop rax",
            "jmp 2b",
            "3:",
            stack = in(reg) STACK.address() + 4096,
            on_exit = sym on_exit,
            inout("rax") control.address() => _,
            out("rcx") _,
            out("rdx") _,
        );
    }
    if were_enabled {
        interrupts::enable();
    }
}

/// What a `vmmcall` asks for, in RDX.
const ADD: u64 = 0;
const SET_RATE: u64 = 1;

/// Adds `ticks` to the TSC. Must be called after [`enter`], and not after [`set_rate`].
pub(crate) fn add_to_tsc(ticks: u64) {
    call(ADD, ticks);
}

/// Makes the TSC count at `numerator / 2^32` of its rate from now on. 0 stops it, for as long as it
/// is read [`READS_STOPPED`] times. Must be called after [`enter`].
pub(crate) fn set_rate(numerator: u64) {
    call(SET_RATE, numerator);
}

/// The usual rate.
pub(crate) const RATE: u64 = 1 << 32;
/// How often a TSC that is stopped is read until it goes on.
pub(crate) const READS_STOPPED: u64 = 300;

fn call(what: u64, number: u64) {
    // SAFETY: the hypervisor changes the TSC, and preserves all registers.
    unsafe { asm!("vmmcall", in("rcx") number, in("rdx") what, options(nostack)) };
}

/// The TSC that an intercepted RDTSC reads: what it was at a time of the processor's, and its rate
/// since.
static TSC_THEN: AtomicU64 = AtomicU64::new(0);
static THEN: AtomicU64 = AtomicU64::new(0);
static TSC_RATE: AtomicU64 = AtomicU64::new(RATE);
static READS: AtomicU64 = AtomicU64::new(0);

fn guests_tsc() -> u64 {
    let passed = tsc::read().wrapping_sub(THEN.load(Relaxed));
    let counted = (u128::from(passed) * u128::from(TSC_RATE.load(Relaxed))) >> 32;
    TSC_THEN.load(Relaxed).wrapping_add(counted as u64)
}

fn count_from(tsc: u64, rate: u64) {
    TSC_THEN.store(tsc, Relaxed);
    THEN.store(tsc::read(), Relaxed);
    TSC_RATE.store(rate, Relaxed);
}

/// The guest's registers that an exit uses.
#[repr(C)]
struct GuestRegisters {
    rdx: u64,
    rcx: u64,
}

/// Serves what the guest has left for.
extern "sysv64" fn on_exit(registers: &mut GuestRegisters) {
    let control = &CONTROL;
    let length = if control.get::<u64>(EXIT_CODE) == EXIT_RDTSC {
        if TSC_RATE.load(Relaxed) == 0 && READS.fetch_add(1, Relaxed) >= READS_STOPPED {
            count_from(guests_tsc(), RATE);
        }
        let tsc = guests_tsc();
        control.put(RAX_AT, tsc & 0xffff_ffff);
        registers.rdx = tsc >> 32;
        RDTSC_LENGTH
    } else {
        match registers.rdx {
            ADD => {
                let offset = control.get::<u64>(TSC_OFFSET);
                control.put(TSC_OFFSET, offset.wrapping_add(registers.rcx));
            }
            _ => {
                let is_first = control.get::<u32>(INTERCEPTED_INSTRUCTIONS) == 0;
                control.put(INTERCEPTED_INSTRUCTIONS, INTERCEPT_RDTSC);
                READS.store(0, Relaxed);
                let now = match is_first {
                    true => tsc::read().wrapping_add(control.get::<u64>(TSC_OFFSET)),
                    false => guests_tsc(),
                };
                count_from(now, registers.rcx);
            }
        }
        VMMCALL_LENGTH
    };
    control.put(RIP_AT, control.get::<u64>(RIP_AT) + length);
}
