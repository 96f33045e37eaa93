//! Decodes which accesses to the machine an instruction is about to make.

mod fuzz;

use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register, UsedMemory,
};
use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;

use crate::vmm::steps::EventKind;
pub(crate) use fuzz::fuzz_decode;

/// In `IA32_APIC_BASE`: the address of the local APIC's page.
const APIC_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// In `IA32_APIC_BASE`: the registers are MSRs, and the page is ordinary memory.
const APIC_X2APIC: u64 = 1 << 10;
const PAGE: u64 = 4096;

/// A stopped vCPU.
pub(super) trait Stopped {
    fn registers(&self) -> Option<kvm_regs>;
    fn special_registers(&self) -> Option<kvm_sregs>;
    /// The physical address, if this virtual one is mapped.
    fn physical(&self, address: u64) -> Option<u64>;
}

impl Stopped for VcpuFd {
    fn registers(&self) -> Option<kvm_regs> {
        self.get_regs().ok()
    }

    fn special_registers(&self) -> Option<kvm_sregs> {
        self.get_sregs().ok()
    }

    fn physical(&self, address: u64) -> Option<u64> {
        let translated = self.translate_gva(address).ok()?;
        (translated.valid != 0).then_some(translated.physical_address)
    }
}

/// Decodes the instruction at `address` from its bytes.
pub(super) fn instruction(bytes: &[u8], address: u64) -> Option<Instruction> {
    let decoded = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
    (decoded.code() != Code::INVALID).then_some(decoded)
}

/// Returns what leaves the processor when the vCPU executes this instruction, which is its next.
pub(super) fn events(instruction: &Instruction, vcpu: &impl Stopped) -> Vec<EventKind> {
    let needs_registers = || vcpu.registers().unwrap_or_default();
    let kind = match instruction.mnemonic() {
        Mnemonic::Hlt => EventKind::Halt,
        Mnemonic::Wrmsr => EventKind::MsrWrite(needs_registers().rcx as u32),
        Mnemonic::Rdmsr => EventKind::MsrRead(needs_registers().rcx as u32),
        Mnemonic::Out => EventKind::PortWrite(port(instruction, 0, &needs_registers())),
        Mnemonic::In => EventKind::PortRead(port(instruction, 1, &needs_registers())),
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => {
            EventKind::PortWrite(needs_registers().rdx as u16)
        }
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => {
            EventKind::PortRead(needs_registers().rdx as u16)
        }
        _ if is_mark(instruction) => EventKind::Mark,
        _ => return apic_accesses(instruction, vcpu),
    };
    vec![kind]
}

/// Returns the port of an `in` or `out`, which is an immediate byte or in DX.
fn port(instruction: &Instruction, operand: u32, registers: &kvm_regs) -> u16 {
    match instruction.op_kind(operand) {
        OpKind::Immediate8 => instruction.immediate8().into(),
        _ => registers.rdx as u16,
    }
}

fn is_mark(instruction: &Instruction) -> bool {
    let is_bx = |operand| {
        instruction.op_kind(operand) == OpKind::Register
            && instruction.op_register(operand) == Register::BX
    };
    instruction.mnemonic() == Mnemonic::Xchg && is_bx(0) && is_bx(1)
}

fn apic_accesses(instruction: &Instruction, vcpu: &impl Stopped) -> Vec<EventKind> {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_memory();
    if used.is_empty() {
        return Vec::new();
    }
    let (Some(registers), Some(special)) = (vcpu.registers(), vcpu.special_registers()) else {
        return Vec::new();
    };
    if special.apic_base & APIC_X2APIC != 0 {
        return Vec::new();
    }
    let page = special.apic_base & APIC_ADDRESS;
    let offset = |memory: &UsedMemory| {
        let address = memory.virtual_address(0, |register, _, _| value(register, &registers))?;
        let offset = vcpu.physical(address)?.checked_sub(page)?;
        (offset < PAGE).then_some(offset as u16)
    };
    let access = |memory: &UsedMemory| {
        let offset = offset(memory)?;
        match memory.access() {
            OpAccess::Read | OpAccess::CondRead => Some(EventKind::ApicRead(offset)),
            OpAccess::Write
            | OpAccess::CondWrite
            | OpAccess::ReadWrite
            | OpAccess::ReadCondWrite => Some(EventKind::ApicWrite(offset)),
            _ => None,
        }
    };
    used.iter().filter_map(access).collect()
}

/// Returns a register's value for the calculation of an address. In 64-bit code segments begin at
/// 0, except FS and GS, which no guest here uses.
fn value(register: Register, registers: &kvm_regs) -> Option<u64> {
    if register.is_segment_register() {
        return match register {
            Register::FS | Register::GS => None,
            _ => Some(0),
        };
    }
    let whole = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RSP => registers.rsp,
        Register::RBP => registers.rbp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        _ => return None,
    };
    Some(if register.size() == 4 {
        whole & 0xffff_ffff
    } else {
        whole
    })
}
