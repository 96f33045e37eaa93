//! The registers, and the steps in which a driver sets a device up.

use super::*;
use crate::vmm::kvm::virtio::driver::{AVAILABLE, STATUS_STEPS};
use rustix::io::{FdFlags, fcntl_getfd};
use std::os::fd::{AsRawFd, BorrowedFd};

fn bench() -> Bench {
    Bench::new(Box::new(Rng))
}

fn accept(bench: &Bench, low: u32, high: u32) {
    for (half, value) in [(0, low), (1, high)] {
        bench.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        bench.write(VIRTIO_MMIO_DRIVER_FEATURES, value);
    }
}

#[test]
fn a_device_says_what_it_is() {
    let bench = bench();
    assert_eq!(
        bench.read(VIRTIO_MMIO_MAGIC_VALUE),
        u32::from_le_bytes(*b"virt")
    );
    assert_eq!(bench.read(VIRTIO_MMIO_VERSION), 2);
    assert_eq!(bench.read(VIRTIO_MMIO_DEVICE_ID), 4);
    assert_eq!(bench.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
    bench.write(VIRTIO_MMIO_QUEUE_SEL, 1);
    assert_eq!(
        bench.read(VIRTIO_MMIO_QUEUE_NUM_MAX),
        0,
        "there is one queue"
    );
    bench.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    assert_eq!(bench.read(VIRTIO_MMIO_DEVICE_FEATURES), 1, "VERSION_1");
    bench.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
    assert_eq!(bench.read(VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

#[test]
fn registers_are_accessed_as_a_whole() {
    let bench = bench();
    for width in [0, 1, 2, 3, 5, 8] {
        let mut bytes = vec![0xff; width];
        bench.device.read(VIRTIO_MMIO_MAGIC_VALUE, &mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0));
        bench.device.write(VIRTIO_MMIO_STATUS, &vec![1; width]);
        assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0);
    }
}

#[test]
fn features_must_be_offered_and_include_version_1() {
    for (low, high, accepted) in [(0, 1, true), (0, 0, false), (1, 1, false), (0, 3, false)] {
        let bench = bench();
        bench.write(VIRTIO_MMIO_STATUS, 3);
        accept(&bench, low, high);
        bench.write(VIRTIO_MMIO_STATUS, 0xb);
        assert_eq!(
            bench.read(VIRTIO_MMIO_STATUS) == 0xb,
            accepted,
            "{low:#x} {high:#x}"
        );
    }
    let bench = bench();
    accept(&bench, 0, 1);
    bench.write(VIRTIO_MMIO_STATUS, 8);
    assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0, "no driver has come");
}

#[test]
fn there_are_two_halves_of_features() {
    let bench = bench();
    bench.write(VIRTIO_MMIO_STATUS, 3);
    accept(&bench, 0, 1);
    for half in [2, u32::MAX / 32 + 1, u32::MAX] {
        bench.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        bench.write(VIRTIO_MMIO_DRIVER_FEATURES, u32::MAX);
    }
    bench.write(VIRTIO_MMIO_STATUS, 0xb);
    assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0xb);
}

#[test]
fn no_device_runs_before_its_features_are_accepted() {
    let bench = bench();
    for status in [1, 3, 7] {
        bench.write(VIRTIO_MMIO_STATUS, status);
    }
    assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 3);
    bench.write(VIRTIO_MMIO_QUEUE_READY, 1);
    assert_eq!(bench.read(VIRTIO_MMIO_QUEUE_READY), 0);
}

#[test]
fn features_stay_when_they_are_accepted() {
    let mut bench = bench();
    bench.set_up();
    accept(&bench, 1, 0);
    bench.write(VIRTIO_MMIO_STATUS, 0xf);
    assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0xf);
    // Bits are only added.
    bench.write(VIRTIO_MMIO_STATUS, 1);
    assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0xf);
}

#[test]
fn a_queue_outside_the_memory_is_refused() {
    for (register, value) in [
        (VIRTIO_MMIO_QUEUE_DESC_LOW, 0xff_f000),
        (VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 1),
        (VIRTIO_MMIO_QUEUE_USED_LOW, 0xfffc),
    ] {
        let bench = bench();
        bench.write(VIRTIO_MMIO_STATUS, 3);
        accept(&bench, 0, 1);
        bench.write(VIRTIO_MMIO_STATUS, 0xb);
        bench.write(VIRTIO_MMIO_QUEUE_NUM, 16);
        bench.write(VIRTIO_MMIO_QUEUE_DESC_LOW, DESCRIPTORS as u32);
        bench.write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAILABLE as u32);
        bench.write(VIRTIO_MMIO_QUEUE_USED_LOW, USED as u32);
        bench.write(register, value);
        bench.write(VIRTIO_MMIO_QUEUE_READY, 1);
        assert_eq!(bench.read(VIRTIO_MMIO_QUEUE_READY), 0, "{register:#x}");
    }
}

#[test]
fn a_size_that_no_queue_can_have_needs_a_reset() {
    for size in [0, 3, 128, 1 << 16] {
        let bench = bench();
        bench.write(VIRTIO_MMIO_STATUS, 3);
        accept(&bench, 0, 1);
        bench.write(VIRTIO_MMIO_STATUS, 0xb);
        bench.write(VIRTIO_MMIO_QUEUE_NUM, size);
        assert_eq!(bench.read(VIRTIO_MMIO_STATUS), 0x4b, "{size}");
    }
}

#[test]
fn a_running_queue_is_not_moved_but_can_be_stopped() {
    let mut driver = Driver::new(Rng);
    driver.bench.write(VIRTIO_MMIO_QUEUE_USED_LOW, 0x5000);
    driver.request(&[], &[8]);
    driver.bench.write(VIRTIO_MMIO_QUEUE_READY, 0);
    assert_eq!(driver.bench.read(VIRTIO_MMIO_QUEUE_READY), 0);
    driver.submit();
    assert_eq!(driver.take(), None);
    assert_eq!(driver.status(), STATUS_STEPS[3]);
}

#[test]
fn a_reset_forgets_everything() {
    let mut driver = Driver::new(Rng);
    driver.chain(&[], &[8]);
    driver.submit();
    driver.bench.write(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.bench.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    assert_eq!(driver.bench.read(VIRTIO_MMIO_QUEUE_READY), 0);
    driver.submit();
    let _ = driver.bench.line.read();
    driver.set_up();
    driver.request(&[], &[8]);
}

/// A process that is started beside the guest does not inherit them.
#[test]
fn events_are_closed_in_other_programs() {
    let driver = Driver::new(Rng);
    for (_, event) in driver.bench.device.notified() {
        // SAFETY: the device holds it.
        let event = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
        assert!(fcntl_getfd(event).unwrap().contains(FdFlags::CLOEXEC));
    }
}

#[test]
fn requests_of_before_the_start_are_served_at_it() {
    let mut driver = Driver::new(Rng);
    driver.chain(&[], &[8]);
    driver.bench.make_available(0);
    // Without a notification.
    driver.bench.write(VIRTIO_MMIO_STATUS, STATUS_STEPS[3]);
    driver.bench.device.serve(&driver.quit);
    assert_eq!(driver.take(), Some((0, 8)));
}
