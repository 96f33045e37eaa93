//! The demo: how many blocks of a disk are read and written in a second, and how long the vCPU is
//! halted meanwhile.

use alloc::{boxed::Box, vec};
use core::time::Duration;

use dormir::{
    block_on,
    idle::{Halt, Metered},
    time::Instant,
};
use dormir_guest::{
    args,
    console::{report, report_time},
    println,
};
use dormir_virtio::{
    DeviceType, Interrupt, RequestError, Transport,
    blk::{Disk, SECTOR},
    mmio, pci,
};

use crate::{Failure, bus::Found, error_of, tasks::join_all};

/// The bytes of a request.
const BLOCK: usize = 4096;

/// How long requests of a kind are made.
const SPAN: Duration = Duration::from_secs(1);

/// The numbers of requests at once. The queue has room for more than the largest.
const IN_FLIGHT: [u64; 2] = [1, 32];

/// Measures the machine's first disk.
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    let mut idle = Metered::new(Halt);
    // So that the harness can tell by how much this clock is wrong.
    report_time();
    block_on(measure(), &mut idle)?;
    report_time();
    let elapsed = Instant::now().saturating_duration_since(start);
    report("elapsed_ns", elapsed.as_nanos() as u64);
    report("halts", idle.waits());
    report("halted_ns", idle.waited().as_nanos() as u64);
    Ok(())
}

async fn measure() -> Result<(), Failure> {
    let is_measured = measure_first(&mmio::find(args::words())?).await?;
    if is_measured || measure_first(&pci::find()).await? {
        Ok(())
    } else {
        Err(error_of("there is no disk: add --disk FILE"))
    }
}

/// Measures the first disk of a bus, and returns whether there is one.
async fn measure_first(devices: &[impl Found]) -> Result<bool, Failure> {
    for device in devices {
        let Some(attached) = device.attach()? else {
            continue;
        };
        if attached.device_type() == DeviceType::Block {
            show(&Disk::new(attached)?).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

async fn show<T: Transport, I: Interrupt>(disk: &Disk<T, I>) -> Result<(), Failure> {
    let mebibytes = (disk.sectors() * SECTOR as u64) >> 20;
    println!("a disk of {mebibytes} MiB, in blocks of 4 KiB");
    for in_flight in IN_FLIGHT {
        let reads = rate(disk, in_flight, false).await?;
        report(&alloc::format!("reads_{in_flight}"), reads);
        print_rate("reads", reads, in_flight);
        if !disk.is_read_only() {
            let writes = rate(disk, in_flight, true).await?;
            report(&alloc::format!("writes_{in_flight}"), writes);
            print_rate("writes", writes, in_flight);
        }
    }
    Ok(())
}

fn print_rate(what: &str, rate: u64, in_flight: u64) {
    println!("{rate:6} {what} a second, {in_flight:2} in flight");
}

/// Returns how many blocks are read, or written, in a second.
async fn rate<T: Transport, I: Interrupt>(
    disk: &Disk<T, I>,
    in_flight: u64,
    writes: bool,
) -> Result<u64, Failure> {
    let sectors = (BLOCK / SECTOR) as u64;
    let blocks = disk.sectors() / sectors;
    if blocks == 0 {
        return Err(error_of("the disk has less than one block of 4 KiB"));
    }
    let start = Instant::now();
    let end = start.saturating_add(SPAN);
    // Each goes through the disk from a place of its own.
    let lanes = (0..in_flight).map(|lane| async move {
        let mut block = lane * blocks / in_flight;
        let mut buffer: Box<[u8]> = vec![0; BLOCK].into();
        let mut done = 0_u64;
        while Instant::now() < end {
            let sector = block * sectors;
            let (returned, result) = if writes {
                disk.write(sector, buffer).await
            } else {
                disk.read(sector, buffer).await
            };
            result?;
            buffer = returned;
            block = (block + 1) % blocks;
            done += 1;
        }
        Ok::<_, RequestError>(done)
    });
    let mut done = 0;
    for lane in join_all(lanes).await {
        done += lane?;
    }
    let nanos = Instant::now().saturating_duration_since(start).as_nanos();
    Ok((u128::from(done) * 1_000_000_000 / nanos.max(1)) as u64)
}
