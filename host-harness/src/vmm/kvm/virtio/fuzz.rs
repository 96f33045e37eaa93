//! Properties of the devices that must hold for any driver.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::{fs::FileExt, net::UnixStream},
    sync::{Arc, atomic::AtomicBool},
};

use rustix::fs::{MemfdFlags, memfd_create};
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_STATUS};

use super::{
    ConsolePort, SIZE, VirtioDevices,
    blk::Disk,
    console::{self, Console},
    device::VirtioDevice,
    driver::{Bench, STATUS_STEPS},
    mmio::{MmioDevice, Quit},
    net::{Net, is_answer},
    port::Port,
    rng::Rng,
    threads::Threads,
    vsock::{Vsock, VsockListener, fuzz},
};
use crate::vmm::{
    device::{DiskFile, PortForward, SECTOR},
    kvm::{boot::Memory, event::new_event},
};

/// Reads any bytes as what a guest and programs of the host do with sockets.
///
/// # Panics
///
/// Panics if a property does not hold.
pub fn fuzz_vsock(bytes: &[u8]) {
    fuzz(bytes);
}

/// A source of random numbers and a console, without threads and interrupts; and how many devices
/// that are.
pub(in crate::vmm::kvm) fn few_devices(memory: &Memory) -> (VirtioDevices, u64) {
    let port = Arc::new(console::Port::default());
    let all: [Box<dyn VirtioDevice>; 2] =
        [Box::new(Rng), Box::new(Console::new(Arc::clone(&port)))];
    let leave = Arc::<AtomicBool>::default();
    let devices: Vec<_> = all
        .into_iter()
        .map(|device| {
            let line = new_event().expect("an event");
            let device = MmioDevice::new(device, memory.clone(), line, Arc::clone(&leave));
            Arc::new(device.expect("an event").serving_at_once(console::TRANSMIT))
        })
        .collect();
    let count = devices.len() as u64;
    let console = devices.last().map(|device| ConsolePort {
        port,
        device: Arc::clone(device),
    });
    let quit = Quit::new().expect("an event");
    let devices = VirtioDevices {
        devices,
        _threads: Threads::new(Arc::new(quit)),
        console,
        network: None,
    };
    (devices, count)
}

const SECTORS: u64 = 8;

/// What a console holds at most: a queue of the longest requests.
const MAX_OUTPUT: usize = 64 * (64 << 10);

/// Reads any bytes as what a guest does with a device. The first byte chooses the device, whether
/// it is set up before, and whether a network only answers. Each of the following begins a step,
/// whose operands follow it.
///
/// # Panics
///
/// Panics if a property does not hold: each step returns, the status has known bits only, a disk
/// keeps its size, and its content if it is read-only, and a network that only answers opens no
/// connection.
pub fn fuzz_virtio(bytes: &[u8]) {
    let Some((&first, steps)) = bytes.split_first() else {
        return;
    };
    let (is_disk, is_console) = (first & 1 != 0, first & 8 != 0);
    let (read_only, is_set_up) = (first & 2 != 0, first & 4 == 0);
    let (is_net, is_port) = (first & 16 != 0, first & 32 != 0);
    let is_restricted = first & 64 != 0;
    let is_vsock = first & 128 != 0;
    let file = File::from(memfd_create("disk", MemfdFlags::CLOEXEC).expect("a file in memory"));
    let length = SECTORS * SECTOR;
    file.set_len(length).expect("it has room");
    let content = || {
        let mut content = vec![0; length as usize];
        file.read_exact_at(&mut content, 0).expect("its size stays");
        content
    };
    let before = content();
    let port = Arc::new(console::Port::default());
    let (socket, other_end) = UnixStream::pair().expect("two sockets");
    other_end.set_nonblocking(true).expect("it is a socket");
    let folder = is_vsock.then(|| tempfile::tempdir().expect("a folder"));
    let vsock = folder.as_ref().map(|folder| {
        let listener = VsockListener::new(&folder.path().join("socket"));
        Vsock::new(listener.expect("a folder takes a socket")).expect("a poll")
    });
    let device: Box<dyn VirtioDevice> = match (is_console, is_disk) {
        _ if is_vsock => Box::new(vsock.expect("it was made")),
        _ if is_port => Box::new(Port::new(socket).expect("it is a socket")),
        _ if is_net => {
            let mut net = Net::new(socket).expect("it is a socket");
            if is_restricted {
                net.restrict(&[PortForward { host: 1, guest: 80 }]);
            }
            Box::new(net)
        }
        (true, _) => Box::new(Console::new(Arc::clone(&port))),
        (false, false) => Box::new(Rng),
        (false, true) => Box::new(Disk::new(DiskFile {
            file: file.try_clone().expect("a descriptor"),
            sectors: SECTORS,
            read_only,
            number: 0,
        })),
    };
    let mut bench = Bench::new(device);
    // The disk's bit chooses the queue of others, and a second one the third queue of a vsock.
    let has_queues = is_console || is_net || is_port || is_vsock;
    bench.queue = u32::from(has_queues && is_disk) + u32::from(is_vsock && read_only);
    if is_set_up {
        bench.set_up();
    }
    let quit = Quit::new().expect("an event");
    let mut steps = Steps(steps);
    let mut sent = Vec::new();
    while steps.take_one(&mut bench, &quit).is_some() {
        let [_, _, _, known] = STATUS_STEPS;
        let of_failures = 0x80 | 0x40;
        assert_eq!(bench.read(VIRTIO_MMIO_STATUS) & !(known | of_failures), 0);
        assert_eq!(file.metadata().expect("a file").len(), length);
        port.add_input(b"input");
        assert!(port.take_output().len() <= MAX_OUTPUT);
        sent.extend(other_side(&other_end, steps.0));
    }
    if is_net && !is_port {
        check_frames(&sent, is_restricted);
    }
    if read_only {
        assert!(content() == before);
    }
}

/// Sends a frame to a network or a port, then some bytes that are any, and returns what came from
/// it.
fn other_side(mut socket: &UnixStream, bytes: &[u8]) -> Vec<u8> {
    // An error is that of a full socket, or of a network that has closed it.
    let _ = socket.write(&[&[0, 0, 0, 20][..], &[1; 20]].concat());
    if let Some([b'!', any @ ..]) = bytes.first_chunk::<8>() {
        let _ = socket.write(any);
    }
    let mut came = Vec::new();
    let _ = socket.read_to_end(&mut came);
    came
}

/// Each has its length, as Ethernet has it. The last one may be cut off.
fn check_frames(mut bytes: &[u8], is_restricted: bool) {
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_be_bytes(*length);
        assert!((14..=1514).contains(&length), "{length}");
        let Some((frame, rest)) = rest.split_at_checked(length as usize) else {
            return;
        };
        assert!(!is_restricted || is_answer(frame), "{frame:?}");
        bytes = rest;
    }
}

/// The steps that are left.
struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.bytes(LENGTH)?.first_chunk().copied()
    }

    fn take_one(&mut self, bench: &mut Bench, quit: &Quit) -> Option<()> {
        let [kind] = self.number()?;
        match kind % 5 {
            // A register of four bytes, or another access.
            0 => {
                let offset = u32::from(u16::from_le_bytes(self.number()?)) % SIZE as u32;
                let [width] = self.number()?;
                let data = self.bytes(usize::from(width % 9))?;
                bench.device.write(offset, data);
            }
            1 => {
                let offset = u32::from(u16::from_le_bytes(self.number()?)) % SIZE as u32;
                let [width] = self.number()?;
                bench
                    .device
                    .read(offset, &mut vec![0; usize::from(width % 9)]);
            }
            2 => {
                let address = u16::from_le_bytes(self.number()?);
                let [length] = self.number()?;
                bench.set(address.into(), self.bytes(length.into())?);
            }
            3 => bench.make_available(u16::from_le_bytes(self.number()?)),
            _ => {
                bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, bench.queue);
                bench.device.serve(quit);
            }
        }
        Some(())
    }
}
