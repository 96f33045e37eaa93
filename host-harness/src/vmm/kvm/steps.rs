//! Single-stepping: one `KVM_RUN` for each instruction, where the guest asks for it.
//!
//! A halt cannot be stepped through: while stepping, `KVM_RUN` returns at once. There the vCPU runs
//! freely to a breakpoint at the entry of the interrupt that the guest has named. The return from
//! an interrupt cannot be stepped through either: the step ends one instruction too late. There the
//! vCPU runs to a breakpoint at the return address.
//!
//! Steps take long, so the guest's clock stands still meanwhile: after an interrupt the first
//! `rdtsc` returns the time, and all others up to the next interrupt return the same. Otherwise a
//! deadline could pass between any two instructions on a busy machine, and the guest would rightly
//! take a different path. The alarm's own time goes on; when the alarm comes and the guest reads
//! the clock, the deadline has passed there too.

use std::{collections::HashMap, mem};

use dormir_abi::port::STEPS_END;
use iced_x86::{FlowControl, Instruction, Mnemonic};
use kvm_bindings::{
    KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_BLOCKIRQ, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_HW_BP, kvm_guest_debug,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

use super::{boot::Memory, decode, registers};
use crate::vmm::{
    outcome::Outcome,
    steps::{EventKind, StepEvent, Stretch},
};

/// In DR7: the breakpoint in DR0 is on, for execution. Bit 10 is always one.
const DR7_BREAKPOINT_0: u64 = 1 << 10 | 0b11;

/// One gate of a 64-bit interrupt table.
const GATE_BYTES: u64 = 16;

/// Steps through the guest where it asks for it.
pub(super) struct Stepper {
    /// If not, the guest's requests are ignored.
    allowed: bool,
    /// Blocks interrupts between two steps, if KVM supports it, so that none comes before the halt
    /// that waits for it, however long the steps take.
    block_interrupts: u32,
    done: Vec<Stretch>,
    current: Option<Current>,
    /// By address. The guest does not change its code.
    decoded: HashMap<u64, Instruction>,
}

/// The stretch that the guest is in.
struct Current {
    stretch: Stretch,
    /// The vector of the interrupts that end its halts.
    vector: u8,
    /// The address at which the vCPU should stop next.
    next: NextAddress,
    /// Its last instruction was a `hlt`.
    halted: bool,
    /// The vCPU does not step, but runs to a breakpoint.
    runs_freely: bool,
    /// Its last instruction was a `rdtsc`.
    read_clock: bool,
    /// The value of the TSC; `None` until its first read since the last interrupt.
    tsc: Option<(u64, u64)>,
}

impl Stepper {
    pub(super) fn new(kvm: &Kvm, allowed: bool) -> Self {
        Self {
            allowed,
            block_interrupts: block_interrupts(kvm),
            done: Vec::new(),
            current: None,
            decoded: HashMap::new(),
        }
    }

    /// Takes the stretches that have ended.
    pub(super) fn take_stretches(&mut self) -> Vec<Stretch> {
        mem::take(&mut self.done)
    }

    /// Handles the guest's write of `value` to the steps port.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn on_write(&mut self, vcpu: &VcpuFd, value: u32) -> Result<(), Outcome> {
        if !self.allowed {
            return Ok(());
        }
        let last = self.current.take();
        self.done.extend(last.map(|current| current.stretch));
        if value == STEPS_END {
            return debug(vcpu, kvm_guest_debug::default());
        }
        let vector = u8::try_from(value).map_err(|_| {
            Outcome::Died(format!(
                "it asked for steps with {value:#x}, which is not the vector of an interrupt: \
                 write the vector of its timer to the port"
            ))
        })?;
        self.current = Some(Current {
            stretch: Stretch::default(),
            vector,
            next: NextAddress::Anywhere,
            halted: false,
            runs_freely: false,
            read_clock: false,
            tsc: None,
        });
        self.step(vcpu)
    }

    /// Completes an access to a port that this process has served. The next `KVM_RUN` would
    /// complete the instruction and might continue with another one, so it is completed separately.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn behind_port(
        &mut self,
        vcpu: &mut VcpuFd,
        memory: &Memory,
    ) -> Result<(), Outcome> {
        if self.current.is_none() {
            return Ok(());
        }
        vcpu.set_kvm_immediate_exit(1);
        let stopped = match vcpu.run() {
            Ok(VcpuExit::Debug(stop)) => Ok(stop.pc),
            Err(error) if error.errno() == libc::EINTR => Err(None),
            other => Err(Some(format!("{other:?}"))),
        };
        vcpu.set_kvm_immediate_exit(0);
        let address = match stopped {
            Ok(address) => Some(address),
            Err(None) => registers::instruction_pointer(vcpu),
            Err(Some(other)) => {
                return Err(Outcome::Died(format!(
                    "KVM did not complete its access to a port ({other}): run it without steps"
                )));
            }
        };
        address.map_or(Ok(()), |address| self.on_stop(vcpu, memory, address))
    }

    /// Makes the vCPU return after the next instruction.
    fn step(&self, vcpu: &VcpuFd) -> Result<(), Outcome> {
        debug(
            vcpu,
            kvm_guest_debug {
                control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | self.block_interrupts,
                ..Default::default()
            },
        )
    }

    /// Handles a stop of the vCPU before the instruction at `address`.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn on_stop(
        &mut self,
        vcpu: &VcpuFd,
        memory: &Memory,
        address: u64,
    ) -> Result<(), Outcome> {
        let Some(mut current) = self.current.take() else {
            return Err(Outcome::Died(format!(
                "KVM stopped it at {address:#x} without being asked to: try again"
            )));
        };
        if !current.next.admits(address) {
            let last = current.stretch.addresses.last();
            return Err(inexact(last.copied().unwrap_or_default(), address));
        }
        if current.halted {
            current.halted = false;
            current.tsc = None;
            current.event(EventKind::Interrupt);
        }
        if current.read_clock {
            current.stop_clock(vcpu)?;
        }
        let instruction = self.instruction(vcpu, memory, address)?;
        current.read_clock = instruction.mnemonic() == Mnemonic::Rdtsc;
        for kind in decode::events(&instruction, vcpu) {
            current.event(kind);
            current.halted |= kind == EventKind::Halt;
        }
        current.next = if current.halted {
            NextAddress::One(entry(vcpu, memory, current.vector)?)
        } else {
            NextAddress::after(&instruction, vcpu, memory)
        };
        match current.next {
            // KVM would step over the interrupt handler's return *and* the instruction after it.
            NextAddress::One(next)
                if current.halted || instruction.mnemonic() == Mnemonic::Iretq =>
            {
                // The interrupt that ends a halt must come; at other times interrupts may wait.
                let block_interrupts = if current.halted {
                    0
                } else {
                    self.block_interrupts
                };
                run_to(vcpu, next, block_interrupts)?;
                current.runs_freely = true;
            }
            _ if current.runs_freely => {
                self.step(vcpu)?;
                current.runs_freely = false;
            }
            _ => {}
        }
        current.stretch.addresses.push(address);
        self.current = Some(current);
        Ok(())
    }

    fn instruction(
        &mut self,
        vcpu: &VcpuFd,
        memory: &Memory,
        address: u64,
    ) -> Result<Instruction, Outcome> {
        if let Some(&known) = self.decoded.get(&address) {
            return Ok(known);
        }
        let bytes = registers::instruction_bytes(vcpu, memory, address);
        let instruction = decode::instruction(&bytes, address)
            .ok_or_else(|| Outcome::not_emulated(address, bytes))?;
        self.decoded.insert(address, instruction);
        Ok(instruction)
    }
}

impl Current {
    fn event(&mut self, kind: EventKind) {
        let at = self.stretch.addresses.len();
        self.stretch.events.push(StepEvent { at, kind });
    }

    /// After a `rdtsc`: puts the time at which the clock stands still into the registers, or
    /// records it if it is the first since the last interrupt.
    fn stop_clock(&mut self, vcpu: &VcpuFd) -> Result<(), Outcome> {
        let failed = |error| {
            Outcome::Died(format!(
                "KVM cannot step through it: its registers cannot be accessed ({error})"
            ))
        };
        let mut registers = vcpu.get_regs().map_err(failed)?;
        if let Some((rax, rdx)) = self.tsc {
            (registers.rax, registers.rdx) = (rax, rdx);
            return vcpu.set_regs(&registers).map_err(failed);
        }
        self.tsc = Some((registers.rax, registers.rdx));
        Ok(())
    }
}

/// Where the vCPU goes next.
enum NextAddress {
    /// This cannot be predicted.
    Anywhere,
    One(u64),
    Either(u64, u64),
}

impl NextAddress {
    /// Returns where it goes from this instruction, which is its next.
    fn after(instruction: &Instruction, vcpu: &VcpuFd, memory: &Memory) -> Self {
        let following = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::Next if instruction.has_rep_prefix() || instruction.has_repne_prefix() => {
                Self::Either(following, instruction.ip())
            }
            FlowControl::Next => Self::One(following),
            FlowControl::UnconditionalBranch | FlowControl::Call => {
                Self::One(instruction.near_branch_target())
            }
            FlowControl::ConditionalBranch => {
                Self::Either(following, instruction.near_branch_target())
            }
            FlowControl::Return => {
                registers::top_of_stack(vcpu, memory).map_or(Self::Anywhere, Self::One)
            }
            _ => Self::Anywhere,
        }
    }

    fn admits(&self, address: u64) -> bool {
        match *self {
            Self::Anywhere => true,
            Self::One(next) => address == next,
            Self::Either(one, other) => address == one || address == other,
        }
    }
}

/// Returns the flag that blocks interrupts while stepping, if KVM supports it.
pub(super) fn block_interrupts(kvm: &Kvm) -> u32 {
    // The flags that it supports, since Linux 5.13.
    let known = kvm.check_extension_raw(KVM_CAP_SET_GUEST_DEBUG2.into());
    known as u32 & KVM_GUESTDBG_BLOCKIRQ
}

fn inexact(last: u64, next: u64) -> Outcome {
    Outcome::Died(format!(
        "KVM went from {last:#x} to {next:#x} in one step, so its steps are not the guest's \
         instructions: use another kernel for this"
    ))
}

/// Makes the vCPU run freely to `address`.
fn run_to(vcpu: &VcpuFd, address: u64, block_interrupts: u32) -> Result<(), Outcome> {
    let mut control = kvm_guest_debug {
        control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | block_interrupts,
        ..Default::default()
    };
    control.arch.debugreg[0] = address;
    control.arch.debugreg[7] = DR7_BREAKPOINT_0;
    debug(vcpu, control)
}

fn debug(vcpu: &VcpuFd, control: kvm_guest_debug) -> Result<(), Outcome> {
    vcpu.set_guest_debug(&control).map_err(|error| {
        Outcome::Died(format!(
            "KVM cannot step through it ({error}): use a kernel that can, or run it without steps"
        ))
    })
}

/// Returns the handler's address in the guest's interrupt table at `vector`.
fn entry(vcpu: &VcpuFd, memory: &Memory, vector: u8) -> Result<u64, Outcome> {
    let read = || -> Option<u64> {
        let table = vcpu.get_sregs().ok()?.idt.base;
        // The guest chooses where its table is, so the sum may overflow.
        let gate = table.checked_add(GATE_BYTES * u64::from(vector))?;
        let gate: [u8; 16] = registers::read(vcpu, memory, gate)?;
        // SDM vol. 3, figure 7-8.
        let address = [
            gate[0], gate[1], gate[6], gate[7], gate[8], gate[9], gate[10], gate[11],
        ];
        Some(u64::from_le_bytes(address))
    };
    read().ok_or_else(|| {
        Outcome::Died(format!(
            "its interrupt table cannot be read at vector {vector:#x}: load one before it asks for \
             steps"
        ))
    })
}
