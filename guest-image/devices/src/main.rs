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
use dormir_virtio::{DeviceType, blk::Disk, console::Console, mmio, rng::Rng};

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

/// Runs a case, or all, and returns how many there were a device for.
async fn run(case: &str) -> Result<usize, Failure> {
    let devices = mmio::find(args::words())?;
    let drops = args::value("drops").map_or(Ok(10_000), str::parse)?;
    let is_run = |name| case == name || case == "all";
    let mut ran = 0;
    for device in devices {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let attached = match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(attached) => attached,
            // A transport that has no device.
            Err(mmio::ConnectError::NoDevice) => continue,
            Err(error) => return Err(error.into()),
        };
        match attached.device_type() {
            DeviceType::EntropySource => {
                let rng = Rng::new(attached)?;
                if is_run("rng") {
                    rng::fills(&rng).await?;
                    rng::many(&rng).await?;
                    ran += 1;
                }
                if is_run("drops") {
                    rng::drops(&rng, drops).await?;
                    ran += 1;
                }
            }
            DeviceType::Block => {
                let disk = Disk::new(attached)?;
                if disk.is_read_only() {
                    if is_run("read-only") {
                        disk::read_only(&disk).await?;
                        ran += 1;
                    }
                    continue;
                }
                if is_run("disk") {
                    disk::round_trip(&disk).await?;
                    disk::many(&disk).await?;
                    disk::refused(&disk).await?;
                    ran += 1;
                }
                if is_run("drops") {
                    disk::drops(&disk, drops).await?;
                    ran += 1;
                }
            }
            DeviceType::Console => {
                let mut console = Console::new(attached)?;
                if case == "console" {
                    console::echo(&mut console).await?;
                    ran += 1;
                }
            }
            other => println!("a device without a driver: {other:?}"),
        }
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
