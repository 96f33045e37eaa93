//! A device with its thread.

use super::*;
use std::hint;

/// Runs `drive` beside the device's thread, which ends then.
fn beside(drive: impl FnOnce(&mut Driver)) {
    let mut driver = Driver::new(Rng);
    let works = driver.start_thread();
    drive(&mut driver);
    driver.end(works);
}

#[test]
fn the_thread_of_an_idle_device_ends() {
    beside(|_| {});
}

#[test]
fn no_request_is_lost_when_notifications_are_left_out() {
    const REQUESTS: u32 = 30_000;
    beside(|driver| {
        driver.chain(&[], &[8]);
        for request in 0..REQUESTS {
            // So that some come just when the device has found its queue empty.
            (0..request % 250).for_each(|_| hint::spin_loop());
            driver.bench.make_available(0);
            // As a driver does: behind a fence, which `make_available` ends with.
            let flags: u16 = driver.bench.memory.read_obj(GuestAddress(USED)).unwrap();
            if flags & 1 == 0 {
                driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
            }
            let asked = Instant::now();
            while driver.take().is_none() {
                assert!(asked.elapsed() < LIMIT, "one is lost");
                hint::spin_loop();
            }
        }
    });
}

#[test]
fn a_reset_during_requests_is_safe() {
    beside(|driver| {
        for round in 0..2000 {
            driver.chain(&[], &[64, 1000]);
            for _ in 0..QUEUE_SIZE {
                driver.bench.make_available(0);
            }
            driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
            if round % 3 == 0 {
                thread::yield_now();
            }
            driver.bench.write(VIRTIO_MMIO_STATUS, 0);
            // From here on the memory is the driver's alone.
            driver.bench.set(USED, &[0xaa; 64]);
            thread::yield_now();
            let mut used = [0; 64];
            let place = GuestAddress(USED);
            driver.bench.memory.read_slice(&mut used, place).unwrap();
            assert_eq!(used, [0xaa; 64]);
            driver.set_up();
        }
    });
}
