//! The guest as the protocol's implementation sees it: registers, memory and breakpoints of a vCPU
//! that is stopped.

use std::convert::Infallible;

use gdbstub::{
    common::Signal,
    target::{
        Target, TargetError, TargetResult,
        ext::{
            base::{
                BaseOps,
                singlethread::{
                    SingleThreadBase, SingleThreadRangeStepping, SingleThreadRangeSteppingOps,
                    SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
                    SingleThreadSingleStepOps,
                },
            },
            breakpoints::{
                Breakpoints as BreakpointsExt, BreakpointsOps, HwBreakpoint, HwBreakpointOps,
                SwBreakpoint, SwBreakpointOps,
            },
        },
    },
};
use gdbstub_arch::x86::{X86_64_SSE, reg::X86_64CoreRegs};

use super::{breakpoints::Breakpoints, memory, registers::Registers};
use crate::vmm::kvm::boot::Memory;

/// `EFAULT`.
const BAD_ADDRESS: u8 = 14;

/// Addresses from here on are not read. No system maps them, and the implementation of the protocol
/// adds lengths to addresses without looking for an overflow.
const END: u64 = u64::MAX - (1 << 32);

/// How the guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// To the next breakpoint.
    Freely,
    /// By one instruction.
    Step,
    /// Until it leaves these addresses.
    StepFrom(u64, u64),
}

/// A guest that is stopped.
pub(super) struct StoppedGuest {
    memory: Memory,
    pub(super) registers: Registers,
    pub(super) breakpoints: Breakpoints,
    pub(super) resume: Resume,
}

impl StoppedGuest {
    /// Makes one whose registers are not read yet.
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            registers: Registers::default(),
            breakpoints: Breakpoints::default(),
            resume: Resume::Freely,
        }
    }

    /// Makes it what it is without a debugger.
    pub(super) fn release(&mut self) {
        self.breakpoints.clear(&self.memory);
        self.resume = Resume::Freely;
    }
}

impl Target for StoppedGuest {
    type Arch = X86_64_SSE;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for StoppedGuest {
    fn read_registers(&mut self, registers: &mut X86_64CoreRegs) -> TargetResult<(), Self> {
        *registers = self.registers.to_debugger();
        Ok(())
    }

    fn write_registers(&mut self, registers: &X86_64CoreRegs) -> TargetResult<(), Self> {
        self.registers.set_from_debugger(registers);
        Ok(())
    }

    fn read_addrs(&mut self, address: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        if address >= END {
            return Err(TargetError::Errno(BAD_ADDRESS));
        }
        let length = memory::read(&self.memory, &self.registers.special, address, data);
        if length == 0 {
            return Err(TargetError::Errno(BAD_ADDRESS));
        }
        self.breakpoints.hide(address, &mut data[..length]);
        Ok(length)
    }

    fn write_addrs(&mut self, address: u64, data: &[u8]) -> TargetResult<(), Self> {
        let length = memory::write(&self.memory, &self.registers.special, address, data);
        self.breakpoints
            .keep(&self.memory, address, &data[..length]);
        if length < data.len() {
            return Err(TargetError::Errno(BAD_ADDRESS));
        }
        Ok(())
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for StoppedGuest {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), Infallible> {
        self.resume = Resume::Freely;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<SingleThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for StoppedGuest {
    fn step(&mut self, _: Option<Signal>) -> Result<(), Infallible> {
        self.resume = Resume::Step;
        Ok(())
    }
}

impl SingleThreadRangeStepping for StoppedGuest {
    fn resume_range_step(&mut self, start: u64, end: u64) -> Result<(), Infallible> {
        self.resume = Resume::StepFrom(start, end);
        Ok(())
    }
}

impl BreakpointsExt for StoppedGuest {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for StoppedGuest {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        let registers = &self.registers.special;
        let breakpoints = &mut self.breakpoints;
        Ok(breakpoints.insert_software(&self.memory, registers, address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        self.breakpoints.remove_software(&self.memory, address);
        Ok(true)
    }
}

impl HwBreakpoint for StoppedGuest {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.breakpoints.insert_hardware(address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        self.breakpoints.remove_hardware(address);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz_gdb;

    /// Beginnings of requests, some with arguments at the limits.
    const REQUESTS: [&str; 22] = [
        "m0,ffffffffffffffff",
        "mffffffffffffffff,2",
        "M0,4:00112233",
        "Mfffffffffffffffe,4:00112233",
        "g",
        "G00",
        "p",
        "P0=0",
        "X0,4:abcd",
        "Z0,10,1",
        "Z1,ffffffffffffffff,1",
        "z0,10,1",
        "vCont;c",
        "vCont;r0,ffffffffffffffff",
        "vCont;s:p1.1",
        "Hg0",
        "qSupported:multiprocess+",
        "qXfer:features:read:target.xml:0,ffffffffffffffff",
        "qRcmd,00",
        "T01",
        "?",
        "s",
    ];

    #[test]
    fn requests_of_any_kind_do_no_harm() {
        // Xorshift: the same numbers each time.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for _ in 0..20_000 {
            let mut body = REQUESTS[next(REQUESTS.len())].as_bytes().to_vec();
            for _ in 0..next(3) {
                let at = next(body.len() + 1);
                let byte = b"0f,;:=+-*}p."[next(12)];
                match next(3) {
                    0 => body.insert(at, byte),
                    1 => body.truncate(at),
                    _ => body.splice(at.., [byte, next(256) as u8]).for_each(drop),
                }
            }
            let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            let end = format!("#{sum:02x}").into_bytes();
            // As a connection's bytes, without page tables.
            fuzz_gdb(&[b"\x02$".to_vec(), body, end].concat());
        }
    }
}
