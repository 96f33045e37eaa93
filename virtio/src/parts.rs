//! What a request's descriptors point to.

use alloc::boxed::Box;
use core::ptr::NonNull;

use crate::message::Direction;

/// The bytes before and after a request's data, which the driver writes and reads. The device has
/// their addresses, so they lie in memory that never moves.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Frame {
    pub(crate) header: [u8; 16],
    pub(crate) footer: [u8; 16],
}

/// A buffer without a `Box`, whose moves would claim that nothing else accesses the memory. It is
/// leaked, not dropped, unless it is made a `Box` again.
pub(crate) struct Buffer(NonNull<[u8]>);

impl Buffer {
    pub(crate) fn new(buffer: Box<[u8]>) -> Self {
        Self(NonNull::from(Box::leak(buffer)))
    }

    /// # Safety
    ///
    /// The device no longer has it.
    pub(crate) unsafe fn into_box(self) -> Box<[u8]> {
        // SAFETY: it came from a box, once; the caller guarantees that nothing else has it.
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

/// What a slot's descriptors describe.
pub(crate) struct Parts {
    pub(crate) header: usize,
    pub(crate) data: Buffer,
    /// As much of the data as they describe.
    pub(crate) length: usize,
    pub(crate) direction: Direction,
    pub(crate) footer: usize,
}

/// Gives a closure the lifetimes that [`with_parts`] needs.
pub(crate) fn on_parts<R, F>(f: F) -> F
where
    F: for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
{
    f
}

/// Calls `f` with what the device reads, and what it writes.
///
/// # Safety
///
/// The device accesses neither the frame nor the data during this call, or not before `f` has given
/// them to it.
pub(crate) unsafe fn with_parts<R>(
    frame: NonNull<Frame>,
    parts: &Parts,
    f: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    let frame = frame.as_ptr();
    // SAFETY: a frame of the ring; the caller guarantees that the device does not access it.
    let header = unsafe { &(*frame).header };
    // SAFETY: the same; no part overlaps another.
    let footer = unsafe { &mut (*frame).footer };
    let (header, footer) = (&header[..parts.header], &mut footer[..parts.footer]);
    let data = parts.data.0.as_ptr();
    let (mut inputs, mut outputs) = ([header, &[]], [&mut [][..], &mut []]);
    let mut count = (usize::from(!header.is_empty()), 0);
    if parts.length > 0 {
        match parts.direction {
            Direction::ToDevice => {
                // SAFETY: the slot's; the caller guarantees that the device does not access it.
                inputs[count.0] = unsafe { &(&*data)[..parts.length] };
                count.0 += 1;
            }
            Direction::FromDevice => {
                // SAFETY: the same.
                outputs[count.1] = unsafe { &mut (&mut *data)[..parts.length] };
                count.1 += 1;
            }
        }
    }
    if !footer.is_empty() {
        outputs[count.1] = footer;
        count.1 += 1;
    }
    f(&inputs[..count.0], &mut outputs[..count.1])
}
