//! Properties of decoded instructions that must hold for any bytes.

use kvm_bindings::{kvm_regs, kvm_sregs};

use super::{APIC_ADDRESS, APIC_X2APIC, EventKind, PAGE, Stopped, events, instruction};

/// A vCPU whose memory is mapped one to one, up to here.
const MAPPED: u64 = 1 << 47;

/// The most events of one instruction. Most have one. But `iretq` reads five words of the stack,
/// and
/// `enter` two or three for each of up to 31 frames around it.
const MOST: usize = 100;

struct Registers(kvm_regs, kvm_sregs);

impl Stopped for Registers {
    fn registers(&self) -> Option<kvm_regs> {
        Some(self.0)
    }

    fn special_registers(&self) -> Option<kvm_sregs> {
        Some(self.1)
    }

    fn physical(&self, address: u64) -> Option<u64> {
        (address < MAPPED).then_some(address)
    }
}

/// Reads any bytes as a guest's registers, and as the instruction that it is about to execute.
///
/// # Panics
///
/// Panics if a property does not hold: an instruction is no longer than its bytes, and its accesses
/// to the local APIC are few, lie within its page, and are none where it has no page.
pub(crate) fn fuzz_decode(bytes: &[u8]) {
    let Some((&apic, bytes)) = bytes.split_first() else {
        return;
    };
    let (words, bytes) = bytes.split_at(bytes.len().min(8 * 8));
    let mut words = words
        .as_chunks()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word));
    let mut next = || words.next().unwrap_or_default();
    let registers = kvm_regs {
        rax: next(),
        rbx: next(),
        rcx: next(),
        rdx: next(),
        rsi: next(),
        rdi: next(),
        rsp: next(),
        rip: next(),
        ..Default::default()
    };
    let has_page = apic & 1 == 0;
    let x2apic = if has_page { 0 } else { APIC_X2APIC };
    let special = kvm_sregs {
        apic_base: registers.rsi & APIC_ADDRESS | x2apic,
        ..Default::default()
    };
    let bytes = &bytes[..bytes.len().min(15)];
    let Some(decoded) = instruction(bytes, registers.rip) else {
        return;
    };
    assert!(decoded.len() <= bytes.len());
    let found = events(&decoded, &Registers(registers, special));
    assert!(found.len() <= MOST, "{found:?}");
    for event in found {
        if let EventKind::ApicRead(offset) | EventKind::ApicWrite(offset) = event {
            assert!(has_page && u64::from(offset) < PAGE);
        }
    }
}
