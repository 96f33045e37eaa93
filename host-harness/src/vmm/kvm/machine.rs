//! A virtual machine that is ready to be entered.

use std::sync::{Arc, atomic::AtomicBool};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::{
    boot::Memory,
    cpu,
    devices::Devices,
    exits::{self, Ran},
    gdb::Debugger,
    message::Teller,
    outlet::Outlet,
    registers,
    requests::Requests,
    stats,
    steps::{self, Stepper},
    virtio::{Backend, VirtioDevices},
};
use crate::vmm::{error::RunError, gdb::GdbListener, report::VcpuCounters, steps::Stretch};

/// Where KVM puts a page table for processors that cannot run real mode: three pages of a task
/// state segment follow it. Both lie above the guest's memory and below the processor's firmware.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;
const TSS_ADDRESS: usize = 0xfffb_d000;

pub(super) struct Machine {
    vcpu: VcpuFd,
    pub(super) devices: Devices,
    memory: Memory,
    steps: Stepper,
    debugger: Option<Debugger>,
}

/// How a machine is made.
pub(super) struct Plan {
    pub(super) entry: u64,
    pub(super) pit: bool,
    pub(super) steps: bool,
    pub(super) gdb: Option<GdbListener>,
}

impl Machine {
    pub(super) fn new(
        kvm: &Kvm,
        memory: Memory,
        plan: Plan,
        devices: Vec<Backend>,
        leave: &Arc<AtomicBool>,
        teller: &Arc<Teller>,
    ) -> Result<Self, RunError> {
        let vm = create_vm(kvm, &memory, plan.pit)?;
        let vcpu = vm
            .create_vcpu(0)
            .map_err(RunError::kvm("create the vCPU"))?;
        let virtio = VirtioDevices::start(&vm, &memory, devices, leave)?;
        let devices = Devices::new(vm, memory.clone(), virtio)?;
        cpu::set_up(kvm, &vcpu, plan.entry)?;
        let debugger = plan.gdb.map(|listener| {
            let block_interrupts = steps::block_interrupts(kvm);
            Debugger::new(
                listener,
                memory.clone(),
                block_interrupts,
                Arc::clone(teller),
            )
        });
        Ok(Self {
            vcpu,
            devices,
            memory,
            steps: Stepper::new(kvm, plan.steps),
            debugger,
        })
    }

    /// Runs the guest until it ends or is asked to leave.
    pub(super) fn run(&mut self, outlet: &mut Outlet<'_>, requests: &Requests) -> Ran {
        let Self {
            vcpu,
            devices,
            memory,
            steps,
            debugger,
        } = self;
        let debugger = debugger.as_mut();
        exits::run(vcpu, memory, devices, steps, debugger, outlet, requests)
    }

    /// Where the guest is, if that is known.
    pub(super) fn place(&self) -> Option<String> {
        registers::place(&self.vcpu, &self.memory)
    }

    /// What KVM counted, and how often it returned by the word of the loop.
    pub(super) fn counters(&self, exits: u64) -> VcpuCounters {
        stats::read(&self.vcpu, exits)
    }

    /// Takes the stretches that were stepped through.
    pub(super) fn take_stretches(&mut self) -> Vec<Stretch> {
        self.steps.take_stretches()
    }
}

/// Creates the VM without its vCPU: memory and interrupt controllers.
fn create_vm(kvm: &Kvm, memory: &Memory, pit: bool) -> Result<VmFd, RunError> {
    let vm = kvm
        .create_vm()
        .map_err(RunError::kvm("create a virtual machine"))?;
    // Only Intel processors use them, where some KVMs require them; elsewhere they do no harm.
    vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
        .map_err(RunError::kvm("place its page table"))?;
    vm.set_tss_address(TSS_ADDRESS)
        .map_err(RunError::kvm("place its task state segment"))?;
    set_memory(&vm, memory)?;
    // In the kernel, so that `hlt` and timer interrupts take no exit to this process.
    vm.create_irq_chip()
        .map_err(RunError::kvm("create the interrupt controllers"))?;
    if pit {
        // The "speaker" is port 0x61, whose bits gate and report the channel that calibrates other
        // clocks.
        vm.create_pit2(kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        })
        .map_err(RunError::kvm("create the PIT"))?;
    }
    Ok(vm)
}

/// Maps the memory into the VM.
fn set_memory(vm: &VmFd, memory: &Memory) -> Result<(), RunError> {
    for (slot, piece) in (0..).zip(memory.iter()) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: piece.start_addr().raw_value(),
            memory_size: piece.len(),
            userspace_addr: piece.as_ptr() as u64,
        };
        // SAFETY: the region is exactly one of the mappings of `memory`, and overlaps no other
        // region. `Machine` keeps the mapping until the vCPU is closed, after which the kernel
        // does not access it.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(RunError::kvm("give the machine its memory"))?;
    }
    Ok(())
}
