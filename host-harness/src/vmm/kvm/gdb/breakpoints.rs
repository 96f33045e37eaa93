//! Breakpoints: INT3 instructions in the guest's code, and the processor's debug registers.

use std::collections::BTreeMap;

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_USE_HW_BP, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug, kvm_sregs,
};
use vm_memory::{Bytes, GuestAddress};

use super::memory::translate;
use crate::vmm::kvm::boot::Memory;

const INT3: u8 = 0xcc;
/// In DR7: a bit that is always one.
const DR7_FIXED: u64 = 1 << 10;

#[derive(Debug, Default)]
pub(super) struct Breakpoints {
    /// By virtual address.
    software: BTreeMap<u64, Replaced>,
    /// The addresses in DR0 to DR3.
    hardware: [Option<u64>; 4],
}

/// The byte of an instruction that an INT3 has replaced.
#[derive(Debug)]
struct Replaced {
    at: GuestAddress,
    original: u8,
}

impl Breakpoints {
    /// Inserts an INT3; returns whether there is memory at the address.
    pub(super) fn insert_software(
        &mut self,
        memory: &Memory,
        registers: &kvm_sregs,
        address: u64,
    ) -> bool {
        if self.software.contains_key(&address) {
            return true;
        }
        let Some(at) = translate(memory, registers, address).map(GuestAddress) else {
            return false;
        };
        let Ok(original) = memory.read_obj(at) else {
            return false;
        };
        // It was read, so it can be written.
        let _ = memory.write_obj(INT3, at);
        self.software.insert(address, Replaced { at, original });
        true
    }

    /// Removes an INT3, if there is one.
    pub(super) fn remove_software(&mut self, memory: &Memory, address: u64) {
        if let Some(replaced) = self.software.remove(&address) {
            replaced.restore(memory);
        }
    }

    /// Returns whether the INT3 at this address is a breakpoint, and not the guest's own.
    pub(super) fn is_software(&self, address: u64) -> bool {
        self.software.contains_key(&address)
    }

    /// Inserts a hardware breakpoint; returns whether a register was free.
    pub(super) fn insert_hardware(&mut self, address: u64) -> bool {
        if self.hardware.contains(&Some(address)) {
            return true;
        }
        let free = self.hardware.iter_mut().find(|entry| entry.is_none());
        free.map(|entry| *entry = Some(address)).is_some()
    }

    /// Removes a hardware breakpoint, if there is one.
    pub(super) fn remove_hardware(&mut self, address: u64) {
        for entry in &mut self.hardware {
            entry.take_if(|known| *known == address);
        }
    }

    /// Removes all.
    pub(super) fn clear(&mut self, memory: &Memory) {
        for (_, replaced) in std::mem::take(&mut self.software) {
            replaced.restore(memory);
        }
        self.hardware = [None; 4];
    }

    /// Puts the guest's own bytes into what was read at this address.
    pub(super) fn hide(&self, address: u64, data: &mut [u8]) {
        for (at, replaced) in self.software.range(address..) {
            match data.get_mut((at - address) as usize) {
                Some(byte) => *byte = replaced.original,
                None => return,
            }
        }
    }

    /// Keeps the INT3s where `data` was just written at this address.
    pub(super) fn keep(&mut self, memory: &Memory, address: u64, data: &[u8]) {
        for (at, replaced) in self.software.range_mut(address..) {
            let Some(byte) = data.get((at - address) as usize) else {
                return;
            };
            replaced.original = *byte;
            let _ = memory.write_obj(INT3, replaced.at);
        }
    }

    /// Returns what KVM must be told so that the guest stops at them.
    pub(super) fn control(&self) -> kvm_guest_debug {
        let mut control = kvm_guest_debug::default();
        if !self.software.is_empty() {
            control.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
        }
        let mut dr7 = DR7_FIXED;
        for (number, address) in self.hardware.iter().enumerate() {
            if let Some(address) = address {
                control.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
                control.arch.debugreg[number] = *address;
                dr7 |= 0b11 << (2 * number);
            }
        }
        control.arch.debugreg[7] = dr7;
        control
    }
}

impl Replaced {
    /// Puts the byte back, unless the guest has overwritten the INT3.
    fn restore(&self, memory: &Memory) {
        if memory.read_obj(self.at).is_ok_and(|byte: u8| byte == INT3) {
            let _ = memory.write_obj(self.original, self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 4096)]).expect("there is memory");
        memory
            .write_slice(&[1, 2, 3, 4], GuestAddress(0))
            .expect("it is in memory");
        memory
    }

    fn bytes(memory: &Memory) -> [u8; 4] {
        memory.read_obj(GuestAddress(0)).expect("it is in memory")
    }

    /// Without paging.
    fn registers() -> kvm_sregs {
        kvm_sregs::default()
    }

    #[test]
    fn a_software_breakpoint_replaces_a_byte_and_is_not_seen() {
        let (memory, mut breakpoints) = (memory(), Breakpoints::default());
        assert!(breakpoints.insert_software(&memory, &registers(), 1));
        assert!(breakpoints.insert_software(&memory, &registers(), 1));
        assert!(!breakpoints.insert_software(&memory, &registers(), 4096));
        assert_eq!(bytes(&memory), [1, INT3, 3, 4]);
        let mut seen = bytes(&memory);
        breakpoints.hide(0, &mut seen);
        assert_eq!(seen, [1, 2, 3, 4]);
        breakpoints.remove_software(&memory, 1);
        breakpoints.remove_software(&memory, 1);
        assert_eq!(bytes(&memory), [1, 2, 3, 4]);
    }

    #[test]
    fn a_software_breakpoint_stays_when_its_instruction_is_written() {
        let (memory, mut breakpoints) = (memory(), Breakpoints::default());
        breakpoints.insert_software(&memory, &registers(), 1);
        memory
            .write_slice(&[8, 9], GuestAddress(0))
            .expect("it is in memory");
        breakpoints.keep(&memory, 0, &[8, 9]);
        assert_eq!(bytes(&memory), [8, INT3, 3, 4]);
        breakpoints.clear(&memory);
        assert_eq!(bytes(&memory), [8, 9, 3, 4]);
    }

    #[test]
    fn what_the_guest_wrote_over_a_breakpoint_stays() {
        let (memory, mut breakpoints) = (memory(), Breakpoints::default());
        breakpoints.insert_software(&memory, &registers(), 1);
        memory
            .write_slice(&[7], GuestAddress(1))
            .expect("it is in memory");
        breakpoints.clear(&memory);
        assert_eq!(bytes(&memory), [1, 7, 3, 4]);
    }

    #[test]
    fn there_are_four_hardware_breakpoints() {
        let mut breakpoints = Breakpoints::default();
        assert_eq!(breakpoints.control().control, 0);
        for address in [1, 2, 2, 3, 4] {
            assert!(breakpoints.insert_hardware(address));
        }
        assert!(!breakpoints.insert_hardware(5));
        let control = breakpoints.control();
        assert_eq!(control.arch.debugreg[..4], [1, 2, 3, 4]);
        assert_eq!(control.arch.debugreg[7], 0x4ff);
        breakpoints.remove_hardware(3);
        assert_eq!(breakpoints.control().arch.debugreg[7], 0x4cf);
        assert!(breakpoints.insert_hardware(5));
    }
}
