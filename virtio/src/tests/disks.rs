//! Disks in memory, right and wrong ones.

use std::{
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use virtio_drivers::transport::DeviceType;

use super::{
    block_on,
    fake::{FakeInterrupt, FakeTransport, Shared},
    side::{Chain, Side},
};
use crate::{
    RequestError, SetupError,
    blk::{Disk, SECTOR},
};

const VERSION_1: u64 = 1 << 32;
const SIZE_MAX: u64 = 1 << 1;
const READ_ONLY: u64 = 1 << 5;
const FLUSH: u64 = 1 << 9;
const DISCARD: u64 = 1 << 13;

/// Sectors of the disks here.
const SECTORS: usize = 64;

type TestDisk = Disk<FakeTransport, FakeInterrupt>;

/// A device of `SECTORS` sectors with these features.
fn shared(features: u64) -> Arc<Shared> {
    let shared = Shared::new(DeviceType::Block);
    shared
        .offered
        .store(VERSION_1 | features, std::sync::atomic::Ordering::SeqCst);
    let mut config = vec![0; 60];
    config[0] = SECTORS as u8;
    config[36] = 16;
    *shared.config.lock().unwrap() = config;
    shared
}

/// A disk that is served by `serve` on a thread.
fn disk(
    features: u64,
    serve: impl FnMut(&Chain) -> u32 + Send + 'static,
) -> (TestDisk, JoinHandle<()>) {
    let shared = shared(features);
    let disk = Disk::new(shared.attach()).expect("a good device");
    let side = Side::new(&shared, 0);
    (disk, thread::spawn(|| side.run(serve)))
}

fn end(disk: TestDisk, device: JoinHandle<()>) {
    drop(disk);
    device.join().expect("it does not panic");
}

/// Serves requests as a device does, and stores their types.
fn serve(types: &Mutex<Vec<u32>>, data: &mut [u8], chain: &Chain) -> u32 {
    let read = chain.read();
    let (header, written) = read.split_at(16);
    let kind = u32::from_le_bytes(header[..4].try_into().unwrap());
    let sector = u64::from_le_bytes(header[8..].try_into().unwrap()) as usize;
    types.lock().unwrap().push(kind);
    let start = sector * SECTOR;
    match kind {
        0 => {
            let length = chain.writable_length() as usize - 1;
            let bytes = data[start..start + length].iter().copied();
            chain.write(bytes.chain([0]))
        }
        1 => {
            data[start..start + written.len()].copy_from_slice(written);
            chain.write([0])
        }
        4 => chain.write([0]),
        11 => {
            let first = u64::from_le_bytes(written[..8].try_into().unwrap()) as usize;
            let count = u32::from_le_bytes(written[8..12].try_into().unwrap()) as usize;
            data[first * SECTOR..(first + count) * SECTOR].fill(0);
            chain.write([0])
        }
        _ => chain.write([2]),
    }
}

#[test]
fn requests_of_every_type() {
    let types = Arc::new(Mutex::new(Vec::new()));
    let (log, mut data) = (types.clone(), vec![0; SECTORS * SECTOR]);
    let (disk, device) = disk(FLUSH | DISCARD, move |chain| serve(&log, &mut data, chain));
    assert_eq!((disk.sectors(), disk.most_discarded()), (64, 16));
    assert!(!disk.is_read_only());
    block_on(async {
        let (_, result) = disk.write(3, vec![7; 2 * SECTOR].into()).await;
        assert_eq!(result, Ok(()));
        assert_eq!(disk.flush().await, Ok(()));
        assert_eq!(disk.discard(4, 1).await, Ok(()));
        let (read, result) = disk.read(2, vec![1; 4 * SECTOR].into()).await;
        assert_eq!(result, Ok(()));
        let expected = [0, 7, 0, 0].map(|byte| [byte; SECTOR]).concat();
        assert_eq!(*read, *expected);
        assert_eq!(disk.discard(0, 0).await, Err(RequestError::Length));
        assert_eq!(disk.discard(0, 17).await, Err(RequestError::Length));
        assert_eq!(disk.discard(60, 5).await, Err(RequestError::OutOfRange));
    });
    assert_eq!(*types.lock().unwrap(), [1, 4, 11, 0]);
    end(disk, device);
}

/// Long transfers are done in pieces.
#[test]
fn no_buffer_is_longer_than_the_device_takes() {
    const MOST: u32 = 1300;
    let shared = shared(SIZE_MAX);
    shared.config.lock().unwrap()[8..12].copy_from_slice(&MOST.to_le_bytes());
    let (types, mut data) = (Mutex::default(), vec![0; SECTORS * SECTOR]);
    let disk = Disk::new(shared.attach()).expect("a good device");
    let side = Side::new(&shared, 0);
    let device = thread::spawn(move || {
        side.run(|chain| {
            let buffers = chain.readable.iter().chain(&chain.writable);
            assert!(buffers.into_iter().all(|(_, length)| *length <= MOST));
            serve(&types, &mut data, chain)
        });
    });
    block_on(async {
        let content: Box<[u8]> = (0..5 * SECTOR).map(|place| (place / 7) as u8).collect();
        let (written, result) = disk.write(3, content.clone()).await;
        assert_eq!((written, result), (content.clone(), Ok(())));
        let (read, result) = disk.read(2, vec![1; 7 * SECTOR].into()).await;
        assert_eq!(result, Ok(()));
        let around = [0; SECTOR];
        assert_eq!(*read, *[&around[..], &content, &around].concat());
    });
    end(disk, device);
}

#[test]
fn a_device_that_takes_no_whole_sector_is_refused() {
    let shared = shared(SIZE_MAX);
    shared.config.lock().unwrap()[8..12].copy_from_slice(&511_u32.to_le_bytes());
    let refused = Disk::new(shared.attach()).err();
    assert_eq!(refused, Some(SetupError::Configuration));
}

#[test]
fn without_flush_and_discard() {
    let (disk, device) = disk(READ_ONLY, |chain| {
        let length = chain.writable_length();
        chain.write((0..length).map(|_| 0))
    });
    block_on(async {
        assert!(disk.is_read_only());
        assert_eq!(disk.flush().await, Ok(()));
        assert_eq!(disk.discard(0, 1).await, Err(RequestError::Unsupported));
        let (buffer, result) = disk.write(0, vec![0; SECTOR].into()).await;
        assert_eq!(
            (buffer.len(), result),
            (SECTOR, Err(RequestError::ReadOnly))
        );
        assert_eq!(disk.read(0, vec![0; SECTOR].into()).await.1, Ok(()));
    });
    end(disk, device);
}

/// What a device answers: status, and a length to report.
#[test]
fn wrong_answers() {
    let whole = SECTOR as u32 + 1;
    for (status, length, expected) in [
        (0, whole, Ok(())),
        (0, whole - 1, Err(RequestError::WrongAnswer)),
        (0, 0, Err(RequestError::WrongAnswer)),
        (0, whole + 1, Err(RequestError::WrongAnswer)),
        (1, 1, Err(RequestError::Failed)),
        (2, 1, Err(RequestError::Unsupported)),
        (3, whole, Err(RequestError::WrongAnswer)),
        // Not written at all.
        (0xff, whole, Err(RequestError::WrongAnswer)),
    ] {
        let (disk, device) = disk(0, move |chain| {
            chain.write((0..SECTOR).map(|_| 9).chain([status]));
            length
        });
        let (buffer, result) = block_on(disk.read(0, vec![0; SECTOR].into()));
        assert_eq!((buffer.len(), result), (SECTOR, expected));
        end(disk, device);
    }
}

#[test]
fn a_configuration_that_is_too_short() {
    let shared = shared(0);
    shared.config.lock().unwrap().truncate(4);
    let refused = Disk::new(shared.attach()).err();
    assert_eq!(refused, Some(SetupError::Configuration));
    assert!(shared.is_reset());
}

#[cfg(feature = "block-device-driver")]
#[test]
fn block_device() {
    use aligned::{A1, Aligned};
    use block_device_driver::BlockDevice;

    let (log, mut data) = (Mutex::default(), vec![0; SECTORS * SECTOR]);
    let (disk, device) = disk(0, move |chain| serve(&log, &mut data, chain));
    block_on(async {
        let mut blocks = &disk;
        let written = [Aligned::<A1, _>([5; SECTOR]), Aligned([6; SECTOR])];
        assert_eq!(BlockDevice::write(&mut blocks, 1, &written).await, Ok(()));
        let mut read = [Aligned([0; SECTOR])];
        assert_eq!(BlockDevice::read(&mut blocks, 2, &mut read).await, Ok(()));
        assert_eq!(*read[0], [6; SECTOR]);
        let size = BlockDevice::<SECTOR>::size(&mut blocks).await;
        assert_eq!(size, Ok((SECTORS * SECTOR) as u64));
    });
    end(disk, device);
}
