//! Interrupts that the host injects at the guest's request: through an irqfd, from a thread that
//! waits and stamps. See [`dormir_abi::port::HOST_INTERRUPT`].

use std::{
    arch::x86_64::{_mm_lfence, _rdtsc},
    os::fd::AsRawFd,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use dormir_abi::port::HostInterrupt;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, KvmIrqRouting,
    kvm_device_attr, kvm_irq_routing_entry,
};
use kvm_ioctls::{VcpuFd, VmFd};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend, VolatileMemory};
use vmm_sys_util::{eventfd::EventFd, ioctl::ioctl_with_ref, ioctl_iow_nr};

use super::{boot::Memory, event::new_event};
use crate::vmm::outcome::Outcome;

ioctl_iow_nr!(KVM_GET_DEVICE_ATTR, KVMIO, 0xe2, kvm_device_attr);

/// The interrupt line that is routed as a message. The lower lines are the interrupt controllers'
/// pins.
const LINE: u32 = IOAPIC_PINS;
/// The number of pins of the I/O APIC, the first of which are the PICs' too.
const IOAPIC_PINS: u32 = 24;
const PIC_PINS: u32 = 8;

/// The destination of a message (SDM vol. 3, 12.11.1): the local APIC with the ID 0.
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// The injecting thread. It ends when this is dropped, even if a request is pending.
pub(super) struct HostInterrupts {
    /// How far the guest's TSC is ahead of the host's.
    offset: u64,
    /// The vector to which the line is routed now.
    vector: u8,
    requests: Option<Sender<PendingInterrupt>>,
    thread: Option<JoinHandle<()>>,
}

/// An interrupt to be injected.
struct PendingInterrupt {
    at: Instant,
    /// Where to write the stamp.
    answer: GuestAddress,
}

impl HostInterrupts {
    /// Connects the line and starts the thread.
    ///
    /// # Errors
    ///
    /// What KVM or the operating system refuses, as a clause.
    fn start(vm: &VmFd, vcpu: &VcpuFd, memory: &Memory) -> Result<Self, String> {
        let offset = tsc_offset(vcpu).map_err(|error| {
            format!("KVM does not report the offset of the guest's TSC ({error})")
        })?;
        let interrupt = new_event()
            .map_err(|error| format!("the interrupt's event cannot be created ({error})"))?;
        vm.register_irqfd(&interrupt, LINE)
            .map_err(|error| format!("KVM does not connect the interrupt ({error})"))?;
        let (requests, receiver) = channel();
        let memory = memory.clone();
        let thread = Builder::new()
            .name("interrupts".into())
            .spawn(move || inject(&receiver, &memory, &interrupt, offset))
            .map_err(|error| format!("the thread that injects it cannot be created ({error})"))?;
        Ok(Self {
            offset,
            vector: 0,
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    fn request(
        &mut self,
        vm: &VmFd,
        memory: &Memory,
        answer: GuestAddress,
        wanted: &HostInterrupt,
    ) -> Result<(), String> {
        if wanted.vector == 0 {
            stamp(memory, answer, self.offset);
            return Ok(());
        }
        let vector = u8::try_from(wanted.vector)
            .ok()
            .filter(|&vector| vector >= HostInterrupt::LOWEST_VECTOR)
            .ok_or_else(|| format!("{} is not the vector of an interrupt", wanted.vector))?;
        if vector != self.vector {
            route(vm, vector).map_err(|error| format!("KVM does not route it ({error})"))?;
            self.vector = vector;
        }
        let delay = Duration::from_nanos(wanted.delay_nanos.min(HostInterrupt::MAX_DELAY_NANOS));
        let request = PendingInterrupt {
            at: Instant::now() + delay,
            answer,
        };
        let sent = self.requests.as_ref().map(|sender| sender.send(request));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err("the thread that injects it has ended".into()),
        }
    }
}

impl Drop for HostInterrupts {
    fn drop(&mut self) {
        // This ends the thread, wherever it waits.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It never panics; if it did, its message is on standard error.
            let _ = thread.join();
        }
    }
}

/// Handles the guest's write of `address` to the port.
///
/// # Errors
///
/// How this ends the run.
pub(super) fn on_write(
    interrupts: &mut Option<HostInterrupts>,
    vm: &VmFd,
    vcpu: &VcpuFd,
    memory: &Memory,
    address: u32,
) -> Result<(), Outcome> {
    let refused = |reason: String| {
        Outcome::Died(format!(
            "it asked for an interrupt from the host, and {reason}: remove the request"
        ))
    };
    let address = GuestAddress(address.into());
    let wanted = read_request(memory, address).map_err(refused)?;
    let interrupts = match interrupts {
        Some(interrupts) => interrupts,
        none => none.insert(HostInterrupts::start(vm, vcpu, memory).map_err(refused)?),
    };
    let answer = address.unchecked_add(HostInterrupt::TSC_OFFSET);
    interrupts
        .request(vm, memory, answer, &wanted)
        .map_err(refused)
}

/// Reads a [`HostInterrupt`], and checks that it can be answered.
pub(super) fn read_request(
    memory: &Memory,
    address: GuestAddress,
) -> Result<HostInterrupt, String> {
    let at = address.raw_value();
    if !at.is_multiple_of(align_of::<HostInterrupt>() as u64) {
        return Err(format!("its request at {at:#x} is not aligned to 8 bytes"));
    }
    let mut words = [0; HostInterrupt::WORDS];
    for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
        *word = address
            .checked_add(offset)
            .and_then(|at| memory.load(at, Ordering::Relaxed).ok())
            .ok_or_else(|| format!("its request at {at:#x} is outside its memory"))?;
    }
    let [vector, delay_nanos, tsc] = words;
    Ok(HostInterrupt {
        vector,
        delay_nanos,
        tsc,
    })
}

/// The body of the thread: it waits, stamps and injects. A new request replaces one that is still
/// waiting.
fn inject(
    receiver: &Receiver<PendingInterrupt>,
    memory: &Memory,
    interrupt: &EventFd,
    offset: u64,
) {
    let Ok(mut request) = receiver.recv() else {
        return;
    };
    loop {
        let remaining = request.at.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(remaining) {
            Ok(other) => request = other,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                stamp(memory, request.answer, offset);
                // It fails only if 2^64 - 2 events are pending.
                let _ = interrupt.write(1);
                match receiver.recv() {
                    Ok(other) => request = other,
                    Err(_) => return,
                }
            }
        }
    }
}

/// Writes the guest's TSC to its request.
fn stamp(memory: &Memory, answer: GuestAddress, offset: u64) {
    // The request was read from this address, so it is within the guest's memory.
    let Ok(slice) = memory.get_slice(answer, size_of::<AtomicU64>()) else {
        return;
    };
    let Ok(word) = slice.get_atomic_ref::<AtomicU64>(0) else {
        return;
    };
    // SAFETY: every x86-64 processor has LFENCE, which orders RDTSC after what came before.
    unsafe { _mm_lfence() };
    // SAFETY: every x86-64 processor has RDTSC, and Linux allows programs to use it.
    let now = unsafe { _rdtsc() };
    word.store(now.wrapping_add(offset), Ordering::Release);
}

/// Returns how far the guest's TSC is ahead of the host's. Its frequency is never set, so both
/// count equally fast.
fn tsc_offset(vcpu: &VcpuFd) -> Result<u64, std::io::Error> {
    let mut offset = 0_u64;
    let attribute = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: KVM_VCPU_TSC_OFFSET.into(),
        addr: &raw mut offset as u64,
        flags: 0,
    };
    // SAFETY: the descriptor is a vCPU's; the structure and the eight bytes to which it points live
    // until the call has returned.
    let result = unsafe { ioctl_with_ref(&vcpu.as_raw_fd(), KVM_GET_DEVICE_ATTR(), &attribute) };
    if result != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(offset)
}

/// Routes the line to this vector. KVM takes all lines at once: the others keep their default
/// routing.
fn route(vm: &VmFd, vector: u8) -> Result<(), kvm_ioctls::Error> {
    let mut entries = Vec::new();
    for gsi in 0..IOAPIC_PINS {
        if gsi < PIC_PINS {
            entries.push(pin(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
        } else if gsi < 2 * PIC_PINS {
            entries.push(pin(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - PIC_PINS));
        }
        entries.push(pin(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    }
    let mut message = kvm_irq_routing_entry {
        gsi: LINE,
        type_: KVM_IRQ_ROUTING_MSI,
        ..Default::default()
    };
    message.u.msi.address_lo = MESSAGE_ADDRESS;
    message.u.msi.data = vector.into();
    entries.push(message);
    let table = KvmIrqRouting::from_entries(&entries).expect("the table has room for these");
    vm.set_gsi_routing(&table)
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        ..Default::default()
    };
    entry.u.irqchip.irqchip = irqchip;
    entry.u.irqchip.pin = pin;
    entry
}
