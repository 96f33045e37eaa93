//! Virtio devices: transports at fixed addresses outside the guest's RAM, each with an interrupt
//! line and a thread of its own.
//!
//! The guest finds them by words of its command line, as under Firecracker and QEMU's microvm. It
//! notifies a device by a write that KVM turns into an event, so the vCPU does not leave the
//! kernel. The guest is not trusted: every descriptor, length and index is checked, and what one
//! request can cost is bounded.

mod blk;
mod console;
mod device;
mod driver;
mod fuzz;
mod gate;
mod interrupt;
mod mmio;
mod net;
mod port;
mod request;
mod rng;
#[cfg(test)]
mod tests;
mod threads;
mod transport;
mod vsock;

use std::{
    fmt::Write as _,
    io,
    os::unix::net::UnixStream,
    sync::{Arc, atomic::AtomicBool},
};

use kvm_ioctls::{IoEventAddress, VmFd};
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;

use super::{boot::Memory, event::new_event};
use crate::vmm::{
    device::{DiskFile, MAX_DEVICES, PortForward},
    error::RunError,
};
use blk::Disk;
use console::{Console, RECEIVE, TRANSMIT};
use device::VirtioDevice;
pub(super) use fuzz::few_devices;
pub use fuzz::{fuzz_virtio, fuzz_vsock};
use mmio::{MmioDevice, Quit};
use net::Net;
pub(crate) use net::fuzz_frames;
pub use net::probe_network;
pub(super) use net::{NetWatch, Passt};
use port::Port;
use rng::Rng;
use threads::Threads;
use vsock::Vsock;
pub(super) use vsock::VsockListener;

/// The first transport's address, in the hole of the guest's memory below 4 GiB. Each has a page.
pub(super) const FIRST_ADDRESS: u64 = 0xd000_0000;
pub(super) const SPACING: u64 = 0x1000;
/// The size of a transport: registers, and the device's configuration.
pub(super) const SIZE: u64 = 0x200;

/// The interrupt lines: those that no other device of a PC has. A PIC reports spurious interrupts
/// on line 7, so it comes last.
const LINES: [u32; MAX_DEVICES] = [5, 6, 9, 10, 11, 12, 7];

fn address(index: usize) -> u64 {
    FIRST_ADDRESS + SPACING * index as u64
}

/// Appends the words that tell the guest where its devices are.
pub(super) fn append_words(command_line: &mut String, devices: usize) {
    for (index, line) in LINES.iter().enumerate().take(devices) {
        let blank = if command_line.is_empty() { "" } else { " " };
        let address = address(index);
        write!(
            command_line,
            "{blank}virtio_mmio.device={SIZE}@{address:#x}:{line}"
        )
        .expect("a string takes any text");
    }
}

/// What a device does its work with.
pub(super) enum Backend {
    Rng,
    Console,
    Disk(DiskFile),
    Port(UnixStream),
    Net {
        /// Where `passt` is.
        socket: UnixStream,
        /// What is let out only answers connections that these ports get; `None`: all is.
        answers: Option<Vec<PortForward>>,
    },
    Vsock(VsockListener),
}

/// The devices of one guest. Their threads end when this is dropped.
pub(super) struct VirtioDevices {
    devices: Vec<Arc<MmioDevice>>,
    /// Held so that they end.
    _threads: Threads,
    /// There is one at most.
    console: Option<ConsolePort>,
    /// There is one at most.
    network: Option<NetWatch>,
}

/// A guest's console, for those that read it and write to it.
#[derive(Clone)]
pub(super) struct ConsolePort {
    port: Arc<console::Port>,
    device: Arc<MmioDevice>,
}

impl ConsolePort {
    /// Gives the guest as many of the bytes as there is room for, and returns their number.
    pub(super) fn receive(&self, bytes: &[u8]) -> usize {
        let taken = self.port.add_input(bytes);
        if taken > 0 {
            self.device.notify(RECEIVE);
        }
        taken
    }
}

impl VirtioDevices {
    /// Connects the devices to the VM and starts their threads. Once `leave` is set, the guest's
    /// accesses wait for no request.
    pub(super) fn start(
        vm: &VmFd,
        memory: &Memory,
        devices: Vec<Backend>,
        leave: &Arc<AtomicBool>,
    ) -> Result<Self, RunError> {
        let resource = |what| move |cause: io::Error| RunError::Resource { what, cause };
        let quit = Quit::new().map_err(resource("an event for the devices"))?;
        let mut threads = Threads::new(Arc::new(quit));
        let (mut started, mut console_port, mut network) = (Vec::new(), None, None);
        for (index, (device, line)) in devices.into_iter().zip(LINES).enumerate() {
            let mut console = None;
            let device: Box<dyn VirtioDevice> = match device {
                Backend::Rng => Box::new(Rng),
                Backend::Disk(file) => Box::new(Disk::new(file)),
                Backend::Net { socket, answers } => {
                    let mut net = Net::new(socket).map_err(resource("a socket of a network"))?;
                    network = Some(net.watch(answers.as_deref()));
                    Box::new(net)
                }
                Backend::Port(socket) => {
                    Box::new(Port::new(socket).map_err(resource("a socket of a port"))?)
                }
                Backend::Vsock(listener) => {
                    Box::new(Vsock::new(listener).map_err(resource("a poll of sockets"))?)
                }
                Backend::Console => {
                    let port = console.insert(Arc::new(console::Port::default()));
                    Box::new(Console::new(Arc::clone(port)))
                }
            };
            let event = new_event().map_err(resource("an event for a device"))?;
            vm.register_irqfd(&event, line)
                .map_err(RunError::kvm("connect a device's interrupt"))?;
            let mut device = MmioDevice::new(device, memory.clone(), event, Arc::clone(leave))
                .map_err(resource("an event for a device"))?;
            if console.is_some() {
                // Only the vCPU's thread writes to the console.
                device = device.serving_at_once(TRANSMIT);
            }
            let notify = address(index) + u64::from(VIRTIO_MMIO_QUEUE_NOTIFY);
            for (queue, event) in device.notified() {
                vm.register_ioevent(event, &IoEventAddress::Mmio(notify), queue as u32)
                    .map_err(RunError::kvm("connect a device's queue"))?;
            }
            let device = Arc::new(device);
            if let Some(port) = console {
                let device = Arc::clone(&device);
                console_port = Some(ConsolePort { port, device });
            }
            started.push(Arc::clone(&device));
            let events = device
                .events(threads.quit())
                .map_err(resource("a poll of a device's events"))?;
            threads
                .spawn(index, device, events)
                .map_err(resource("a thread for a device"))?;
        }
        Ok(Self {
            devices: started,
            _threads: threads,
            console: console_port,
            network,
        })
    }

    /// Handles the guest's read from `address`. Returns whether a device is there.
    pub(super) fn read(&self, address: u64, data: &mut [u8]) -> bool {
        self.find(address)
            .map(|(device, offset)| device.read(offset, data))
            .is_some()
    }

    /// Handles the guest's write to `address`. Returns whether a device is there.
    pub(super) fn write(&self, address: u64, data: &[u8]) -> bool {
        self.find(address)
            .map(|(device, offset)| device.write(offset, data))
            .is_some()
    }

    /// The console, if there is one.
    pub(super) fn console(&self) -> Option<&ConsolePort> {
        self.console.as_ref()
    }

    /// The network, if there is one.
    pub(super) fn network(&self) -> Option<&NetWatch> {
        self.network.as_ref()
    }

    /// Takes what the guest has sent to its console, in the last [`write`](Self::write).
    pub(super) fn take_output(&self) -> Vec<u8> {
        self.console()
            .map_or_else(Vec::new, |console| console.port.take_output())
    }

    fn find(&self, address: u64) -> Option<(&MmioDevice, u32)> {
        let from_first = address.checked_sub(FIRST_ADDRESS)?;
        let index = usize::try_from(from_first / SPACING).ok()?;
        let offset = from_first % SPACING;
        let device = self.devices.get(index).filter(|_| offset < SIZE)?;
        Some((device, offset as u32))
    }
}
