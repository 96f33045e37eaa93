//! Our own VMM: one vCPU on `/dev/kvm`, entered in 64-bit mode, with the few devices of
//! [`dormir_abi::port`].

mod boot;
mod cpu;
mod decode;
mod devices;
mod exits;
mod host_interrupt;
mod probe;
mod registers;
mod stats;
mod steps;
mod thread;

pub use probe::{KvmInfo, probe};

use std::{ffi::c_void, io::Write, ptr, sync::atomic::AtomicBool, time::Instant};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::{
    Outcome, Report, RunConfig, RunError, Word,
    console::Console,
    image::{Image, ImageFile},
    limit::{Limit, Unstarted},
};
use boot::Memory;
use devices::Devices;
use exits::End;
use steps::Steps;
use thread::Asked;

/// Where KVM puts a page table for processors that cannot run real mode: three pages of a task
/// state segment follow it. Both lie above the guest's memory and below the processor's firmware.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A machine that is ready to be entered.
///
/// The fields are dropped in this order: the vCPU and the machine before the memory that they use.
struct Machine {
    vcpu: VcpuFd,
    devices: Devices,
    memory: Memory,
    steps: Steps,
}

/// Runs a guest that was checked, and waits for its end.
pub(super) fn run(
    image: &Image<ImageFile>,
    entry: u64,
    word: &Word,
    config: &RunConfig,
    limit: &Limit<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    let started = Instant::now();
    let mut machine = Machine::new(image, entry, &word.command_line, config, limit)?;
    let leave = AtomicBool::new(false);
    let mut console = Console::new(out, config.console_limit, &leave, word.nonce);
    let (end, exits, asked) = thread::run(limit.deadline(), &config.stop, &leave, || {
        machine.run(&mut console, &leave)
    })?;
    let ended = match (end, asked) {
        (End::Guest(outcome), _) => outcome,
        (End::Asked, Some(Asked::OutOfTime)) => Outcome::TimedOut {
            limit: config.timeout,
            place: registers::place(&machine.vcpu, &machine.memory),
        },
        (End::Asked, _) => Outcome::Stopped,
    };
    let counters = stats::read(&machine.vcpu, exits);
    let stretches = machine.steps.take_stretches();
    drop(machine);
    let (outcome, said) = console.conclude(ended);
    Ok(Report {
        outcome,
        stats: said.stats,
        samples: said.samples,
        times: said.times,
        wall: started.elapsed(),
        counters: Some(counters),
        stretches,
    })
}

impl Machine {
    fn new(
        image: &Image<ImageFile>,
        entry: u64,
        command_line: &str,
        config: &RunConfig,
        limit: &Limit<'_>,
    ) -> Result<Self, Unstarted> {
        let kvm = probe::open()?;
        let memory = boot::build_memory(image, config.memory_mib, command_line, limit)?;
        let vm = create_vm(&kvm, &memory, config.pit)?;
        let mut vcpu = vm
            .create_vcpu(0)
            .map_err(RunError::kvm("create the vCPU"))?;
        let state = kvm
            .get_vcpu_mmap_size()
            .map_err(RunError::kvm("say how large a vCPU's state is"))?;
        keep_from_forks(ptr::from_mut(vcpu.get_kvm_run()).cast(), state);
        let devices = Devices::new(vm, memory.clone())?;
        cpu::set_up(&kvm, &vcpu, entry)?;
        Ok(Self {
            vcpu,
            devices,
            memory,
            steps: Steps::new(&kvm, config.steps),
        })
    }

    fn run(&mut self, console: &mut Console<'_>, leave: &AtomicBool) -> (End, u64) {
        let Self {
            vcpu,
            devices,
            memory,
            steps,
            ..
        } = self;
        exits::run(vcpu, memory, devices, steps, console, leave)
    }
}

/// Creates the machine without its vCPU: memory and interrupt controllers.
fn create_vm(kvm: &Kvm, memory: &Memory, pit: bool) -> Result<VmFd, RunError> {
    let vm = kvm
        .create_vm()
        .map_err(RunError::kvm("create a virtual machine"))?;
    // Only Intel processors use them, and some KVMs ask for them there; nobody minds them.
    vm.set_identity_map_address(IDENTITY_MAP_ADDRESS)
        .map_err(RunError::kvm("place its page table"))?;
    vm.set_tss_address(TSS_ADDRESS)
        .map_err(RunError::kvm("place its task state segment"))?;
    set_memory(&vm, memory)?;
    // In the kernel, so that `hlt` and timer interrupts take no exit to this process.
    vm.create_irq_chip()
        .map_err(RunError::kvm("create the interrupt controllers"))?;
    if pit {
        // The "speaker" is port 0x61, whose bits gate and show the channel that is used to
        // calibrate other clocks.
        vm.create_pit2(kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        })
        .map_err(RunError::kvm("create the PIT"))?;
    }
    Ok(vm)
}

/// Keeps memory of the machine from the processes that this one forks: a keeper lives long, and would have the
/// machine live as long, and a copy of each page that the guest writes.
fn keep_from_forks(start: *mut c_void, bytes: usize) {
    // SAFETY: it changes nothing in this process, and what a forked one does does not touch a machine. A refusal
    // costs memory.
    unsafe { libc::madvise(start, bytes, libc::MADV_DONTFORK) };
}

/// Gives the machine its memory.
fn set_memory(vm: &VmFd, memory: &Memory) -> Result<(), RunError> {
    for (slot, piece) in (0..).zip(memory.iter()) {
        keep_from_forks(piece.as_ptr().cast(), piece.len() as usize);
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: piece.start_addr().raw_value(),
            memory_size: piece.len(),
            userspace_addr: piece.as_ptr() as u64,
        };
        // SAFETY: the region is one of the mappings behind `memory`, whole, and no other region overlaps
        // it. `Machine` keeps the mapping until after the vCPU is closed, without which the kernel does
        // not touch it.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(RunError::kvm("give the machine its memory"))?;
    }
    Ok(())
}
