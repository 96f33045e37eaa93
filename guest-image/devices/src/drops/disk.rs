//! Reads and writes of a disk.
//!
//! Each task has sectors of its own. Their words depend on the sector's number and on which write
//! it was. A write that was dropped may be done or not, and later than those that follow it, until
//! the device is reset.

use alloc::{boxed::Box, vec, vec::Vec};

use dormir::time::Instant;
use dormir_virtio::{
    Interrupt, Transport,
    blk::{Disk, SECTOR},
};

use super::{Counts, ROUND, Random, random::maybe_drop};
use crate::{Failure, error_of, tasks::poll_once};

/// The sectors of a region.
const SECTORS: usize = 8;

/// The sectors of one task.
pub(super) struct Region {
    first: u64,
    /// For each sector, the last write that has ended.
    ended: [u64; SECTORS],
    /// The last write.
    last: u64,
    /// The writes that were dropped since the last reset.
    dropped: Vec<u64>,
}

/// Writes as many regions as there are tasks, spread over the disk.
pub(super) async fn prepare<T: Transport, I: Interrupt>(
    disk: &Disk<T, I>,
    tasks: u64,
) -> Result<Vec<Region>, Failure> {
    let mut regions = Vec::new();
    for task in 0..tasks {
        let first = disk.sectors() / tasks * task;
        let region = Region {
            first,
            ended: [task << 40; SECTORS],
            last: task << 40,
            dropped: Vec::with_capacity(ROUND as usize + 1),
        };
        disk.write(first, region.content(0, SECTORS)).await.1?;
        regions.push(region);
        let region = regions.last_mut().ok_or("no region")?;
        region.settle(disk).await?;
    }
    // Otherwise the heap changes while they are moved.
    regions.shrink_to_fit();
    Ok(regions)
}

impl Region {
    /// Makes requests, and returns the counts of reads and of writes.
    pub(super) async fn work<T: Transport, I: Interrupt>(
        &mut self,
        disk: &Disk<T, I>,
        requests: u64,
        end: Instant,
        mut random: Random,
    ) -> Result<(Counts, Counts), Failure> {
        self.settle(disk).await?;
        let (mut reads, mut writes) = <(Counts, Counts)>::default();
        while reads.made + writes.made < requests && Instant::now() < end {
            let offset = random.below(SECTORS as u64) as usize;
            let count = random.below((SECTORS - offset).min(4) as u64) as usize + 1;
            let sector = self.first + offset as u64;
            if random.below(2) == 0 {
                reads.made += 1;
                let request = disk.read(sector, zeros(count));
                match maybe_drop(&mut random, request).await {
                    Some((buffer, result)) => {
                        result?;
                        self.check(offset, &buffer)?;
                    }
                    None => reads.dropped += 1,
                }
            } else {
                writes.made += 1;
                self.last += 1;
                let content = self.content(offset, count);
                match maybe_drop(&mut random, disk.write(sector, content)).await {
                    Some((_, result)) => {
                        result?;
                        self.ended[offset..offset + count].fill(self.last);
                    }
                    None => {
                        writes.dropped += 1;
                        self.dropped.push(self.last);
                    }
                }
            }
        }
        Ok((reads, writes))
    }

    /// Leaves a request with the device.
    pub(super) async fn leave_one<T: Transport, I: Interrupt>(
        &mut self,
        disk: &Disk<T, I>,
        random: &mut Random,
    ) {
        if random.below(2) == 0 {
            let _ = poll_once(disk.read(self.first, zeros(SECTORS))).await;
        } else {
            self.last += 1;
            self.dropped.push(self.last);
            let content = self.content(0, SECTORS);
            let _ = poll_once(disk.write(self.first, content)).await;
        }
    }

    /// After a reset: reads which of the writes were done.
    pub(super) async fn settle<T: Transport, I: Interrupt>(
        &mut self,
        disk: &Disk<T, I>,
    ) -> Result<(), Failure> {
        let (buffer, result) = disk.read(self.first, zeros(SECTORS)).await;
        result?;
        self.check(0, &buffer)?;
        self.dropped.clear();
        for (ended, sector) in self.ended.iter_mut().zip(buffer.chunks(SECTOR)) {
            *ended = write_of(sector);
        }
        // Nothing is going on, so each sector is of one write.
        self.check(0, &buffer)
    }

    /// The bytes of the last write.
    fn content(&self, offset: usize, count: usize) -> Box<[u8]> {
        let mut content = zeros(count);
        for (sector, bytes) in (self.first + offset as u64..).zip(content.chunks_mut(SECTOR)) {
            for (place, word) in bytes.chunks_mut(8).enumerate() {
                word.copy_from_slice(&word_of(sector, self.last, place).to_le_bytes());
            }
        }
        content
    }

    /// Checks what was read. A write that was dropped may be going on: then a sector has words of
    /// it, and words of before.
    fn check(&self, offset: usize, content: &[u8]) -> Result<(), Failure> {
        for (index, bytes) in (offset..).zip(content.chunks(SECTOR)) {
            let sector = self.first + index as u64;
            let is_known = |(place, word): (usize, &[u8])| {
                let is_of = |write: &u64| word == word_of(sector, *write, place).to_le_bytes();
                is_of(&self.ended[index]) || self.dropped.iter().any(is_of)
            };
            if !bytes.chunks(8).enumerate().all(is_known) {
                return Err(error_of("a sector has what was not written to it"));
            }
        }
        Ok(())
    }
}

fn zeros(sectors: usize) -> Box<[u8]> {
    vec![0; sectors * SECTOR].into()
}

/// A word of a sector: the first one is the write.
fn word_of(sector: u64, write: u64, place: usize) -> u64 {
    let step = (sector + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    write.wrapping_add(step.wrapping_mul(place as u64))
}

fn write_of(sector: &[u8]) -> u64 {
    sector
        .first_chunk()
        .map_or(0, |word| u64::from_le_bytes(*word))
}
