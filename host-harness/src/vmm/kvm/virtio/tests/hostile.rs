//! Drivers that break the rules: the device asks for a reset, and works again after it.

use super::*;
use crate::vmm::kvm::virtio::driver::{AVAILABLE, MEMORY};

/// Has a driver do this with a device that runs, and then use it as it should.
fn breaks(what: &str, act: impl Fn(&mut Driver)) {
    let mut driver = Driver::new(Rng);
    act(&mut driver);
    assert_eq!(driver.status(), 0x4f, "{what}");
    assert_eq!(driver.interrupts(), VIRTIO_MMIO_INT_CONFIG, "{what}");
    assert_eq!(driver.take(), None, "{what}");
    // It does nothing more.
    driver.chain(&[], &[8]);
    driver.submit();
    assert_eq!(driver.take(), None, "{what}");
    driver.set_up();
    assert_eq!(driver.request(&[], &[8]).len(), 8, "{what}");
    assert_eq!(driver.status(), 0xf, "{what}");
}

#[test]
fn a_chain_that_does_not_end_is_broken() {
    breaks("it leads to itself", |driver| {
        driver.descriptor(0, BUFFERS, 8, WRITE | NEXT, 0);
        driver.submit();
    });
    breaks("two lead to each other", |driver| {
        driver.descriptor(0, BUFFERS, 0, NEXT, 1);
        driver.descriptor(1, BUFFERS, 0, NEXT, 0);
        driver.submit();
    });
    breaks("it leads out of the table", |driver| {
        driver.descriptor(0, BUFFERS, 8, WRITE | NEXT, QUEUE_SIZE);
        driver.submit();
    });
}

#[test]
fn buffers_outside_the_memory_are_broken() {
    for (address, length) in [
        (MEMORY as u64, 1),
        (MEMORY as u64 - 1, 2),
        (u64::MAX, 1),
        (u64::MAX - 1, 8),
        (0, u32::MAX),
    ] {
        breaks("a buffer", |driver| {
            driver.descriptor(0, address, length, WRITE, 0);
            driver.submit();
        });
    }
}

#[test]
fn a_request_without_room_for_an_answer_is_broken() {
    breaks("nothing to write to", |driver| {
        driver.chain(&[b"text"], &[]);
        driver.submit();
    });
    breaks("an empty buffer", |driver| {
        driver.chain(&[], &[0]);
        driver.submit();
    });
    breaks("one to read after one to write", |driver| {
        driver.descriptor(0, BUFFERS, 8, WRITE | NEXT, 1);
        driver.descriptor(1, BUFFERS, 8, 0, 0);
        driver.submit();
    });
}

#[test]
fn indexes_that_run_ahead_are_broken() {
    for ahead in [QUEUE_SIZE + 1, 0x8000, 0xffff] {
        breaks("the ring's index", |driver| {
            driver.chain(&[], &[8]);
            driver.bench.set(AVAILABLE + 2, &ahead.to_le_bytes());
            driver.notify();
        });
    }
    for head in [QUEUE_SIZE, 0xffff] {
        breaks("a chain's first descriptor", |driver| {
            driver.bench.make_available(head);
            driver.notify();
        });
    }
}

#[test]
fn tables_of_descriptors_are_bounded() {
    const TABLE: u64 = 0x8000;
    for length in [0, 1, 15, 17, 16 << 16, u32::MAX] {
        breaks("a table's length", |driver| {
            driver.descriptor(0, TABLE, length, INDIRECT, 0);
            driver.submit();
        });
    }
    breaks("a table in a table", |driver| {
        driver.descriptor(0, TABLE, 32, INDIRECT, 0);
        driver.descriptor_at(TABLE, 0, TABLE, 32, INDIRECT, 0);
        driver.submit();
    });
    breaks("a table outside the memory", |driver| {
        driver.descriptor(0, u64::MAX - 15, 32, INDIRECT, 0);
        driver.submit();
    });
    breaks("a long loop in a table", |driver| {
        driver.descriptor(0, TABLE, 16 * 0xffff, INDIRECT, 0);
        driver.descriptor_at(TABLE, 0, BUFFERS, 8, WRITE | NEXT, 0);
        driver.submit();
    });
}

#[test]
fn a_disk_without_header_or_status_is_broken() {
    use crate::vmm::{device::DiskFile, kvm::virtio::blk::Disk};
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(512).unwrap();
    let open = || DiskFile::open(file.path(), true, 0).unwrap();
    for (readable, writable) in [(&[0_u8; 15][..], 1), (&[0; 16], 0), (&[], 1), (&[], 0)] {
        let mut driver = Driver::new(Disk::new(open()));
        driver.chain(&[readable], &[writable]);
        driver.submit();
        assert_eq!((driver.status(), driver.take()), (0x4f, None));
    }
}

#[test]
fn notifications_of_other_queues_are_ignored() {
    let driver = Driver::new(Rng);
    for queue in [1, 2, u32::MAX] {
        driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
    }
    driver.bench.device.serve(&driver.quit);
    assert_eq!(driver.status(), 0xf);
}

#[test]
fn the_longest_request_is_cut() {
    let mut driver = Driver::new(Rng);
    // Every descriptor has the whole memory above the queue.
    let length = MEMORY as u32 - 0x4000;
    for index in 0..QUEUE_SIZE {
        let next = if index + 1 < QUEUE_SIZE { NEXT } else { 0 };
        driver.descriptor(index, BUFFERS, length, WRITE | next, index + 1);
    }
    driver.submit();
    assert_eq!(driver.take(), Some((0, 64 << 10)));
}
