//! What is sent to a device, and what comes back.

use alloc::boxed::Box;

use crate::error::RequestError;

/// Who writes a request's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToDevice,
    FromDevice,
}

/// What is sent: a header, data and a footer, which the device writes. At least one is not empty.
pub(crate) struct Message {
    pub(crate) header: [u8; 16],
    pub(crate) header_length: usize,
    pub(crate) data: Box<[u8]>,
    /// How many bytes of the data are sent, or may be written.
    pub(crate) length: usize,
    pub(crate) direction: Direction,
    pub(crate) footer_length: usize,
}

impl Message {
    /// Data and nothing else.
    pub(crate) fn plain(data: Box<[u8]>, direction: Direction) -> Self {
        Self::start_of(data.len(), data, direction)
    }

    /// The first `length` bytes of the data and nothing else.
    pub(crate) fn start_of(length: usize, data: Box<[u8]>, direction: Direction) -> Self {
        Self {
            header: [0; 16],
            header_length: 0,
            data,
            length,
            direction,
            footer_length: 0,
        }
    }
}

/// What comes back.
pub(crate) struct Reply {
    /// The data. It is empty if the device did not give it back, not even by a reset.
    pub(crate) buffer: Box<[u8]>,
    /// How many bytes the device has written.
    pub(crate) result: Result<u32, RequestError>,
    pub(crate) footer: [u8; 16],
}

impl Reply {
    pub(crate) fn failed(buffer: Box<[u8]>, error: RequestError) -> Self {
        Self {
            buffer,
            result: Err(error),
            footer: [0xff; 16],
        }
    }
}

pub(crate) enum Stage {
    Unsent(Message),
    /// In this slot.
    Sent(usize),
    /// The reply was taken.
    Finished,
}
