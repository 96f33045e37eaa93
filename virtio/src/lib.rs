//! Asynchronous drivers for virtio devices of micro-VMs: randomness ([`rng`]), disks ([`blk`]),
//! consoles ([`console`]), networks ([`net`]) and sockets to the host ([`vsock`]).
//!
//! Tasks sleep until a device has done what they asked for. Many requests can be in flight at once.
//! A request that is dropped leaves its buffer with the driver until the device gives it back, so
//! dropping is always sound.
//!
//! # From the command line to a driver
//!
//! VMMs list their virtio-mmio devices in words of the guest's command line. [`mmio::find`] reads
//! them, and [`mmio::Device::connect`] maps a device's registers:
//!
//! ```no_run
//! # #[cfg(target_os = "none")]
//! # mod guest {
//! # extern crate alloc;
//! # use alloc::boxed::Box;
//! use dormir::platform::bare::DeviceInterrupt;
//! use dormir_virtio::{DeviceType, mmio, rng::Rng};
//!
//! async fn print_random() -> Result<(), Box<dyn core::error::Error>> {
//!     for device in mmio::find(dormir_guest::args::words())? {
//!         let interrupt = DeviceInterrupt::line(device.irq)?;
//!         // SAFETY: memory is mapped one to one; this is the only driver.
//!         let device = unsafe { device.connect(dormir_guest::map_device_memory, interrupt) }?;
//!         if device.device_type() == DeviceType::EntropySource {
//!             let mut bytes = [0; 16];
//!             Rng::new(device)?.fill(&mut bytes).await?;
//!             dormir_guest::println!("{bytes:?}");
//!         }
//!     }
//!     Ok(())
//! }
//! # }
//! ```
//!
//! With the feature `pci`, `pci::find` returns those on PCI.
//!
//! # Waiting
//!
//! A device has one interrupt (on PCI two, which do the same), which wakes one task: the one whose request was polled last. That
//! task acknowledges the interrupt at the device, then takes everything that is done, and wakes the
//! others that this concerns. A request that ends, or is dropped, hands this over to another one.
//!
//! So poll a request whenever its task is woken, or drop it. While a request is kept that was
//! polled and is no longer, others on this device may wait for it.
//!
//! A network has no requests, and belongs to one task. So does the device of sockets, whose
//! [`Runner`](vsock::Runner) moves the packets of all connections.
//!
//! # Contexts
//!
//! Drivers and requests belong to tasks: do not use or drop them in interrupt handlers, which may
//! interrupt a task that holds the device's lock.
//!
//! # Trust
//!
//! A device has access to all memory of its guest. The drivers check tokens and lengths from it, so
//! a device that is merely wrong causes an error, and no panic. One that answers with a wrong token
//! is reset, and all its requests end with [`RequestError::Broken`].
#![cfg_attr(not(test), no_std)]
// Each driver uses a part of the queue.
#![cfg_attr(
    not(all(
        feature = "blk",
        feature = "console",
        feature = "net",
        feature = "rng",
        feature = "vsock"
    )),
    allow(dead_code)
)]

extern crate alloc;

#[cfg(feature = "blk")]
pub mod blk;
#[cfg(feature = "console")]
pub mod console;
mod device;
mod error;
mod hal;
mod interrupt;
mod message;
pub mod mmio;
#[cfg(feature = "net")]
pub mod net;
mod parts;
// Without a machine there is no use for it, but its tests.
#[cfg(all(
    feature = "pci",
    any(test, all(target_arch = "x86_64", target_os = "none"))
))]
pub mod pci;
mod request;
mod ring;
#[cfg(feature = "rng")]
pub mod rng;
mod state;
#[cfg(all(test, feature = "rng"))]
mod tests;
#[cfg(feature = "vsock")]
pub mod vsock;
mod waiting;

pub use device::Attached;
pub use error::{RequestError, SetupError};
pub use interrupt::Interrupt;
pub use virtio_drivers::transport::{DeviceType, Transport};
