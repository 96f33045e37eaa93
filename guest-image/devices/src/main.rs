//! Drives the virtio devices of the machine, and checks what they do. The argument `case` names
//! what is run: `rng`, `disk`, `read-only`, `full`, `drops`, `dropped`, `console` or `flood`.
//! Without it, what needs neither input nor a file system that is full. With the argument
//! `demo=disk` the disk's speed is shown in place of all that.
//!
//! Of `flood`, `pages=COUNT` says how many pages of 4 KiB are sent (256 if it is missing).
//! Of `drops`, `requests=COUNT` says how many requests are made of each device (10,000 if it is
//! missing), `seconds=COUNT` how long at most (10), and `seed=NUMBER` chooses which are dropped.
//! `dropped` drops all, and of it `requests` says how many are to be in flight then.
#![no_std]
#![no_main]

extern crate alloc;

mod console;
mod demo;
mod disk;
mod dropped;
mod drops;
mod rng;

use alloc::{boxed::Box, vec::Vec};
use core::{str::FromStr, time::Duration};

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up64},
    idle::Halt,
};
use dormir_devices_guest::{
    Failure,
    bus::{self, Found},
    tasks,
};
use dormir_guest::{args, println};
use dormir_virtio::{DeviceType, blk::Disk, console::Console, mmio, pci, rng::Rng};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

fn main() -> Result<(), Failure> {
    if args::value("demo").is_some() {
        return demo::run();
    }
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    let task = Task::boxed(async move {
        let case = args::value("case").unwrap_or("all");
        let code = match run(case, spawner).await {
            Ok(0) => {
                println!("no device for {case}");
                1
            }
            Ok(_) => 0,
            Err(error) => {
                println!("{error}");
                1
            }
        };
        dormir_guest::exit(code);
    });
    assert!(spawner.spawn_detached(task).is_ok(), "there is room");
    runner.run_forever(Halt)
}

/// Runs a case, or all, on both buses, and returns how many there were a device for.
async fn run(case: &str, spawner: Spawner) -> Result<usize, Failure> {
    let on_mmio = mmio::find(args::words())?;
    let on_pci = pci::find();
    Ok(run_on(&on_mmio, case, spawner).await? + run_on(&on_pci, case, spawner).await?)
}

/// Runs a case, or all, with the devices of a bus.
async fn run_on(
    devices: &[impl Found + 'static],
    case: &str,
    spawner: Spawner,
) -> Result<usize, Failure> {
    let is_run = |name| case == name || case == "all";
    let mut ran = 0;
    for device in devices {
        let Some(attached) = device.attach()? else {
            continue;
        };
        match attached.device_type() {
            DeviceType::EntropySource => {
                let rng = Rng::new(attached)?;
                if is_run("rng") {
                    rng::fills(&rng).await?;
                    rng::many(&rng).await?;
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
                if case == "full" {
                    disk::full(&disk).await?;
                    ran += 1;
                }
            }
            DeviceType::Console => {
                let mut console = Console::new(attached)?;
                if case == "console" {
                    console::echo(&mut console).await?;
                    ran += 1;
                }
                if case == "flood" {
                    console::flood(&mut console, number("pages", 256)?).await?;
                    ran += 1;
                }
            }
            other => println!("a device without a driver: {other:?}"),
        }
    }
    let requests = number("requests", 10_000)?;
    let limit = Duration::from_secs(number("seconds", 10)?);
    if is_run("dropped") {
        ran += dropped::run(devices, requests, limit).await?;
    }
    if is_run("drops") {
        let wanted = drops::Wanted {
            requests,
            limit,
            seed: number("seed", 1)?,
        };
        ran += drops::run(devices, &wanted, spawner).await?;
    }
    Ok(ran)
}

fn number<N: FromStr>(name: &str, default: N) -> Result<N, N::Err> {
    args::value(name).map_or(Ok(default), str::parse)
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
