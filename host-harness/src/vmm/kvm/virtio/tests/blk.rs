//! The disk.

use super::*;
use crate::vmm::{
    device::{DiskFile, SECTOR},
    kvm::virtio::blk::Disk,
};
use std::{fs, io::Write as _, os::unix::fs::FileExt};
use tempfile::NamedTempFile;

const SECTORS: u64 = 8;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// A disk whose sectors are filled with their numbers from 1 on.
fn disk(read_only: bool) -> (Driver, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    for sector in 1..=SECTORS {
        file.write_all(&[sector as u8; SECTOR as usize]).unwrap();
    }
    let open = DiskFile::open(file.path(), read_only, 3).unwrap();
    (Driver::new(Disk::new(open)), file)
}

fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}

fn range(sector: u64, count: u32, flags: u32) -> [u8; 16] {
    let mut range = [0; 16];
    range[..8].copy_from_slice(&sector.to_le_bytes());
    range[8..12].copy_from_slice(&count.to_le_bytes());
    range[12..].copy_from_slice(&flags.to_le_bytes());
    range
}

/// Submits a request without room for data; returns the status.
fn ask(driver: &mut Driver, kind: u32, sector: u64, data: &[u8]) -> u8 {
    driver.request(&[&header(kind, sector), data], &[1])[0]
}

#[test]
fn the_configuration_has_the_capacity() {
    let (driver, _file) = disk(false);
    let mut capacity = [0; 8];
    driver.bench.device.read(VIRTIO_MMIO_CONFIG, &mut capacity);
    assert_eq!(u64::from_le_bytes(capacity), SECTORS);
    assert_eq!(driver.bench.read(VIRTIO_MMIO_CONFIG + 20), 512);
    let mut byte = [0xff];
    driver.bench.device.read(VIRTIO_MMIO_CONFIG + 56, &mut byte);
    assert_eq!(byte, [1], "zeros may be holes");
    assert_eq!(driver.bench.read(VIRTIO_MMIO_CONFIG + 0xfc), 0);
}

#[test]
fn sectors_are_read_into_pieces_of_any_size() {
    let (mut driver, _file) = disk(true);
    let bytes = driver.request(&[&header(IN, 1)], &[1, 510, 513, 1]);
    let expected = [vec![2; 512], vec![3; 512], vec![OK]].concat();
    assert_eq!(bytes, expected);
    assert_eq!(driver.interrupts(), VIRTIO_MMIO_INT_VRING);
    // The status at the end of a buffer, and the header in pieces.
    let header = header(IN, 7);
    let bytes = driver.request(&[&header[..5], &header[5..]], &[513]);
    assert_eq!(bytes, [vec![8; 512], vec![OK]].concat());
}

#[test]
fn sectors_are_written_and_read_back() {
    let (mut driver, file) = disk(false);
    assert_eq!(ask(&mut driver, OUT, 6, &[9; 1024]), OK);
    assert_eq!(ask(&mut driver, FLUSH, 0, &[]), OK);
    assert_eq!(
        driver.request(&[&header(IN, 7)], &[512, 1]),
        [vec![9; 512], vec![OK]].concat()
    );
    let content = fs::read(file.path()).unwrap();
    assert_eq!(&content[6 * 512..], [9; 1024]);
    assert_eq!(
        &content[..6 * 512],
        &(1..=6).flat_map(|byte| [byte; 512]).collect::<Vec<u8>>()
    );
}

#[test]
fn nothing_beyond_the_end_is_read_or_written() {
    let (mut driver, file) = disk(false);
    for (sector, length) in [
        (8, 512),
        (7, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
        (0, 511),
    ] {
        assert_eq!(
            ask(&mut driver, OUT, sector, &vec![9; length]),
            ERROR,
            "{sector} {length}"
        );
        let bytes = driver.request(&[&header(IN, sector)], &[length, 1]);
        assert_eq!(bytes.last(), Some(&ERROR), "{sector} {length}");
    }
    for kind in [DISCARD, WRITE_ZEROES] {
        for (sector, count) in [(8, 1), (0, 9), (u64::MAX, 1), (0, u32::MAX)] {
            assert_eq!(ask(&mut driver, kind, 0, &range(sector, count, 0)), ERROR);
        }
    }
    assert_eq!(fs::metadata(file.path()).unwrap().len(), SECTORS * SECTOR);
    assert_eq!(fs::read(file.path()).unwrap()[..512], [1; 512]);
    assert_eq!(driver.status(), 0xf);
}

#[test]
fn discarded_and_cleared_sectors_are_zeros() {
    for (kind, flags) in [(DISCARD, 0), (WRITE_ZEROES, 0), (WRITE_ZEROES, 1)] {
        let (mut driver, file) = disk(false);
        assert_eq!(ask(&mut driver, kind, 0, &range(2, 3, flags)), OK);
        let content = fs::read(file.path()).unwrap();
        if kind == WRITE_ZEROES {
            assert_eq!(content[2 * 512..5 * 512], [0; 3 * 512]);
        }
        assert_eq!(content[..2 * 512], [[1; 512], [2; 512]].concat());
        assert_eq!(content[5 * 512..6 * 512], [6; 512]);
        assert_eq!(content.len() as u64, SECTORS * SECTOR);
    }
    let (mut driver, _file) = disk(false);
    assert_eq!(ask(&mut driver, DISCARD, 0, &range(0, 1, 1)), UNSUPPORTED);
    assert_eq!(
        ask(&mut driver, WRITE_ZEROES, 0, &range(0, 1, 2)),
        UNSUPPORTED
    );
    let two = [range(0, 1, 0), range(1, 1, 0)].concat();
    assert_eq!(ask(&mut driver, DISCARD, 0, &two), ERROR);
}

#[test]
fn a_read_only_disk_is_not_changed() {
    let (mut driver, file) = disk(true);
    let before = fs::read(file.path()).unwrap();
    driver.bench.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    let features = driver.bench.read(VIRTIO_MMIO_DEVICE_FEATURES);
    assert_eq!(features & (1 << 5 | 1 << 13 | 1 << 14), 1 << 5);
    assert_eq!(ask(&mut driver, OUT, 0, &[9; 512]), ERROR);
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(ask(&mut driver, kind, 0, &range(0, 1, 0)), ERROR);
    }
    assert_eq!(ask(&mut driver, FLUSH, 0, &[]), OK);
    assert_eq!(fs::read(file.path()).unwrap(), before);
}

#[test]
fn a_disk_has_an_identification() {
    let (mut driver, _file) = disk(true);
    let bytes = driver.request(&[&header(GET_ID, 0)], &[20, 1]);
    assert_eq!(&bytes[..6], b"disk3\0");
    let bytes = driver.request(&[&header(GET_ID, 0)], &[3, 1]);
    assert_eq!(bytes, [b'd', b'i', b's', OK]);
}

#[test]
fn what_a_disk_does_not_know_is_unsupported() {
    let (mut driver, _file) = disk(false);
    for kind in [2, 3, 14, 26, u32::MAX] {
        assert_eq!(ask(&mut driver, kind, 0, &[]), UNSUPPORTED);
    }
}

#[test]
fn a_file_that_is_cut_fails_the_request_alone() {
    let (mut driver, file) = disk(false);
    file.as_file().set_len(512).unwrap();
    let bytes = driver.request(&[&header(IN, 1)], &[512, 1]);
    assert_eq!(bytes[512], ERROR);
    let bytes = driver.request(&[&header(IN, 0)], &[512, 1]);
    assert_eq!(bytes[512], OK);
    // Nor does it grow again.
    assert_eq!(ask(&mut driver, OUT, 0, &[9; 1024]), ERROR);
    assert_eq!(ask(&mut driver, OUT, 7, &[9; 512]), ERROR);
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(ask(&mut driver, kind, 0, &range(0, 2, 0)), ERROR);
    }
    assert_eq!(ask(&mut driver, OUT, 0, &[9; 512]), OK);
    assert_eq!(fs::read(file.path()).unwrap(), [9; 512]);
}

#[test]
fn random_requests_agree_with_a_model() {
    let (mut driver, file) = disk(false);
    let mut model = fs::read(file.path()).unwrap();
    let mut seed = 1_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for turn in 0..2000_u32 {
        let (sector, count) = (random(10), random(4));
        let bytes = (sector * 512) as usize..((sector + count) * 512) as usize;
        let fits = bytes.end <= model.len();
        let expected = if fits { OK } else { ERROR };
        match random(3) {
            0 => {
                let data = vec![turn as u8; bytes.len()];
                assert_eq!(ask(&mut driver, OUT, sector.into(), &data), expected);
                if fits {
                    model[bytes].copy_from_slice(&data);
                }
            }
            1 => {
                let cleared = range(sector.into(), count, random(2));
                assert_eq!(ask(&mut driver, WRITE_ZEROES, 0, &cleared), expected);
                if fits {
                    model[bytes].fill(0);
                }
            }
            _ => {
                let read = driver.request(&[&header(IN, sector.into())], &[bytes.len(), 1]);
                assert_eq!(read.last(), Some(&expected));
                if fits {
                    assert_eq!(read[..bytes.len()], model[bytes]);
                }
            }
        }
    }
    let mut content = vec![0; model.len()];
    file.as_file().read_exact_at(&mut content, 0).unwrap();
    assert!(content == model);
}
