//! The configuration of PCI devices behind two ports (PCI Local Bus 3.0, 3.2.2.3.2).

use spin::Mutex;
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// The bit of an address by which the data port reaches the configuration.
const ENABLE: u32 = 1 << 31;

/// Both ports belong to one access.
static LOCK: Mutex<()> = Mutex::new(());

/// The way to the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports;

/// Whether the machine has these ports: the address can be read back.
pub(super) fn are_there() -> bool {
    let _locked = LOCK.lock();
    let mut address = Port::<u32>::new(ADDRESS);
    // SAFETY: this selects what the data port reaches, and nothing reads that now.
    unsafe { address.write(ENABLE) };
    // SAFETY: reading it has no effect.
    unsafe { address.read() == ENABLE }
}

/// Calls `f` with the port that reaches this register.
fn with<R>(function: DeviceFunction, register: u8, f: impl FnOnce(Port<u32>) -> R) -> R {
    let place = u32::from(function.bus) << 16
        | u32::from(function.device) << 11
        | u32::from(function.function) << 8;
    let _locked = LOCK.lock();
    let mut address = Port::new(ADDRESS);
    // SAFETY: this selects what the data port reaches; the lock keeps others from it.
    unsafe { address.write(ENABLE | place | u32::from(register & !3)) };
    f(Port::new(DATA))
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, function: DeviceFunction, register: u8) -> u32 {
        // SAFETY: reading the configuration has no effect.
        with(function, register, |mut port| unsafe { port.read() })
    }

    fn write_word(&mut self, function: DeviceFunction, register: u8, data: u32) {
        // SAFETY: `Device::connect` has its caller guarantee that the device is this driver's.
        with(function, register, |mut port| unsafe { port.write(data) });
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}
