//! What the init of a guest has to do before it can serve.

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountFlags, mount},
    system::finit_module,
};
use std::{
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a device may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// `MODULE_INIT_COMPRESSED_FILE` of `finit_module`.
const COMPRESSED: u32 = 4;

/// Loads the modules in the folder `/modules`, in the order of their names.
pub(crate) fn load_modules() -> io::Result<()> {
    let entries = fs::read_dir("/modules")?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    for file in files {
        load_module(&file)
            .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    }
    Ok(())
}

fn load_module(file: &Path) -> io::Result<()> {
    let is_compressed = file.extension().is_some_and(|kind| kind != "ko");
    let flags = if is_compressed { COMPRESSED } else { 0 };
    let module = open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    match finit_module(&module, c"", flags as i32) {
        // It is part of the kernel.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Mounts the files of devices.
pub(crate) fn mount_devices() -> io::Result<()> {
    fs::create_dir_all("/dev")?;
    match mount("dev", "/dev", "devtmpfs", MountFlags::empty(), c"") {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives the network device the address that QEMU's network expects, and starts it.
pub(crate) fn start_network() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    set_flags(&socket, "lo")?;
    wait_for(|| set_address(&socket, Ipv4Addr::new(10, 0, 2, 15), libc::SIOCSIFADDR))?;
    set_address(
        &socket,
        Ipv4Addr::new(255, 255, 255, 0),
        libc::SIOCSIFNETMASK,
    )?;
    set_flags(&socket, DEVICE)
}

/// The network device.
const DEVICE: &str = "eth0";

/// Tries until the device is there.
pub(crate) fn wait_for<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error) if is_missing(&error) && Instant::now() < end => {
                thread::sleep(Duration::from_millis(1));
            }
            other => return other,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn set_address(socket: &UdpSocket, address: Ipv4Addr, request: libc::Ioctl) -> io::Result<()> {
    // A `sockaddr_in`: the port, then the address, in the network's order.
    let mut data = [0; 14];
    for (place, byte) in data[2..].iter_mut().zip(address.octets()) {
        *place = byte as libc::c_char;
    }
    let address = libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    };
    let content = libc::__c_anonymous_ifr_ifru { ifru_addr: address };
    control(socket, DEVICE, content, request)
}

fn set_flags(socket: &UdpSocket, device: &str) -> io::Result<()> {
    let content = libc::__c_anonymous_ifr_ifru {
        ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short,
    };
    control(socket, device, content, libc::SIOCSIFFLAGS)
}

fn control(
    socket: &UdpSocket,
    device: &str,
    content: libc::__c_anonymous_ifr_ifru,
    request: libc::Ioctl,
) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    for (place, byte) in name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    let argument = libc::ifreq {
        ifr_name: name,
        ifr_ifru: content,
    };
    // SAFETY: these requests read an `ifreq`, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), request, &argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
