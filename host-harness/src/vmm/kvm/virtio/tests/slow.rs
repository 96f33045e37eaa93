//! Requests that the host serves slowly, or that have no end.

use super::*;
use crate::vmm::kvm::{
    boot::Memory,
    virtio::{
        Threads,
        driver::AVAILABLE,
        request::{BrokenRequest, MAX_QUEUE_SIZE, Request},
    },
};
use std::sync::{
    atomic::AtomicU32,
    mpsc::{Receiver, Sender},
};

/// Tells that it has begun with a request, and ends it when it may.
struct Slow {
    has_begun: Sender<()>,
    may_end: Receiver<()>,
}

impl VirtioDevice for Slow {
    fn id(&self) -> u32 {
        4
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn serve(&mut self, _: usize, _: Request<'_>) -> Result<u32, BrokenRequest> {
        let _ = self.has_begun.send(());
        let _ = self.may_end.recv();
        Ok(0)
    }
}

/// The vCPU's thread reads a register, and the run must end; the device's thread is in the host's
/// storage. Neither waits for it.
#[test]
fn a_slow_request_holds_up_no_end() {
    let ((has_begun, begun), (end, may_end)) = (channel(), channel());
    let mut driver = Driver::new(Slow { has_begun, may_end });
    let (device, quit) = (Arc::clone(&driver.bench.device), Arc::clone(&driver.quit));
    let mut threads = Threads::new(quit);
    let events = device.events(threads.quit()).unwrap();
    threads.spawn(0, Arc::clone(&device), events).unwrap();
    driver.chain(&[], &[8]);
    driver.bench.make_available(0);
    driver.bench.write(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    begun.recv().unwrap();
    let leave = Arc::clone(&driver.bench.leave);
    let accesses = thread::spawn(move || driver.status());
    thread::sleep(Duration::from_millis(50));
    assert!(!accesses.is_finished(), "the request is not yet served");
    leave.store(true, Ordering::SeqCst);
    // As a register where there is no device.
    assert_eq!(ends(|| accesses.join().unwrap()), 0);
    let threads = ends(move || threads.end());
    assert_eq!(threads, 1, "one thread is still in the request");
    end.send(()).unwrap();
}

/// Adds a request for each that it serves, as a disk can that writes to the queue.
struct Endless {
    memory: Memory,
    served: Arc<AtomicU32>,
}

impl VirtioDevice for Endless {
    fn id(&self) -> u32 {
        4
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn serve(&mut self, _: usize, _: Request<'_>) -> Result<u32, BrokenRequest> {
        let served = self.served.fetch_add(1, Ordering::SeqCst);
        let index = (served + 2) as u16;
        let place = GuestAddress(AVAILABLE + 2);
        self.memory.store(index, place, Ordering::SeqCst).unwrap();
        Ok(8)
    }
}

/// A notification has a bounded number of requests served, by the device's thread, which then looks
/// at the other queues, or by the vCPU's.
#[test]
fn a_queue_without_end_is_served_in_turns() {
    for at_once in [false, true] {
        let served = Arc::new(AtomicU32::new(0));
        let mut bench = Bench::with(|memory| {
            Box::new(Endless {
                memory: memory.clone(),
                served: Arc::clone(&served),
            })
        });
        if at_once {
            let device = Arc::into_inner(bench.device).unwrap();
            bench.device = Arc::new(device.serving_at_once(0));
        }
        bench.set_up();
        let mut driver = Driver {
            bench,
            taken: 0,
            quit: Arc::new(Quit::new().unwrap()),
        };
        driver.chain(&[], &[8]);
        driver.bench.make_available(0);
        for round in 1..4 {
            driver.notify();
            let all = u32::from(MAX_QUEUE_SIZE) * round;
            assert_eq!(served.load(Ordering::SeqCst), all, "{at_once}");
        }
    }
}
