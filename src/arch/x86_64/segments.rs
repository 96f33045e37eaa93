//! Segments, and the task state segment, which names the stacks that some exceptions switch to.

use spin::Once;
use x86_64::{
    VirtAddr,
    instructions::tables::load_tss,
    registers::segmentation::{CS, DS, ES, SS, Segment},
    structures::{
        gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector},
        tss::TaskStateSegment,
    },
};

/// Index of the double fault's stack in the interrupt stack table.
pub(super) const DOUBLE_FAULT_STACK: u16 = 0;
/// Index of the stack of NMIs.
pub(super) const NMI_STACK: u16 = 1;
/// Index of the stack of machine checks.
pub(super) const MACHINE_CHECK_STACK: u16 = 2;

/// The stacks of the exceptions that must not use the interrupted stack. Each field is the address
/// just above a stack of at least 4 KiB, a multiple of 16.
///
/// # Examples
///
/// ```
/// # dormir_guest::entry!(main, owns_machine);
/// use core::{cell::UnsafeCell, ptr};
/// use dormir::platform::bare::FaultStacks;
///
/// const SIZE: usize = 4096;
///
/// #[repr(C, align(16))]
/// struct Stacks(UnsafeCell<[[u8; SIZE]; 3]>);
/// // SAFETY: only the processor uses them.
/// unsafe impl Sync for Stacks {}
/// static STACKS: Stacks = Stacks(UnsafeCell::new([[0; SIZE]; 3]));
///
/// // A stack grows down from the address just above it.
/// let top = |stack: usize| (ptr::from_ref(&STACKS).addr() + (stack + 1) * SIZE) as u64;
/// let stacks = FaultStacks { double_fault: top(0), nmi: top(1), machine_check: top(2) };
/// # assert_eq!(stacks.nmi % 16, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultStacks {
    /// For the double fault, which a stack overflow ends in.
    pub double_fault: u64,
    /// For NMIs, which can come at any instruction.
    pub nmi: u64,
    /// For machine checks, which can come at any instruction too.
    pub machine_check: u64,
}

static TSS: Once<TaskStateSegment> = Once::new();
static GDT: Once<(GlobalDescriptorTable, Selectors)> = Once::new();

struct Selectors {
    code: SegmentSelector,
    data: SegmentSelector,
    tss: SegmentSelector,
}

/// Loads a flat code segment, a flat data segment and a TSS with these stacks. Calls after the
/// first have no effect.
///
/// # Safety
///
/// Ring 0, 64-bit mode, interrupts masked, and the stacks are mapped, writable and used by nothing
/// else.
pub(crate) unsafe fn load(stacks: FaultStacks) {
    if GDT.is_completed() {
        return;
    }
    let tss = TSS.call_once(|| {
        let mut tss = TaskStateSegment::new();
        let mut tops = [VirtAddr::zero(); 7];
        tops[usize::from(DOUBLE_FAULT_STACK)] = VirtAddr::new(stacks.double_fault);
        tops[usize::from(NMI_STACK)] = VirtAddr::new(stacks.nmi);
        tops[usize::from(MACHINE_CHECK_STACK)] = VirtAddr::new(stacks.machine_check);
        tss.interrupt_stack_table = tops;
        tss
    });
    let (gdt, selectors) = GDT.call_once(|| {
        let mut gdt = GlobalDescriptorTable::new();
        let selectors = Selectors {
            code: gdt.append(Descriptor::kernel_code_segment()),
            data: gdt.append(Descriptor::kernel_data_segment()),
            tss: gdt.append(Descriptor::tss_segment(tss)),
        };
        (gdt, selectors)
    });
    gdt.load();
    // SAFETY: the selector names the 64-bit ring 0 code segment of the table just loaded.
    unsafe { CS::set_reg(selectors.code) };
    // SAFETY: the selector names the flat data segment of that table; likewise the next two.
    unsafe { SS::set_reg(selectors.data) };
    // SAFETY: as above.
    unsafe { DS::set_reg(selectors.data) };
    // SAFETY: as above.
    unsafe { ES::set_reg(selectors.data) };
    // SAFETY: the selector names the descriptor of a static TSS, which is loaded once.
    unsafe { load_tss(selectors.tss) };
}
