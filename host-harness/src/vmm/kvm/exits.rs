//! The loop around `KVM_RUN`: serves each exit to this process, or ends the run.

use std::sync::atomic::Ordering;

use dormir_abi::port;
use kvm_bindings::KVM_INTERNAL_ERROR_EMULATION;
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::{
    boot::Memory, bus, devices::Devices, gdb::Debugger, outlet::Outlet, registers,
    requests::Requests, steps::Stepper,
};
use crate::vmm::outcome::Outcome;

/// Why the loop ended.
pub(super) enum RunLoopEnd {
    /// The guest ended, or was ended because of what it did.
    Guest(Outcome),
    /// The loop was asked to leave while the guest was still running.
    AskedToStop,
}

/// The result of the loop.
pub(super) struct Ran {
    pub(super) end: RunLoopEnd,
    /// How often `KVM_RUN` returned.
    pub(super) exits: u64,
    /// Where the guest was when it was sent the NMI that was asked for: if known.
    pub(super) place_at_nmi: Option<Option<String>>,
}

/// Runs the guest until it ends or is asked to leave.
pub(super) fn run(
    vcpu: &mut VcpuFd,
    memory: &Memory,
    devices: &mut Devices,
    steps: &mut Stepper,
    mut debugger: Option<&mut Debugger>,
    console: &mut Outlet<'_>,
    requests: &Requests,
) -> Ran {
    let (mut exits, mut place_at_nmi) = (0, None);
    // Before the guest's first instruction.
    requests.attend.store(debugger.is_some(), Ordering::SeqCst);
    let end = loop {
        if requests.leave.load(Ordering::SeqCst) {
            break RunLoopEnd::AskedToStop;
        }
        if requests.report.swap(false, Ordering::SeqCst) {
            place_at_nmi = Some(registers::place(vcpu, memory));
            // If it fails, there is no report.
            let _ = vcpu.nmi();
        }
        // For a debugger `KVM_RUN` only completes the last exit, and returns as if interrupted.
        let attends = requests.attend.swap(false, Ordering::SeqCst);
        vcpu.set_kvm_immediate_exit(attends.into());
        let exit = vcpu.run();
        exits += 1;
        let result = match exit {
            Ok(VcpuExit::IoOut(port::STEPS, data)) => {
                let value = bus::little_endian(data);
                let begun = steps.on_write(vcpu, value);
                begun.and_then(|()| steps.behind_port(vcpu, memory))
            }
            Ok(VcpuExit::IoOut(port::HOST_INTERRUPT, data)) => {
                let address = bus::little_endian(data);
                let asked = devices.interrupt_from_host(vcpu, address);
                asked.and_then(|()| steps.behind_port(vcpu, memory))
            }
            Ok(VcpuExit::Debug(stop)) => match &mut debugger {
                Some(debugger) => debugger.on_debug_exit(vcpu, stop, requests),
                None => steps.on_stop(vcpu, memory, stop.pc),
            },
            Ok(VcpuExit::IoOut(port, data)) => {
                let written = devices.write(port, data, console);
                written.and_then(|()| steps.behind_port(vcpu, memory))
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                devices.bus().read(port, data);
                steps.behind_port(vcpu, memory)
            }
            Ok(VcpuExit::Intr) => Ok(()),
            Err(error) if error.errno() == libc::EINTR => match &mut debugger {
                Some(debugger) => debugger.attend(vcpu, requests),
                None => Ok(()),
            },
            Ok(VcpuExit::MmioRead(address, data)) => match devices.bus().read_memory(address, data)
            {
                true => steps.behind_port(vcpu, memory),
                false => Err(no_memory("read from", address, vcpu)),
            },
            Ok(VcpuExit::MmioWrite(address, data)) => {
                match devices.bus().write_memory(address, data, console) {
                    Ok(true) => steps.behind_port(vcpu, memory),
                    Ok(false) => Err(no_memory("wrote to", address, vcpu)),
                    Err(outcome) => Err(outcome),
                }
            }
            Ok(VcpuExit::Shutdown) => Err(Outcome::TripleFault {
                registers: registers::describe(vcpu),
            }),
            Ok(VcpuExit::InternalError) => {
                let address = registers::instruction_pointer(vcpu);
                let at_breakpoint =
                    debugger
                        .as_mut()
                        .zip(address)
                        .and_then(|(debugger, address)| {
                            debugger.on_not_emulated(vcpu, address, requests)
                        });
                at_breakpoint.unwrap_or_else(|| Err(internal_error(vcpu, memory)))
            }
            Ok(VcpuExit::FailEntry(reason, _)) => Err(Outcome::Died(format!(
                "the processor refused the vCPU's state (reason {reason:#x}): pass --vmm qemu-tcg \
                 and see which register the guest corrupts"
            ))),
            // With in-kernel interrupt controllers, KVM handles this itself.
            Ok(VcpuExit::Hlt) => Err(Outcome::Died(
                "KVM handed a halt to the VMM although it has the interrupt controllers: pass \
                 --vmm qemu-tcg"
                    .into(),
            )),
            Ok(other) => Err(Outcome::Died(format!(
                "KVM returned for a reason that our VMM does not serve ({other:?}): pass --vmm \
                 qemu-kvm"
            ))),
            Err(error) => Err(Outcome::Died(format!(
                "KVM could not run the vCPU ({error}): see whether `dmesg` says why"
            ))),
        };
        match result {
            Ok(()) => {}
            // By a debugger, or since nobody reads the console or gives orders any more.
            Err(Outcome::Stopped) => break RunLoopEnd::AskedToStop,
            Err(outcome) => {
                if let Some(debugger) = debugger {
                    debugger.on_end(vcpu, &outcome, requests);
                }
                break RunLoopEnd::Guest(outcome);
            }
        }
    };
    Ran {
        end,
        exits,
        place_at_nmi,
    }
}

fn no_memory(did: &str, address: u64, vcpu: &VcpuFd) -> Outcome {
    let place = registers::instruction_pointer(vcpu)
        .map_or(String::new(), |rip| format!(" (instruction at {rip:#x})"));
    Outcome::Died(format!(
        "it {did} physical address {address:#x}, where there is neither memory nor a \
         device{place}: correct the address, or pass a larger --memory"
    ))
}

/// Makes the outcome for a vCPU on which KVM gave up.
fn internal_error(vcpu: &mut VcpuFd, memory: &Memory) -> Outcome {
    // SAFETY: every field of the union consists of integers, for which any bytes are valid; the
    // exit reason KVM_EXIT_INTERNAL_ERROR means that the kernel filled in this one.
    let error = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal };
    let Some(address) = registers::instruction_pointer(vcpu) else {
        return Outcome::Died(format!(
            "KVM gave up with internal error {}: see whether `dmesg` says why",
            error.suberror
        ));
    };
    if error.suberror != KVM_INTERNAL_ERROR_EMULATION {
        return Outcome::Died(format!(
            "KVM gave up at {address:#x} with internal error {} (3: it could not deliver an \
             exception or interrupt): look at the guest's interrupt table and stacks",
            error.suberror
        ));
    }
    let bytes = registers::instruction_bytes(vcpu, memory, address);
    Outcome::not_emulated(address, bytes)
}
