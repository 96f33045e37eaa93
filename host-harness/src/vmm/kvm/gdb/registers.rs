//! The registers of a stopped vCPU, as KVM and as debuggers have them.

use gdbstub_arch::x86::reg::{X86_64CoreRegs, X86SegmentRegs, X87FpuInternalRegs};
use kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};
use kvm_ioctls::{Error, VcpuFd};

/// The registers of a vCPU. Segment registers can be read only: the descriptors behind them are
/// loaded by the guest's instructions.
#[derive(Debug, Default)]
pub(super) struct Registers {
    general: kvm_regs,
    pub(super) special: kvm_sregs,
    floating: kvm_fpu,
    is_changed: bool,
}

impl Registers {
    /// Reads those of a vCPU that is stopped.
    pub(super) fn load(vcpu: &VcpuFd) -> Result<Self, Error> {
        Ok(Self {
            general: vcpu.get_regs()?,
            special: vcpu.get_sregs()?,
            floating: vcpu.get_fpu()?,
            is_changed: false,
        })
    }

    /// Writes them back, if a debugger has changed them.
    pub(super) fn store(&mut self, vcpu: &VcpuFd) -> Result<(), Error> {
        if std::mem::take(&mut self.is_changed) {
            vcpu.set_regs(&self.general)?;
            vcpu.set_fpu(&self.floating)?;
        }
        Ok(())
    }

    /// Returns them for a debugger.
    pub(super) fn to_debugger(&self) -> X86_64CoreRegs {
        let (r, s, f) = (&self.general, &self.special, &self.floating);
        let mut st = [[0; 10]; 8];
        for (to, from) in st.iter_mut().zip(&f.fpr) {
            to.copy_from_slice(&from[..10]);
        }
        X86_64CoreRegs {
            regs: [
                r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11,
                r.r12, r.r13, r.r14, r.r15,
            ],
            // The upper half is always zero.
            eflags: r.rflags as u32,
            rip: r.rip,
            segments: X86SegmentRegs {
                cs: s.cs.selector.into(),
                ss: s.ss.selector.into(),
                ds: s.ds.selector.into(),
                es: s.es.selector.into(),
                fs: s.fs.selector.into(),
                gs: s.gs.selector.into(),
            },
            st,
            fpu: X87FpuInternalRegs {
                fctrl: f.fcw.into(),
                fstat: f.fsw.into(),
                ftag: f.ftwx.into(),
                fop: f.last_opcode.into(),
                fioff: f.last_ip as u32,
                fooff: f.last_dp as u32,
                ..Default::default()
            },
            xmm: f.xmm.map(u128::from_le_bytes),
            mxcsr: f.mxcsr,
        }
    }

    /// Takes the values that a debugger has set, except for segment registers.
    pub(super) fn set_from_debugger(&mut self, from: &X86_64CoreRegs) {
        let r = &mut self.general;
        [
            r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp, r.r8, r.r9, r.r10, r.r11,
            r.r12, r.r13, r.r14, r.r15,
        ] = from.regs;
        r.rflags = from.eflags.into();
        r.rip = from.rip;
        let f = &mut self.floating;
        for (to, from) in f.fpr.iter_mut().zip(&from.st) {
            to[..10].copy_from_slice(from);
        }
        f.xmm = from.xmm.map(u128::to_le_bytes);
        f.mxcsr = from.mxcsr;
        f.fcw = from.fpu.fctrl as u16;
        f.fsw = from.fpu.fstat as u16;
        self.is_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_the_same_after_a_debugger_wrote_them_back() {
        let mut from = X86_64CoreRegs {
            eflags: 0x202,
            rip: 0x20_0000,
            mxcsr: 0x1f80,
            ..Default::default()
        };
        for (value, register) in (1..).zip(&mut from.regs) {
            *register = value;
        }
        for (value, register) in (1..).zip(&mut from.st) {
            *register = [value; 10];
        }
        for (value, register) in (1..).zip(&mut from.xmm) {
            *register = value << 64 | 7;
        }
        from.fpu.fctrl = 0x37f;
        let mut registers = Registers::default();
        registers.set_from_debugger(&from);
        assert!(registers.is_changed);
        assert_eq!(registers.to_debugger(), from);
    }
}
