//! A virtqueue, and the requests in it: their buffers belong to it while the device has them.

use alloc::{boxed::Box, vec::Vec};
use core::{
    mem::{ManuallyDrop, replace},
    ptr::NonNull,
    sync::atomic::{Ordering, fence},
    task::Waker,
};

use virtio_drivers::{queue::VirtQueue, transport::Transport};

use crate::{
    SetupError,
    error::RequestError,
    hal::OneToOne,
    message::{Direction, Message, Reply},
    parts::{Buffer, Frame, Parts, on_parts, with_parts},
    waiting::Waiting,
};

/// Descriptors of the longest request: header, data, footer.
const MOST_PARTS: usize = 3;

enum Slot {
    Free,
    /// The device has it. Without an owner its request was dropped.
    InFlight {
        parts: Parts,
        frame: u16,
        owner: Option<u64>,
        /// `None` while the owner was woken and has not polled since, or is parked.
        waker: Option<Waker>,
        /// The owner keeps the request and polls it later, perhaps.
        parked: bool,
    },
    /// The device has given it back.
    Done {
        parts: Parts,
        written: u32,
        footer: [u8; 16],
    },
}

/// The slot, the owner unless it was dropped, and its waker.
pub(crate) type TakenBack = (usize, Option<u64>, Option<Waker>);

/// The device returned what it does not have.
pub(crate) struct WrongToken;

pub(crate) struct Ring<const SIZE: usize> {
    queue: ManuallyDrop<VirtQueue<OneToOne, SIZE>>,
    index: u16,
    /// The most descriptors of a request.
    most_parts: usize,
    /// As many as there were requests at once that have not ended. Those that are done need no room
    /// in the queue, so that others need not wait until they are polled.
    slots: Vec<Slot>,
    /// The slots that are free.
    free: Vec<usize>,
    /// For each descriptor that is a request's first, the slot.
    by_head: [Option<usize>; SIZE],
    /// As many as there are descriptors.
    frames: NonNull<Frame>,
    /// The frames that no request has.
    free_frames: Vec<u16>,
    waiting: Waiting,
}

// SAFETY: the frames and buffers belong to the ring.
unsafe impl<const SIZE: usize> Send for Ring<SIZE> {}

impl<const SIZE: usize> Ring<SIZE> {
    /// Sets up queue `index`. The device must be reset before the ring is [freed](Self::free), and
    /// a ring that is dropped is leaked.
    pub(crate) fn new(
        transport: &mut impl Transport,
        index: u16,
        most_parts: usize,
    ) -> Result<Self, SetupError> {
        debug_assert!(most_parts <= MOST_PARTS.min(SIZE));
        let queue = VirtQueue::new(transport, index, false, false);
        let queue = queue.map_err(|error| match error {
            virtio_drivers::Error::DmaError => SetupError::NoMemory,
            _ => SetupError::Queue,
        })?;
        let frame = Frame {
            header: [0; 16],
            footer: [0; 16],
        };
        let frames: Box<[Frame; SIZE]> = Box::new([frame; SIZE]);
        Ok(Self {
            queue: ManuallyDrop::new(queue),
            index,
            most_parts,
            slots: Vec::with_capacity(SIZE),
            free: Vec::new(),
            by_head: [None; SIZE],
            frames: NonNull::from(Box::leak(frames)).cast(),
            free_frames: (0..SIZE as u16).rev().collect(),
            waiting: Waiting::default(),
        })
    }

    fn frame(&self, index: u16) -> NonNull<Frame> {
        debug_assert!(usize::from(index) < SIZE);
        // SAFETY: there are as many frames as descriptors.
        unsafe { self.frames.add(index.into()) }
    }

    fn has_room(&self) -> bool {
        self.queue.available_desc() >= self.most_parts
    }

    /// Whether request `id` is the next to be sent, and has room.
    pub(crate) fn may_send(&self, id: u64) -> bool {
        self.waiting.is_next(id) && self.has_room()
    }

    /// Lets request `id` wait for room. A waker that is not needed is left in `waker`.
    pub(crate) fn wait_for_room(&mut self, id: u64, waker: &mut Option<Waker>) {
        self.waiting.add(id, waker);
    }

    /// Undoes [`wait_for_room`](Self::wait_for_room), if that was called.
    pub(crate) fn stop_waiting(&mut self, id: u64) -> Option<Waker> {
        self.waiting.remove(id)
    }

    /// Takes the waker of the first request that waits for room, if there is some.
    pub(crate) fn wake_for_room(&mut self) -> Option<Waker> {
        if !self.has_room() {
            return None;
        }
        self.waiting.take_first_waker()
    }

    /// Sends a request, for which there is room, and returns its slot.
    pub(crate) fn send(
        &mut self,
        transport: &mut impl Transport,
        message: Message,
        owner: u64,
        waker: Option<Waker>,
    ) -> usize {
        let index = self.free_frames.pop().expect("there is room");
        let frame = self.frame(index);
        let content = Frame {
            header: message.header,
            // No status that a device would write.
            footer: [0xff; 16],
        };
        // SAFETY: a frame of the ring, in use by no request.
        unsafe { frame.write(content) };
        let parts = Parts {
            header: message.header_length,
            data: Buffer::new(message.data),
            length: message.length,
            direction: message.direction,
            footer: message.footer_length,
        };
        let queue = &mut self.queue;
        let add = on_parts(|inputs, outputs| {
            // SAFETY: they belong to the slot until `pop_used` has returned this token.
            unsafe { queue.add(inputs, outputs) }
        });
        // SAFETY: the device does not have them yet.
        let head = unsafe { with_parts(frame, &parts, add) };
        let head = head.expect("there is room, and no part is empty");
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        self.by_head[usize::from(head)] = Some(slot);
        self.slots[slot] = Slot::InFlight {
            parts,
            frame: index,
            owner: Some(owner),
            waker,
            parked: false,
        };
        // The queue's index is stored before the device's flags are loaded. Without this fence the
        // processor may swap the two, and a device that has just gone to sleep is not notified.
        fence(Ordering::SeqCst);
        if self.queue.should_notify() {
            transport.notify(self.index);
        }
        slot
    }

    /// Takes one request that the device has given back. `Ok(None)`: there is none.
    pub(crate) fn take_back(&mut self) -> Result<Option<TakenBack>, WrongToken> {
        let Some(head) = self.queue.peek_used() else {
            return Ok(None);
        };
        let by_head = self.by_head.get(usize::from(head)).copied().flatten();
        let slot = by_head.ok_or(WrongToken)?;
        let Slot::InFlight { parts, frame, .. } = &self.slots[slot] else {
            return Err(WrongToken);
        };
        let frame = self.frame(*frame);
        let queue = &mut self.queue;
        let pop = on_parts(|inputs, outputs| {
            // SAFETY: the parts that were sent with this token.
            unsafe { queue.pop_used(head, inputs, outputs) }
        });
        // SAFETY: the device says that it no longer has them.
        let written = unsafe { with_parts(frame, parts, pop) };
        // Another token than a moment ago.
        let written = written.map_err(|_| WrongToken)?;
        self.by_head[usize::from(head)] = None;
        // SAFETY: the device has given it back.
        let footer = unsafe { frame.read() }.footer;
        let Slot::InFlight {
            parts,
            frame,
            owner,
            waker,
            ..
        } = replace(&mut self.slots[slot], Slot::Free)
        else {
            unreachable!("it was in flight a moment ago")
        };
        self.free_frames.push(frame);
        if owner.is_some() {
            self.slots[slot] = Slot::Done {
                parts,
                written,
                footer,
            };
        } else {
            // SAFETY: the device has given it back.
            drop(unsafe { parts.data.into_box() });
            self.free.push(slot);
        }
        Ok(Some((slot, owner, waker)))
    }

    /// Takes the reply of a request that is done. If it is not, stores its waker, and leaves one
    /// that is not needed in `waker`.
    pub(crate) fn reply(&mut self, slot: usize, waker: &mut Option<Waker>) -> Option<Reply> {
        match &mut self.slots[slot] {
            Slot::Free => None,
            Slot::InFlight {
                waker: stored,
                parked,
                ..
            } => {
                *parked = false;
                core::mem::swap(stored, waker);
                None
            }
            Slot::Done { .. } => self.take_done(slot),
        }
    }

    /// Has the device interrupt when it gives a request back, or not. After switching this on,
    /// [`take_back`](Self::take_back) tells what came before.
    #[cfg(any(feature = "net", feature = "vsock"))]
    pub(crate) fn set_interrupts(&mut self, on: bool) {
        self.queue.set_dev_notify(on);
        // The flag is stored before the used index is loaded, as the device does it conversely.
        fence(Ordering::SeqCst);
    }

    fn take_done(&mut self, slot: usize) -> Option<Reply> {
        let Slot::Done {
            parts,
            written,
            footer,
        } = replace(&mut self.slots[slot], Slot::Free)
        else {
            return None;
        };
        self.free.push(slot);
        let writable = parts.footer
            + match parts.direction {
                Direction::ToDevice => 0,
                Direction::FromDevice => parts.length,
            };
        let result = if written as usize <= writable {
            Ok(written)
        } else {
            Err(RequestError::WrongAnswer)
        };
        Some(Reply {
            // SAFETY: the device has given it back.
            buffer: unsafe { parts.data.into_box() },
            result,
            footer,
        })
    }

    /// Gives a request up: what it has is freed when the device has given it back. Returns what the
    /// caller drops: this may be foreign code.
    pub(crate) fn abandon(&mut self, slot: usize) -> (Option<Reply>, Option<Waker>) {
        match &mut self.slots[slot] {
            Slot::InFlight { owner, waker, .. } => {
                *owner = None;
                (None, waker.take())
            }
            _ => (self.take_done(slot), None),
        }
    }

    /// Marks a request as one that is not polled for the time being. Returns its waker.
    #[cfg(any(test, feature = "console"))]
    pub(crate) fn park(&mut self, slot: usize) -> Option<Waker> {
        match &mut self.slots[slot] {
            Slot::InFlight { waker, parked, .. } => {
                *parked = true;
                waker.take()
            }
            _ => None,
        }
    }

    /// The id and the waker of one request that waits for the device, or for room.
    pub(crate) fn any_waiting(&mut self) -> Option<(u64, Option<Waker>)> {
        let in_flight = self.slots.iter_mut().find_map(|slot| match slot {
            Slot::InFlight {
                owner: Some(owner),
                waker,
                parked: false,
                ..
            } => Some((*owner, waker.take())),
            _ => None,
        });
        in_flight.or_else(|| self.waiting.first())
    }

    /// Takes one of the wakers that are stored.
    pub(crate) fn any_waker(&mut self) -> Option<Waker> {
        let in_flight = self.slots.iter_mut().find_map(|slot| match slot {
            Slot::InFlight { waker, .. } => waker.take(),
            _ => None,
        });
        in_flight.or_else(|| self.waiting.take_waker())
    }

    /// After a reset: makes every request as if the device had given it back, without an answer.
    ///
    /// # Safety
    ///
    /// The device was reset.
    pub(crate) unsafe fn take_all_back(&mut self) {
        for index in 0..self.slots.len() {
            match replace(&mut self.slots[index], Slot::Free) {
                Slot::Free => {}
                Slot::InFlight {
                    owner: None, parts, ..
                } => {
                    // SAFETY: the caller guarantees that the device no longer has it.
                    drop(unsafe { parts.data.into_box() });
                }
                other => self.slots[index] = other,
            }
        }
    }

    /// After a reset: takes the buffer of a request that was in flight.
    ///
    /// # Safety
    ///
    /// The device was reset.
    pub(crate) unsafe fn recover(&mut self, slot: usize) -> (Box<[u8]>, Option<Waker>) {
        match replace(&mut self.slots[slot], Slot::Free) {
            Slot::Free => (Box::default(), None),
            Slot::InFlight { parts, waker, .. } => {
                // SAFETY: the caller guarantees that the device no longer has it.
                (unsafe { parts.data.into_box() }, waker)
            }
            // SAFETY: the device has given it back.
            Slot::Done { parts, .. } => (unsafe { parts.data.into_box() }, None),
        }
    }

    /// Frees all memory.
    ///
    /// # Safety
    ///
    /// The device was reset, and the ring is not used again.
    pub(crate) unsafe fn free(&mut self) {
        for slot in 0..self.slots.len() {
            // SAFETY: the caller guarantees that the device was reset.
            drop(unsafe { self.recover(slot) });
        }
        // SAFETY: the caller guarantees that neither the device nor the driver uses it.
        unsafe { ManuallyDrop::drop(&mut self.queue) };
        let frames = self.frames.cast::<[Frame; SIZE]>();
        // SAFETY: they came from such a box, and nothing uses them any more.
        drop(unsafe { Box::from_raw(frames.as_ptr()) });
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        let is_in_flight = |slot: &&Slot| matches!(slot, Slot::InFlight { .. });
        self.slots.iter().filter(is_in_flight).count()
    }
}
