//! Our own VMM: one vCPU on `/dev/kvm`, entered in 64-bit mode, with the few devices of
//! [`dormir_abi::port`].

mod boot;
mod cpu;
mod decode;
mod devices;
mod event;
mod exits;
mod gdb;
mod host_interrupt;
mod probe;
mod registers;
mod requests;
mod serial;
mod stats;
mod steps;
mod thread;
mod virtio;

pub use probe::{KvmInfo, probe};
pub use virtio::probe_network;
#[doc(hidden)]
pub use virtio::{fuzz_virtio, fuzz_vsock};

use std::{
    ffi::c_void,
    io::Write,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

use super::{
    Given, backtrace,
    config::RunConfig,
    console::Console,
    device::OpenDevice,
    error::RunError,
    image::{Image, ImageFile},
    input::GuestInput,
    limit::{Limit, REPORT_LIMIT, Unstarted},
    outcome::Outcome,
    report::Report,
};
use boot::Memory;
use devices::Devices;
use exits::{Ran, RunLoopEnd};
use gdb::Debugger;
use requests::Requests;
use steps::Stepper;
use thread::{StopReason, Until};
use virtio::VirtioDevices;

/// Where KVM puts a page table for processors that cannot run real mode: three pages of a task
/// state segment follow it. Both lie above the guest's memory and below the processor's firmware.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine that is ready to be entered.
///
/// The fields are dropped in this order: the vCPU and the VM before the memory that they use.
struct KvmMachine {
    vcpu: VcpuFd,
    devices: Devices,
    memory: Memory,
    steps: Stepper,
    debugger: Option<Debugger>,
}

/// Runs a guest that was checked, and waits for it to end.
pub(super) fn run(
    image: &Image<ImageFile>,
    entry: u64,
    Given { mut line, devices }: Given,
    config: &RunConfig,
    limit: &Limit<'_>,
    out: &mut (dyn Write + Send),
) -> Result<Report, Unstarted> {
    let started = Instant::now();
    virtio::append_words(&mut line.text, devices.len());
    let requests = Requests::default();
    let leave = &requests.leave;
    let mut machine = KvmMachine::new(image, entry, &line.text, devices, leave, config, limit)?;
    let mut console = Console::new(out, config.console_limit, &requests.leave, line.nonce);
    let until = Until {
        deadline: limit.deadline(),
        stop: &config.stop,
        // A guest without records has no handler that reports anything.
        report_limit: line.nonce.map_or(Duration::ZERO, |_| REPORT_LIMIT),
        // After a debugger the guest has all of its time again.
        after_debugger: machine.debugger.as_ref().map(|_| config.timeout),
    };
    let serial = machine.devices.serial();
    let port = machine.devices.virtio().console().cloned();
    let receive = |bytes: &[u8]| match &port {
        None => serial.receive(bytes),
        Some(port) => Ok(port.receive(bytes)),
    };
    let (input, is_open) = (config.input.as_ref(), console.input_is_open());
    let is_escaped = line.nonce.is_some() && port.is_none();
    // A console keeps what comes before the guest reads.
    is_open.fetch_or(port.is_some(), Ordering::SeqCst);
    let (ran, asked) = GuestInput::feeding(input, is_escaped, &is_open, receive, || {
        thread::run(&until, &requests, || machine.run(&mut console, &requests))
    })?;
    let timed_out = |place| Outcome::TimedOut {
        limit: config.timeout,
        place,
    };
    let ended = match (ran.end, asked) {
        // However it ends after that.
        (_, Some(StopReason::OutOfTime)) if ran.place_at_nmi.is_some() => {
            timed_out(ran.place_at_nmi.flatten())
        }
        (RunLoopEnd::Guest(outcome), _) => outcome,
        (RunLoopEnd::AskedToStop, Some(StopReason::OutOfTime)) => {
            timed_out(registers::place(&machine.vcpu, &machine.memory))
        }
        (RunLoopEnd::AskedToStop, _) => Outcome::Stopped,
    };
    let counters = stats::read(&machine.vcpu, ran.exits);
    let stretches = machine.steps.take_stretches();
    let warnings = machine.devices.virtio().warnings();
    drop(machine);
    let (mut outcome, records) = console.complete(ended);
    let backtrace = backtrace::explain(&mut outcome, &records.trace, records.hang, image);
    let stalls = backtrace::explain_stalls(records.stalls, image);
    Ok(Report {
        outcome,
        panic: records.panic,
        stats: records.stats,
        samples: records.samples,
        data: records.data,
        data_dropped: records.data_dropped,
        times: records.times,
        wall: started.elapsed(),
        counters: Some(counters),
        stretches,
        backtrace,
        stalls,
        warnings,
    })
}

impl KvmMachine {
    fn new(
        image: &Image<ImageFile>,
        entry: u64,
        command_line: &str,
        devices: Vec<OpenDevice>,
        leave: &Arc<AtomicBool>,
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
            .map_err(RunError::kvm("report how large a vCPU's state is"))?;
        keep_from_forks(ptr::from_mut(vcpu.get_kvm_run()).cast(), state);
        let virtio = VirtioDevices::start(&vm, &memory, devices, leave, limit)?;
        let devices = Devices::new(vm, memory.clone(), virtio)?;
        cpu::set_up(&kvm, &vcpu, entry)?;
        let debugger = config
            .gdb
            .clone()
            .map(|listener| Debugger::new(listener, memory.clone(), steps::block_interrupts(&kvm)));
        Ok(Self {
            vcpu,
            devices,
            memory,
            steps: Stepper::new(&kvm, config.steps),
            debugger,
        })
    }

    fn run(&mut self, console: &mut Console<'_>, requests: &Requests) -> Ran {
        let Self {
            vcpu,
            devices,
            memory,
            steps,
            debugger,
        } = self;
        let debugger = debugger.as_mut();
        exits::run(vcpu, memory, devices, steps, debugger, console, requests)
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

/// Excludes memory of the VM from forked processes: a keeper is long-lived, and would keep the VM
/// alive, and a copy of each page that the guest writes.
fn keep_from_forks(start: *mut c_void, bytes: usize) {
    // SAFETY: it changes nothing in this process, and forked processes never access a VM. If it
    // fails, it only costs memory.
    unsafe { libc::madvise(start, bytes, libc::MADV_DONTFORK) };
}

/// Maps the memory into the VM.
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
        // SAFETY: the region is exactly one of the mappings of `memory`, and overlaps no other
        // region. `KvmMachine` keeps the mapping until the vCPU is closed, after which the kernel
        // does not access it.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(RunError::kvm("give the machine its memory"))?;
    }
    Ok(())
}
