//! One request of a driver: the buffers of a descriptor chain, checked and copied once, so that the
//! guest cannot change them while they are used.

use std::collections::VecDeque;

use virtio_queue::DescriptorChain;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend};

use crate::vmm::kvm::boot::Memory;

/// The largest queue of any device, and the longest chain of descriptors, also of indirect ones.
pub(super) const MAX_QUEUE_SIZE: u16 = 256;

/// The driver broke the rules of virtio in a way that leaves no answer. The device then asks to be
/// reset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokenRequest;

/// The buffers of a request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// What the device reads.
    pub(super) readable: Buffers<'a>,
    /// What the device writes.
    pub(super) writable: Buffers<'a>,
}

impl<'a> Request<'a> {
    /// Takes the buffers of a chain, which is given up at its first error.
    pub(super) fn new(
        memory: &'a Memory,
        chain: DescriptorChain<&Memory>,
    ) -> Result<Self, BrokenRequest> {
        let (mut readable, mut writable) = (Buffers::new(memory), Buffers::new(memory));
        // The chain also ends where it cannot go on: at a descriptor outside the table or the
        // memory, or after as many as the table has, in a loop.
        let (mut goes_on, mut count) = (true, 0);
        for descriptor in chain {
            goes_on = descriptor.has_next();
            count += 1;
            let is_late = !descriptor.is_write_only() && writable.length > 0;
            if is_late || count > MAX_QUEUE_SIZE {
                return Err(BrokenRequest);
            }
            let buffers = match descriptor.is_write_only() {
                true => &mut writable,
                false => &mut readable,
            };
            buffers.push(descriptor.addr(), descriptor.len())?;
        }
        match goes_on {
            true => Err(BrokenRequest),
            false => Ok(Self { readable, writable }),
        }
    }
}

/// Pieces of the guest's memory, which are used from the front.
#[derive(Debug)]
pub(super) struct Buffers<'a> {
    memory: &'a Memory,
    pieces: VecDeque<(GuestAddress, u32)>,
    length: u64,
}

impl<'a> Buffers<'a> {
    fn new(memory: &'a Memory) -> Self {
        Self {
            memory,
            pieces: VecDeque::new(),
            length: 0,
        }
    }

    fn push(&mut self, address: GuestAddress, length: u32) -> Result<(), BrokenRequest> {
        if !self.memory.check_range(address, length as usize) {
            return Err(BrokenRequest);
        }
        if length > 0 {
            self.pieces.push_back((address, length));
            self.length += u64::from(length);
        }
        Ok(())
    }

    /// How many bytes are left.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Takes the last byte off.
    pub(super) fn split_last(&mut self) -> Option<Self> {
        let (address, length) = self.pieces.back_mut()?;
        *length -= 1;
        let last = address.unchecked_add(u64::from(*length));
        if *length == 0 {
            self.pieces.pop_back();
        }
        self.length -= 1;
        let mut taken = Self::new(self.memory);
        taken.push(last, 1).ok()?;
        Some(taken)
    }

    /// Fills `bytes` from the front.
    pub(super) fn read(&mut self, mut bytes: &mut [u8]) -> Result<(), BrokenRequest> {
        while !bytes.is_empty() {
            let (address, taken) = self.take(bytes.len()).ok_or(BrokenRequest)?;
            let (piece, rest) = bytes.split_at_mut(taken);
            self.memory
                .read_slice(piece, address)
                .map_err(|_| BrokenRequest)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Writes `bytes` to the front.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), BrokenRequest> {
        while !bytes.is_empty() {
            let (address, taken) = self.take(bytes.len()).ok_or(BrokenRequest)?;
            let (piece, rest) = bytes.split_at(taken);
            self.memory
                .write_slice(piece, address)
                .map_err(|_| BrokenRequest)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Takes the first piece, or its first `most` bytes.
    fn take(&mut self, most: usize) -> Option<(GuestAddress, usize)> {
        let (address, length) = self.pieces.front_mut()?;
        let (start, taken) = (*address, most.min(*length as usize));
        // No more than the length, which is 32 bits.
        *length -= taken as u32;
        *address = address.unchecked_add(taken as u64);
        if *length == 0 {
            self.pieces.pop_front();
        }
        self.length -= taken as u64;
        Some((start, taken))
    }
}
