//! A guest's virtio devices as QEMU's arguments.

use std::{fmt::Write, os::fd::RawFd, process::Command};

use rustix::net::sockopt::set_socket_send_buffer_size;

use super::{argument_list::ArgumentList, vsock::VsockServer};
use crate::{
    process,
    vmm::{
        config::MachineType,
        device::{LockedDisk, MAC, Network, OpenDevice, PortForward},
        error::RunError,
    },
};

/// The name of what a virtio console reads and writes.
pub(super) const PORT: &str = "port";

/// How much a port's socket is to hold that was not read.
const BUFFER: usize = 1 << 20;

/// A device, of which QEMU inherits what it needs.
pub(super) enum PassedDevice {
    Rng {
        number: usize,
    },
    Console {
        number: usize,
    },
    Port {
        socket: RawFd,
        number: usize,
    },
    Net(Network),
    Vsock {
        /// The connection to the program that serves it.
        socket: RawFd,
    },
    Disk {
        /// The disk's file.
        file: RawFd,
        number: usize,
        identification: String,
        read_only: bool,
    },
}

/// Passes the devices' files to QEMU.
pub(super) fn pass(
    command: &mut Command,
    devices: &[OpenDevice],
    vsock: Option<&VsockServer>,
) -> Result<Vec<PassedDevice>, RunError> {
    let pass = |(number, device): (usize, &OpenDevice)| match device {
        OpenDevice::Rng => Ok(PassedDevice::Rng { number }),
        OpenDevice::Console => Ok(PassedDevice::Console { number }),
        OpenDevice::Port(socket) => {
            let socket = socket.try_clone().map_err(|cause| RunError::Resource {
                what: "a second handle of a port's socket",
                cause,
            })?;
            // QEMU drops what does not fit. The kernel may grant less.
            let _ = set_socket_send_buffer_size(&socket, BUFFER);
            Ok(PassedDevice::Port {
                socket: process::pass(command, socket.into()),
                number,
            })
        }
        OpenDevice::Net(network) => Ok(PassedDevice::Net(network.clone())),
        OpenDevice::Vsock(_) => {
            let server = vsock.expect("it was started");
            let socket = server.socket.try_clone();
            let socket = socket.map_err(|cause| RunError::Resource {
                what: "a second handle of a socket",
                cause,
            })?;
            Ok(PassedDevice::Vsock {
                socket: process::pass(command, socket.into()),
            })
        }
        OpenDevice::Disk(LockedDisk { disk }) => {
            // The lock is the open file's, so both descriptors hold it.
            let file = disk.file.try_clone().map_err(|cause| RunError::Resource {
                what: "a second handle of a disk",
                cause,
            })?;
            Ok(PassedDevice::Disk {
                file: process::pass(command, file.into()),
                number,
                identification: disk.identification(),
                read_only: disk.read_only,
            })
        }
    };
    devices.iter().enumerate().map(pass).collect()
}

impl PassedDevice {
    /// Whether another program accesses the guest's memory.
    pub(super) fn shares_memory(&self) -> bool {
        matches!(self, Self::Vsock { .. })
    }

    pub(super) fn add_to(&self, arguments: &mut ArgumentList, machine: MachineType) {
        // How QEMU names its devices on virtio-mmio, and on PCI.
        let bus = match machine {
            MachineType::Microvm => "device",
            MachineType::Q35 => "pci",
        };
        match self {
            Self::Rng { number } => {
                arguments.pair("-object", format!("rng-builtin,id=rng{number}"));
                arguments.pair("-device", format!("virtio-rng-{bus},rng=rng{number}"));
            }
            Self::Console { number } => add_console(arguments, bus, *number, PORT),
            Self::Port { socket, number } => {
                let name = format!("{PORT}{number}");
                arguments.pair("-chardev", format!("socket,id={name},fd={socket}"));
                add_console(arguments, bus, *number, &name);
            }
            Self::Net(Network { forwards, restrict }) => {
                let restrict = if *restrict { "on" } else { "off" };
                let mut network = format!("user,id=net,ipv6=off,restrict={restrict}");
                for PortForward { host, guest } in forwards {
                    write!(network, ",hostfwd=tcp:127.0.0.1:{host}-:{guest}")
                        .expect("a string takes any text");
                }
                let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
                arguments.pair("-netdev", network);
                // A guest does not boot from it, and the file may be missing.
                let rom = match machine {
                    MachineType::Microvm => "",
                    MachineType::Q35 => ",romfile=",
                };
                let device = format!("virtio-net-{bus},netdev=net,mac={mac}{rom}");
                arguments.pair("-device", device);
            }
            Self::Vsock { socket } => {
                arguments.pair("-chardev", format!("socket,id=vsock,fd={socket}"));
                let device = format!("vhost-user-vsock-{bus},chardev=vsock");
                arguments.pair("-device", device);
            }
            Self::Disk {
                file,
                number,
                identification,
                read_only,
            } => {
                let read_only = if *read_only { "on" } else { "off" };
                let options = format!("read-only={read_only},discard=unmap");
                // By its descriptor, so no name has to be escaped. The form is named, since a guest
                // could write the beginning of another one.
                arguments.pair("-add-fd", format!("fd={file},set={number}"));
                arguments.pair(
                    "-blockdev",
                    format!(
                        "driver=file,filename=/dev/fdset/{number},node-name=file{number},{options}"
                    ),
                );
                arguments.pair(
                    "-blockdev",
                    format!("driver=raw,file=file{number},node-name=disk{number},{options}"),
                );
                arguments.pair(
                    "-device",
                    // By default QEMU stops the guest when the host's disk is full.
                    format!(
                        "virtio-blk-{bus},drive=disk{number},serial={identification},\
                         werror=report,rerror=report"
                    ),
                );
            }
        }
    }
}

/// Adds a console whose only port is the character device `name`.
fn add_console(arguments: &mut ArgumentList, bus: &str, number: usize, name: &str) {
    // With one port there is no queue to open and close others by.
    let device = format!("virtio-serial-{bus},id=serial{number},max_ports=1");
    arguments.pair("-device", device);
    let port = format!("virtconsole,bus=serial{number}.0,chardev={name}");
    arguments.pair("-device", port);
}
