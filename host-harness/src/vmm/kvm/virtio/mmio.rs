//! A device between the vCPU's thread, which accesses its registers, and its own thread, which
//! serves its queues.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use virtio_bindings::virtio_mmio::{
    VIRTIO_MMIO_CONFIG, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INTERRUPT_STATUS,
    VIRTIO_MMIO_QUEUE_NOTIFY, VIRTIO_MMIO_STATUS,
};
use vmm_sys_util::{
    epoll::{ControlOperation, Epoll, EpollEvent, EventSet},
    eventfd::EventFd,
};

use super::{
    device::VirtioDevice, gate::Gate, interrupt::Interrupt, request::MAX_QUEUE_SIZE,
    transport::Transport,
};
use crate::vmm::kvm::{boot::Memory, event::new_event};

/// The events of a device's source; others have 0.
const SOURCE: u64 = 1;

/// Asks the threads of all devices to end.
pub(super) struct Quit {
    asked: AtomicBool,
    event: EventFd,
}

impl Quit {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            asked: AtomicBool::new(false),
            event: new_event()?,
        })
    }

    /// A thread that serves a request ends after it.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        // It fails only if 2^64 - 2 events are pending. It is never read.
        let _ = self.event.write(1);
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A device of a running guest.
pub(super) struct MmioDevice {
    /// An access of the guest waits for at most one request.
    transport: Gate,
    /// See [`VirtioDevice::source`]. The transport has it open.
    source: Option<RawFd>,
    /// Set when the run is over.
    leave: Arc<AtomicBool>,
    /// Not behind the lock, since a driver looks at it in its interrupt handler.
    interrupt: Arc<Interrupt>,
    /// Set when the driver notifies the device of a queue.
    notified: Vec<EventFd>,
    /// The queue that the vCPU's thread serves, at the notification.
    served_at_once: Option<usize>,
}

impl MmioDevice {
    /// `line` interrupts the guest at each write, and must not block. Once `leave` is set, accesses
    /// have no effect while a request is served, and do not wait for it.
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        memory: Memory,
        line: EventFd,
        leave: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let interrupt = Arc::new(Interrupt::new(line));
        let transport = Transport::new(device, memory, Arc::clone(&interrupt));
        let notified = (0..transport.queue_count()).map(|_| new_event());
        Ok(Self {
            notified: notified.collect::<io::Result<_>>()?,
            source: transport.source(),
            transport: Gate::new(transport),
            leave,
            interrupt,
            served_at_once: None,
        })
    }

    /// Has the vCPU's thread serve this queue, in [`write`](Self::write).
    pub(super) fn serving_at_once(mut self, queue: usize) -> Self {
        self.served_at_once = Some(queue);
        self
    }

    /// The queues that the device's thread serves, and the events that stand for the writes of
    /// their numbers to `QueueNotify`.
    pub(super) fn notified(&self) -> impl Iterator<Item = (usize, &EventFd)> {
        let at_once = self.served_at_once;
        let all = self.notified.iter().enumerate();
        all.filter(move |(queue, _)| Some(*queue) != at_once)
    }

    /// Handles the guest's read at `offset`. Registers are read as a whole; other reads yield 0.
    pub(super) fn read(&self, offset: u32, data: &mut [u8]) {
        if offset >= VIRTIO_MMIO_CONFIG {
            let offset = (offset - VIRTIO_MMIO_CONFIG) as usize;
            let read = self.access(|transport| transport.read_config(offset, data));
            return read.unwrap_or_default();
        }
        let value = match offset {
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            register => self
                .access(|transport| transport.read(register))
                .unwrap_or(0),
        };
        match <&mut [u8; 4]>::try_from(&mut *data) {
            Ok(bytes) => *bytes = value.to_le_bytes(),
            Err(_) => data.fill(0),
        }
    }

    /// Handles the guest's write at `offset`. Registers are written as a whole; other writes are
    /// ignored.
    pub(super) fn write(&self, offset: u32, data: &[u8]) {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else {
            return;
        };
        let value = u32::from_le_bytes(bytes);
        match offset {
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt.acknowledge(value),
            // If the device's thread serves the queue, KVM itself has written to the event.
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value as usize),
            VIRTIO_MMIO_STATUS => {
                let _ = self.access(|transport| transport.write(offset, value));
                // What a driver added before it let the device run.
                self.notify_all();
            }
            register => {
                let _ = self.access(|transport| transport.write(register, value));
            }
        }
    }

    /// Has the queue be served, or serves it.
    pub(super) fn notify(&self, queue: usize) {
        if self.served_at_once == Some(queue) {
            // The guest's code adds no requests meanwhile. One of its disks may, since disks write
            // its memory: so no more are served than a queue holds.
            for _ in 0..MAX_QUEUE_SIZE {
                if self.access(|transport| transport.serve_next(queue)) != Some(true) {
                    break;
                }
            }
        } else if let Some(event) = self.notified.get(queue) {
            // As in `Quit::ask`.
            let _ = event.write(1);
        }
    }

    fn notify_all(&self) {
        (0..self.notified.len()).for_each(|queue| self.notify(queue));
    }

    /// The body of the device's thread: serves its queues until it is asked to quit.
    pub(super) fn work(&self, events: &Epoll, quit: &Quit) {
        let mut happened = [EpollEvent::default(); 1];
        while !quit.is_asked() {
            // An error is that of a signal: the descriptors are valid.
            let count = events.wait(-1, &mut happened).unwrap_or(0);
            if happened[..count].iter().any(|event| event.data() == SOURCE) {
                self.notify_all();
            }
            self.serve(quit);
        }
    }

    /// Makes what the device's thread waits for.
    pub(super) fn events(&self, quit: &Quit) -> io::Result<Epoll> {
        let events = Epoll::new()?;
        for event in self.notified.iter().chain([&quit.event]) {
            let descriptor = event.as_raw_fd();
            let readable = EpollEvent::new(EventSet::IN, 0);
            events.ctl(ControlOperation::Add, descriptor, readable)?;
        }
        if let Some(source) = self.source {
            // Each change tells once: the device may leave what came until the driver has room.
            let changes = EventSet::IN | EventSet::OUT | EventSet::EDGE_TRIGGERED;
            events.ctl(
                ControlOperation::Add,
                source,
                EpollEvent::new(changes, SOURCE),
            )?;
        }
        Ok(events)
    }

    /// Serves the queues of which the driver has notified the device.
    pub(super) fn serve(&self, quit: &Quit) {
        for (queue, event) in self.notified.iter().enumerate() {
            // Before the look at the queue, so that what comes during it is seen again.
            if event.read().is_err() {
                continue;
            }
            let mut has_news = false;
            let mut is_served = || {
                let serve = |transport: &mut Transport| {
                    let is_served = transport.serve_next(queue);
                    has_news |= transport.take_news();
                    is_served
                };
                !quit.is_asked() && self.transport.serve(serve)
            };
            if (0..MAX_QUEUE_SIZE).all(|_| is_served()) {
                // There may be more, after the other queues have had their turn.
                let _ = event.write(1);
            }
            if has_news {
                let others = (0..self.notified.len()).filter(|other| *other != queue);
                others.for_each(|other| self.notify(other));
            }
        }
    }

    fn access<R>(&self, access: impl FnOnce(&mut Transport) -> R) -> Option<R> {
        self.transport.access(&self.leave, access)
    }
}
