//! A debugger's sessions: GDB's remote protocol, served on the vCPU's thread.
//!
//! The guest is stopped until a debugger has attached and lets it run. While it runs, `KVM_RUN` is
//! interrupted every 20 ms to see whether the debugger has sent something. When the debugger
//! detaches, or its connection ends, its breakpoints are removed and the guest goes on; another
//! debugger can attach then, which stops it again.

mod breakpoints;
mod fuzz;
mod guest;
mod link;
mod memory;
mod registers;

use std::{
    convert::Infallible,
    io, mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gdbstub::{
    common::Signal,
    conn::Connection,
    stub::{
        DisconnectReason, GdbStub, GdbStubError, SingleThreadStopReason,
        state_machine::GdbStubStateMachine,
    },
};
use kvm_bindings::{
    BP_VECTOR, KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_BP, KVM_GUESTDBG_SINGLESTEP,
    KVM_GUESTDBG_USE_SW_BP, KVM_MP_STATE_HALTED, kvm_debug_exit_arch,
};
use kvm_ioctls::{Error, VcpuFd};

use super::{
    boot::Memory,
    message::{Message, Teller},
    requests::Requests,
};
use crate::vmm::{gdb::GdbListener, outcome::Outcome};
pub(crate) use fuzz::fuzz_gdb;
use guest::{Resume, StoppedGuest};
use link::{Link, is_readable};
use registers::Registers;

/// How often a request to leave is looked for while the guest is stopped.
const INTERVAL: Duration = Duration::from_millis(20);

/// In DR6: the bits of the breakpoints in DR0 to DR3.
const DR6_BREAKPOINTS: u64 = 0b1111;

type Session = GdbStubStateMachine<'static, StoppedGuest, Link>;
type Next = Result<Session, GdbStubError<Infallible, io::Error>>;
type Stop = SingleThreadStopReason<u64>;

/// The debugger of one guest, attached or not.
pub(super) struct Debugger {
    listener: GdbListener,
    guest: StoppedGuest,
    session: Option<Session>,
    /// The guest is stopped for the debugger, or for the first one to come.
    is_stopped: bool,
    /// A debugger has let the guest run.
    has_run: bool,
    /// The session's peer has sent a request, so it is a debugger.
    has_answered: bool,
    /// Blocks interrupts during a step, if KVM supports it. Otherwise a step would end in the
    /// handler of a timer that expired while the guest was stopped.
    block_interrupts: u32,
    teller: Arc<Teller>,
    /// By what was told last. A guest waits for its first debugger as for one that is attached.
    was_attached: bool,
}

impl Debugger {
    pub(super) fn new(
        listener: GdbListener,
        memory: Memory,
        block_interrupts: u32,
        teller: Arc<Teller>,
    ) -> Self {
        Self {
            teller,
            was_attached: true,
            listener,
            guest: StoppedGuest::new(memory),
            session: None,
            is_stopped: true,
            has_run: false,
            has_answered: false,
            block_interrupts,
        }
    }

    /// Serves the debugger, if it has sent something or must be waited for, until the guest may
    /// run. The vCPU must have completed its last exit.
    ///
    /// # Errors
    ///
    /// The debugger ends the run.
    pub(super) fn attend(&mut self, vcpu: &VcpuFd, requests: &Requests) -> Result<(), Outcome> {
        if !self.is_stopped && !self.has_input(Duration::ZERO) {
            return Ok(());
        }
        self.guest.registers = Registers::load(vcpu).map_err(failed)?;
        while !requests.leave.load(Ordering::SeqCst) {
            let limit = if self.is_stopped {
                INTERVAL
            } else {
                Duration::ZERO
            };
            if self.has_input(limit) {
                self.receive(requests)?;
                self.note_presence();
            } else if !self.is_stopped {
                break;
            }
        }
        self.guest.registers.store(vcpu).map_err(failed)?;
        self.arm(vcpu, 0)
    }

    /// Handles an exit for a breakpoint or a step.
    ///
    /// # Errors
    ///
    /// How this ends the run.
    pub(super) fn on_debug_exit(
        &mut self,
        vcpu: &VcpuFd,
        exit: kvm_debug_exit_arch,
        requests: &Requests,
    ) -> Result<(), Outcome> {
        let stop = if exit.exception == BP_VECTOR {
            if !self.guest.breakpoints.is_software(exit.pc) {
                // An INT3 of the guest's own, which its handler expects.
                return self.arm(vcpu, KVM_GUESTDBG_INJECT_BP);
            }
            Stop::SwBreak(())
        } else if exit.dr6 & DR6_BREAKPOINTS != 0 {
            Stop::HwBreak(())
        } else {
            match self.guest.resume {
                Resume::StepFrom(start, end) if (start..end).contains(&exit.pc) => {
                    return self.arm(vcpu, 0);
                }
                _ => Stop::DoneStep,
            }
        };
        self.stop(vcpu, stop, requests)
    }

    /// Handles that KVM cannot emulate the instruction at `address`, if that is the INT3 of a
    /// breakpoint; returns `None` otherwise. A KVM that emulates a guest's kernel mode stops so at
    /// each software breakpoint.
    pub(super) fn on_not_emulated(
        &mut self,
        vcpu: &VcpuFd,
        address: u64,
        requests: &Requests,
    ) -> Option<Result<(), Outcome>> {
        if !self.guest.breakpoints.is_software(address) {
            return None;
        }
        // It has queued an exception, which this discards.
        let discarded = vcpu
            .get_regs()
            .and_then(|registers| vcpu.set_regs(&registers));
        let stopped = discarded.map_err(failed);
        Some(stopped.and_then(|()| self.stop(vcpu, Stop::SwBreak(()), requests)))
    }

    /// Tells the debugger that the guest has ended. If it has died, the debugger can look at it
    /// first.
    pub(super) fn on_end(&mut self, vcpu: &VcpuFd, outcome: &Outcome, requests: &Requests) {
        if matches!(
            outcome,
            Outcome::TripleFault { .. } | Outcome::NotEmulated { .. } | Outcome::Died(_)
        ) {
            self.report(Stop::Signal(Signal::SIGSEGV));
            if self.is_stopped && self.attend(vcpu, requests).is_err() {
                return;
            }
        }
        self.report(Stop::Exited(outcome.exit_code()));
    }

    /// Tells that a debugger is attached, or that none is any more.
    fn note_presence(&mut self) {
        let is_attached = self.is_stopped || self.session.is_some();
        if mem::replace(&mut self.was_attached, is_attached) != is_attached {
            // If nobody hears it, the run ends soon.
            let _ = self.teller.tell(&Message::Debugger(is_attached));
        }
    }

    /// Reports a stop, and waits until the guest may run.
    fn stop(&mut self, vcpu: &VcpuFd, stop: Stop, requests: &Requests) -> Result<(), Outcome> {
        self.report(stop);
        if self.is_stopped {
            return self.attend(vcpu, requests);
        }
        // The connection has ended.
        self.note_presence();
        self.arm(vcpu, 0)
    }

    /// Waits until the debugger has sent something or a new one has connected, for at most this
    /// long; returns whether that is so.
    fn has_input(&mut self, limit: Duration) -> bool {
        match &mut self.session {
            Some(session) => is_readable(link(session).stream(), limit),
            None => is_readable(self.listener.socket(), limit),
        }
    }

    /// Handles what the debugger has sent, or a new connection.
    fn receive(&mut self, requests: &Requests) -> Result<(), Outcome> {
        let Some(session) = &mut self.session else {
            self.accept();
            return Ok(());
        };
        let mut buffer = [0; 512];
        let Ok(bytes) = link(session).read(&mut buffer) else {
            self.end_session(self.has_answered);
            return Ok(());
        };
        for &byte in bytes {
            // Among them may be many requests, and the debugger may be slow to read each answer.
            if self.session.is_none() || requests.leave.load(Ordering::SeqCst) {
                break;
            }
            self.handle(byte)?;
        }
        Ok(())
    }

    /// Accepts a connection, which stops the guest.
    fn accept(&mut self) {
        let link = self.listener.accept().map(Link::new);
        // One that is closed already is no debugger.
        let Some(Ok(link)) = link else {
            return;
        };
        if let Ok(session) = GdbStub::new(link).run_state_machine(&mut self.guest) {
            self.session = Some(session);
            self.is_stopped = true;
        }
    }

    /// Handles one byte of the debugger's.
    fn handle(&mut self, byte: u8) -> Result<(), Outcome> {
        let guest = &mut self.guest;
        let next = match self.session.take() {
            Some(Session::Idle(session)) => session.incoming_data(guest, byte),
            Some(Session::Running(session)) => session.incoming_data(guest, byte),
            other => {
                self.session = other;
                return Ok(());
            }
        };
        self.go_to(next)
    }

    /// Reports why the guest has stopped or ended, if a debugger waits for that.
    fn report(&mut self, stop: Stop) {
        match self.session.take() {
            Some(Session::Running(session)) => {
                let next = session.report_stop(&mut self.guest, stop);
                // Only a request of the debugger's ends the run.
                let _ = self.go_to(next);
            }
            other => self.session = other,
        }
    }

    /// Changes to the session's next state, and stops the guest or lets it run accordingly.
    fn go_to(&mut self, next: Next) -> Result<(), Outcome> {
        let mut session = match next {
            Ok(Session::CtrlCInterrupt(session)) => {
                let stop = Stop::Signal(Signal::SIGINT);
                let next = session.interrupt_handled(&mut self.guest, Some(stop));
                return self.go_to(next);
            }
            Ok(Session::Disconnected(mut session)) => {
                if session.get_reason() == DisconnectReason::Kill {
                    // The library leaves this out. A debugger may be gone already.
                    let link = session.borrow_conn();
                    let _ = link.write_all(b"$OK#9a").and_then(|()| link.flush());
                    return Err(Outcome::Stopped);
                }
                self.end_session(true);
                return Ok(());
            }
            Ok(session) => session,
            // The peer does not speak the protocol, or does not read.
            Err(_) => {
                self.end_session(self.has_answered);
                return Ok(());
            }
        };
        self.is_stopped = matches!(session, Session::Idle(_));
        self.has_run |= !self.is_stopped;
        self.has_answered = link(&mut session).has_answered();
        self.session = Some(session);
        Ok(())
    }

    /// Ends the session. The guest goes on without breakpoints if the peer was a debugger, or if it
    /// was running before.
    fn end_session(&mut self, was_debugger: bool) {
        self.session = None;
        self.has_answered = false;
        self.guest.release();
        self.has_run |= was_debugger;
        self.is_stopped = !self.has_run;
    }

    /// Tells KVM where and how the guest stops next.
    fn arm(&self, vcpu: &VcpuFd, inject: u32) -> Result<(), Outcome> {
        let mut control = self.guest.breakpoints.control();
        if inject != 0 {
            control.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP | inject;
        }
        if self.guest.resume != Resume::Freely {
            control.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
            // A vCPU that halts needs the interrupt for its next instruction.
            let state = vcpu.get_mp_state().map_err(failed)?;
            if state.mp_state != KVM_MP_STATE_HALTED {
                control.control |= self.block_interrupts;
            }
        }
        vcpu.set_guest_debug(&control).map_err(failed)
    }
}

/// Returns the connection of a session.
fn link(session: &mut Session) -> &mut Link {
    match session {
        Session::Idle(session) => session.borrow_conn(),
        Session::Running(session) => session.borrow_conn(),
        Session::CtrlCInterrupt(session) => session.borrow_conn(),
        Session::Disconnected(session) => session.borrow_conn(),
    }
}

fn failed(error: Error) -> Outcome {
    Outcome::Died(format!(
        "KVM cannot debug it ({error}): pass --vmm qemu-tcg, or use another kernel"
    ))
}
