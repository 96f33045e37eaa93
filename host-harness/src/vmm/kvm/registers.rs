//! Describes where a vCPU is and what its registers contain, for readers.

use kvm_bindings::KVM_MP_STATE_HALTED;
use kvm_ioctls::VcpuFd;
use vm_memory::{ByteValued, Bytes, GuestAddress};

use super::boot::Memory;

/// The length of the longest x86 instruction.
const LONGEST_INSTRUCTION: u64 = 15;
const PAGE: u64 = 4096;
const HLT: u8 = 0xf4;
const RFLAGS_IF: u64 = 1 << 9;

/// Returns RIP, if KVM reports it.
pub(super) fn instruction_pointer(vcpu: &VcpuFd) -> Option<u64> {
    vcpu.get_regs().ok().map(|registers| registers.rip)
}

/// Returns the bytes at the virtual address `address`, up to the longest instruction or the end of
/// the mapped memory.
pub(super) fn instruction_bytes(vcpu: &VcpuFd, memory: &Memory, address: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = address.saturating_add(LONGEST_INSTRUCTION);
    let mut next = address;
    // Page by page, because the next page can be anywhere in physical memory.
    while next < end {
        let length = (end - next).min(PAGE - next % PAGE);
        let Ok(translation) = vcpu.translate_gva(next) else {
            break;
        };
        let mut piece = vec![0; length as usize];
        let physical = GuestAddress(translation.physical_address);
        if translation.valid == 0 || memory.read_slice(&mut piece, physical).is_err() {
            break;
        }
        bytes.extend(piece);
        next += length;
    }
    bytes
}

/// Returns the value at the virtual address `address`, if it is in memory and within one page.
pub(super) fn read<T: ByteValued>(vcpu: &VcpuFd, memory: &Memory, address: u64) -> Option<T> {
    let translation = vcpu.translate_gva(address).ok()?;
    let physical = GuestAddress(translation.physical_address);
    (translation.valid != 0).then(|| memory.read_obj(physical).ok())?
}

/// Returns the word to which RSP points.
pub(super) fn top_of_stack(vcpu: &VcpuFd, memory: &Memory) -> Option<u64> {
    read(vcpu, memory, vcpu.get_regs().ok()?.rsp)
}

/// Describes where a vCPU was made to stop: `halted at 0x...` or `running at 0x...`.
pub(super) fn place(vcpu: &VcpuFd, memory: &Memory) -> Option<String> {
    let registers = vcpu.get_regs().ok()?;
    let halted = vcpu
        .get_mp_state()
        .is_ok_and(|state| state.mp_state == KVM_MP_STATE_HALTED);
    if !halted {
        return Some(format!("running at {:#x}", registers.rip));
    }
    // RIP points after the `hlt` that it executed.
    let before = registers.rip.wrapping_sub(1);
    let address = match instruction_bytes(vcpu, memory, before).first() {
        Some(&HLT) => before,
        _ => registers.rip,
    };
    let masked = if registers.rflags & RFLAGS_IF == 0 {
        " with interrupts masked"
    } else {
        ""
    };
    Some(format!("halted at {address:#x}{masked}"))
}

/// Formats all registers that help to find a fault, on several lines.
pub(super) fn describe(vcpu: &VcpuFd) -> Option<String> {
    let (r, s) = (vcpu.get_regs().ok()?, vcpu.get_sregs().ok()?);
    let lines: [&[(&str, u64)]; 6] = [
        &[
            ("rip", r.rip),
            ("rsp", r.rsp),
            ("rbp", r.rbp),
            ("rflags", r.rflags),
        ],
        &[
            ("rax", r.rax),
            ("rbx", r.rbx),
            ("rcx", r.rcx),
            ("rdx", r.rdx),
        ],
        &[("rsi", r.rsi), ("rdi", r.rdi), ("r8", r.r8), ("r9", r.r9)],
        &[
            ("r10", r.r10),
            ("r11", r.r11),
            ("r12", r.r12),
            ("r13", r.r13),
        ],
        &[
            ("r14", r.r14),
            ("r15", r.r15),
            ("cs", s.cs.selector.into()),
            ("idt", s.idt.base),
        ],
        &[
            ("cr0", s.cr0),
            ("cr2", s.cr2),
            ("cr3", s.cr3),
            ("cr4", s.cr4),
            ("efer", s.efer),
        ],
    ];
    let lines = lines.map(|line| {
        let fields = line
            .iter()
            .map(|(name, value)| format!("{name:>6} {value:#018x}"));
        fields.collect::<Vec<_>>().join(" ")
    });
    Some(lines.join("\n"))
}
