//! The disk: how many blocks are read in a second.

use crate::machine::wait_for;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    thread,
    time::{Duration, Instant},
};

/// The bytes of a read.
const BLOCK: usize = 4096;

/// How long blocks are read.
const SPAN: Duration = Duration::from_secs(1);

/// Reads blocks with one thread and with 32, as Tokio reads files by threads, and prints how many
/// in a second. The page cache is left out.
pub(crate) fn measure() -> io::Result<()> {
    let disk = wait_for(|| {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open("/dev/vda")
    })?;
    let bytes = io::Seek::seek(&mut &disk, io::SeekFrom::End(0))?;
    let blocks = bytes / BLOCK as u64;
    for in_flight in [1, 32] {
        let rate = rate(&disk, blocks, in_flight)?;
        println!("reads_{in_flight} {rate}");
    }
    println!("done");
    Ok(())
}

fn rate(disk: &File, blocks: u64, in_flight: u64) -> io::Result<u64> {
    let start = Instant::now();
    let end = start + SPAN;
    let read = |lane: u64| -> io::Result<u64> {
        let mut buffer = Box::new(Block([0; BLOCK]));
        let mut block = lane * blocks / in_flight;
        let mut done = 0;
        while Instant::now() < end {
            disk.read_exact_at(&mut buffer.0, block * BLOCK as u64)?;
            block = (block + 1) % blocks;
            done += 1;
        }
        Ok(done)
    };
    let done = thread::scope(|scope| {
        let lanes: Vec<_> = (0..in_flight)
            .map(|lane| scope.spawn(move || read(lane)))
            .collect();
        let mut done = 0;
        for lane in lanes {
            done += lane.join().expect("it does not panic")?;
        }
        Ok::<u64, io::Error>(done)
    })?;
    Ok((done as f64 / start.elapsed().as_secs_f64()) as u64)
}

/// A block at a multiple of its size, which `O_DIRECT` asks for.
#[repr(align(4096))]
struct Block([u8; BLOCK]);
