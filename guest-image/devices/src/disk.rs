//! Disks.

use alloc::{boxed::Box, vec};

use dormir_guest::console::report;
use dormir_virtio::{
    Interrupt, RequestError, Transport,
    blk::{Disk, SECTOR},
};

use crate::{Failure, error_of, pattern, tasks::join_all};

/// Requests at once: more than the queue has room for.
const MANY: u64 = 100;

fn zeros(sectors: usize) -> Box<[u8]> {
    vec![0; sectors * SECTOR].into()
}

/// Writes, flushes and reads, at the start and at the end; discards if there is a discard.
pub(crate) async fn round_trip<T: Transport, I: Interrupt>(
    disk: &Disk<T, I>,
) -> Result<(), Failure> {
    report("sectors", disk.sectors());
    for sectors in [1, 8, 64] {
        for sector in [0, disk.sectors() - sectors] {
            let length = sectors as usize * SECTOR;
            let data = pattern(sector + sectors, length);
            let (data, written) = disk.write(sector, data).await;
            written?;
            disk.flush().await?;
            let (read, result) = disk.read(sector, zeros(sectors as usize)).await;
            result?;
            if read != data {
                return Err(error_of("what was read is not what was written"));
            }
        }
    }
    if disk.most_discarded() > 0 {
        disk.discard(0, 8).await?;
        report("discarded", 8);
    }
    Ok(())
}

/// Many writes at once, then as many reads.
pub(crate) async fn many<T: Transport, I: Interrupt>(disk: &Disk<T, I>) -> Result<(), Failure> {
    let sectors = || (0..MANY).map(|index| index % (disk.sectors() / 8) * 8);
    let writes = sectors().map(|sector| disk.write(sector, pattern(sector, 8 * SECTOR)));
    for (_, result) in join_all(writes).await {
        result?;
    }
    let reads = sectors().map(|sector| disk.read(sector, zeros(8)));
    for (sector, (read, result)) in sectors().zip(join_all(reads).await) {
        result?;
        if read != pattern(sector, 8 * SECTOR) {
            return Err(error_of("what was read is not what was written"));
        }
    }
    Ok(())
}

/// Requests that no device could serve.
pub(crate) async fn refused<T: Transport, I: Interrupt>(disk: &Disk<T, I>) -> Result<(), Failure> {
    let end = disk.sectors();
    for (sector, length, expected) in [
        (0, 0, RequestError::Length),
        (0, 511, RequestError::Length),
        (end, SECTOR, RequestError::OutOfRange),
        (end - 1, 2 * SECTOR, RequestError::OutOfRange),
        (u64::MAX, SECTOR, RequestError::OutOfRange),
    ] {
        let (buffer, result) = disk.read(sector, vec![0; length].into()).await;
        if result != Err(expected) || buffer.len() != length {
            return Err(error_of("a read was not refused as it should be"));
        }
    }
    Ok(())
}

/// A disk that is only read.
pub(crate) async fn read_only<T: Transport, I: Interrupt>(
    disk: &Disk<T, I>,
) -> Result<(), Failure> {
    let (_, result) = disk.read(0, zeros(1)).await;
    result?;
    let (_, result) = disk.write(0, zeros(1)).await;
    match result {
        Err(RequestError::ReadOnly) => Ok(()),
        _ => Err(error_of("a write was not refused")),
    }
}

/// A disk whose file has holes, on a file system that has no room for all of it: a write fails, and
/// the disk goes on.
pub(crate) async fn full<T: Transport, I: Interrupt>(disk: &Disk<T, I>) -> Result<(), Failure> {
    /// The sectors of a write.
    const COUNT: u32 = 16;

    let content = |sector| Box::from([(sector / 16 + 1) as u8; COUNT as usize * SECTOR]);
    let mut sectors = (0..disk.sectors()).step_by(COUNT as usize);
    let full = loop {
        let sector = sectors.next().ok_or("every write succeeded")?;
        let (buffer, result) = disk.write(sector, content(sector)).await;
        if result == Err(RequestError::Failed) && *buffer == *content(sector) {
            break sector;
        }
        result?;
    };
    report("full_at_sector", full);
    for sector in (0..full).step_by(COUNT as usize) {
        let (read, result) = disk.read(sector, zeros(COUNT as usize)).await;
        result?;
        if *read != *content(sector) {
            return Err(error_of("what was read is not what was written"));
        }
    }
    // Where there is no hole, there is room.
    disk.write(0, content(0)).await.1?;
    disk.discard(0, COUNT).await?;
    disk.write(full, content(full)).await.1?;
    disk.flush().await?;
    Ok(())
}
