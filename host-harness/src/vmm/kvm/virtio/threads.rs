//! The threads of the devices, and their end.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use vmm_sys_util::epoll::Epoll;

use super::mmio::{MmioDevice, Quit};

/// How long the end of a run waits for the requests that are being served.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// The threads, which end when this is dropped.
pub(super) struct Threads {
    quit: Arc<Quit>,
    running: Vec<JoinHandle<()>>,
    /// Each thread has a sender, and nothing is sent: it tells that all have ended.
    alive: Option<Sender<()>>,
    end: Receiver<()>,
}

impl Threads {
    pub(super) fn new(quit: Arc<Quit>) -> Self {
        let (alive, end) = channel();
        Self {
            quit,
            running: Vec::new(),
            alive: Some(alive),
            end,
        }
    }

    /// Starts the thread of a device, which works at these events.
    pub(super) fn spawn(
        &mut self,
        index: usize,
        device: Arc<MmioDevice>,
        events: Epoll,
    ) -> io::Result<()> {
        let (quit, alive) = (Arc::clone(&self.quit), self.alive.clone());
        let thread = Builder::new()
            .name(format!("virtio {index}"))
            .spawn(move || {
                device.work(&events, &quit);
                drop(alive);
            })?;
        self.running.push(thread);
        Ok(())
    }

    pub(super) fn quit(&self) -> &Quit {
        &self.quit
    }

    /// Ends the threads, and returns how many have not ended yet: their requests wait for the
    /// host's storage. Each ends with its request, and then gives up what it holds: the guest's
    /// memory, and the disk's file with its lock.
    pub(super) fn end(&mut self) -> usize {
        self.quit.ask();
        self.alive = None;
        let end = Instant::now() + LAST_REQUESTS;
        let all_ended = loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.end.recv_timeout(left) {
                Ok(()) => {}
                Err(ended) => break ended == RecvTimeoutError::Disconnected,
            }
        };
        let mut left = 0;
        for thread in self.running.drain(..) {
            if all_ended || thread.is_finished() {
                // It never panics; if it did, its message is on standard error.
                let _ = thread.join();
            } else {
                left += 1;
            }
        }
        left
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}
