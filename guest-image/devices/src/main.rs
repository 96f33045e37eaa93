//! Drives the virtio devices of the machine, and checks what they do. The argument `case` names
//! what is run: `rng`, `disk`, `read-only`, `drops` or `console`. Without it, everything for which
//! there is a device, but the console, whose case waits for input.
//!
//! `drops=COUNT` says how many requests of each device are dropped in flight: 10,000 if it is
//! missing, but no more than 10 seconds allow.
#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod disk;
mod rng;
mod tasks;

use alloc::{boxed::Box, vec::Vec};
use core::{error::Error, time::Duration};

use dormir::{block_on, idle::Halt, platform::bare::DeviceInterrupt};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{
    Attached, DeviceType, Interrupt, Transport, blk::Disk, console::Console, mmio, pci, rng::Rng,
};

dormir_guest::entry!(main);

/// How long requests are dropped.
const DROPPING: Duration = Duration::from_secs(10);

/// What a case fails with.
type Failure = Box<dyn Error>;

fn main() -> u8 {
    let case = args::value("case").unwrap_or("all");
    match block_on(run(case), Halt) {
        Ok(0) => {
            println!("no device for {case}");
            1
        }
        Ok(_) => 0,
        Err(error) => {
            println!("{error}");
            1
        }
    }
}

/// What is to be run.
struct Choice {
    case: &'static str,
    /// How many requests are dropped.
    drops: u64,
}

impl Choice {
    fn has(&self, name: &str) -> bool {
        self.case == name || self.case == "all"
    }
}

/// Runs a case, or all, and returns how many there were a device for.
async fn run(case: &'static str) -> Result<usize, Failure> {
    let drops = args::value("drops").map_or(Ok(10_000), str::parse)?;
    let choice = Choice { case, drops };
    let mut ran = 0;
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(attached) => ran += drive(attached, &choice).await?,
            // A transport that has no device.
            Err(mmio::ConnectError::NoDevice) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for device in pci::find() {
        // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus; QEMU
        // has neither RAM nor other devices where this places registers.
        let attached = unsafe { device.connect(map_device_memory) }?;
        ran += drive(attached, &choice).await?;
    }
    Ok(ran)
}

/// Runs what is chosen of a device's cases, and returns how many.
async fn drive<T: Transport, I: Interrupt>(
    attached: Attached<T, I>,
    choice: &Choice,
) -> Result<usize, Failure> {
    let mut ran = 0;
    match attached.device_type() {
        DeviceType::EntropySource => {
            let rng = Rng::new(attached)?;
            if choice.has("rng") {
                rng::fills(&rng).await?;
                rng::many(&rng).await?;
                ran += 1;
            }
            if choice.has("drops") {
                rng::drops(&rng, choice.drops).await?;
                ran += 1;
            }
        }
        DeviceType::Block => {
            let disk = Disk::new(attached)?;
            if disk.is_read_only() {
                if choice.has("read-only") {
                    disk::read_only(&disk).await?;
                    ran += 1;
                }
                return Ok(ran);
            }
            if choice.has("disk") {
                disk::round_trip(&disk).await?;
                disk::many(&disk).await?;
                disk::refused(&disk).await?;
                ran += 1;
            }
            if choice.has("drops") {
                disk::drops(&disk, choice.drops).await?;
                ran += 1;
            }
        }
        DeviceType::Console => {
            let mut console = Console::new(attached)?;
            if choice.case == "console" {
                console::echo(&mut console).await?;
                ran += 1;
            }
        }
        other => println!("a device without a driver: {other:?}"),
    }
    Ok(ran)
}

/// An error that is a sentence.
fn error_of(sentence: &str) -> Failure {
    sentence.into()
}

/// Bytes that depend on their place, and on `seed`.
fn pattern(seed: u64, length: usize) -> Box<[u8]> {
    let bytes = (0..length as u64).map(|place| (place.wrapping_mul(31) ^ seed ^ place >> 8) as u8);
    bytes.collect::<Vec<_>>().into_boxed_slice()
}
