//! The console (virtio 1.2, 5.3), with one port and no size: what the guest sends appears on its
//! console, and what it receives is the run's input.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;

use super::{
    device::{Answer, VirtioDevice},
    request::{BrokenRequest, Buffers, Request},
};

/// The queues, by what the guest does with them.
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

const QUEUE_SIZES: [u16; 2] = [64, 64];

/// The most bytes that one request sends. All requests of a queue together are held at most.
const MAX_OUTPUT: u64 = 64 << 10;

/// How much input is held that the guest has not received.
const MAX_INPUT: usize = 4096;

/// What a console exchanges with the rest of the VMM.
#[derive(Default)]
pub(super) struct Port(Mutex<Buffered>);

#[derive(Default)]
struct Buffered {
    input: VecDeque<u8>,
    output: Vec<u8>,
}

impl Port {
    /// Takes as much input as there is room for, and returns its length.
    pub(super) fn add_input(&self, bytes: &[u8]) -> usize {
        let input = &mut self.buffered().input;
        let taken = bytes.len().min(MAX_INPUT - input.len());
        input.extend(&bytes[..taken]);
        taken
    }

    /// Takes what the guest has sent.
    pub(super) fn take_output(&self) -> Vec<u8> {
        mem::take(&mut self.buffered().output)
    }

    fn buffered(&self) -> MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Console {
    port: Arc<Port>,
}

impl Console {
    pub(super) fn new(port: Arc<Port>) -> Self {
        Self { port }
    }

    fn send(&self, mut from: Buffers<'_>) -> Result<u32, BrokenRequest> {
        if from.length() > MAX_OUTPUT {
            return Err(BrokenRequest);
        }
        let mut bytes = vec![0; from.length() as usize];
        from.read(&mut bytes)?;
        self.port.buffered().output.extend(bytes);
        Ok(0)
    }

    fn receive(&self, mut to: Buffers<'_>) -> Result<u32, BrokenRequest> {
        if to.length() == 0 {
            return Err(BrokenRequest);
        }
        let input = &mut self.port.buffered().input;
        let length = to.length().min(input.len() as u64) as usize;
        let bytes: Vec<u8> = input.drain(..length).collect();
        to.write(&bytes)?;
        // At most `MAX_INPUT`.
        Ok(length as u32)
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn answer(&mut self, queue: usize) -> Answer {
        match queue == TRANSMIT || !self.port.buffered().input.is_empty() {
            true => Answer::Now,
            false => Answer::Later,
        }
    }

    fn serve(&mut self, queue: usize, request: Request<'_>) -> Result<u32, BrokenRequest> {
        match queue {
            TRANSMIT => self.send(request.readable),
            _ => self.receive(request.writable),
        }
    }
}
