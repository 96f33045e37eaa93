//! Limits on how much of a file's debug information is read.
//!
//! The file is not trusted. A few bytes of debug information can stand for any amount of work: a
//! string or a list that thousands of entries refer to, or entries in entries without end. So all
//! of it is read through a [`Metered`] reader, which fails after a time and after a number of
//! bytes. What is made of the bytes, in memory, is proportional to that number.

use std::{
    borrow::Cow,
    cell::Cell,
    time::{Duration, Instant},
};

use addr2line::gimli::{EndianSlice, Error, LittleEndian, Reader, ReaderOffsetId, Result};

/// For how long debug information may be read. A guest's takes some ten milliseconds.
const TIME: Duration = Duration::from_secs(3);

/// How many bytes of it may be read; those that are read again count again.
const BYTES: usize = 64 << 20;

/// How many bytes may be read before the clock is asked again.
const BYTES_BETWEEN_READINGS: usize = 4096;

/// Counts what is read.
#[derive(Debug)]
pub(super) struct Meter {
    deadline: Instant,
    bytes_left: Cell<usize>,
    next_reading: Cell<usize>,
}

impl Meter {
    /// For what takes memory: limits time and bytes.
    pub(super) fn new() -> Self {
        Self::of(BYTES)
    }

    /// For what takes no memory: limits the time.
    pub(super) fn of_time() -> Self {
        Self::of(usize::MAX)
    }

    fn of(bytes: usize) -> Self {
        Self {
            deadline: Instant::now() + TIME,
            bytes_left: Cell::new(bytes),
            next_reading: Cell::new(bytes),
        }
    }

    /// Returns whether nothing more may be read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.bytes_left.get() == 0
    }

    /// Counts `bytes` more, and returns whether they may be read.
    pub(super) fn allows(&self, bytes: usize) -> bool {
        // An operation that reads no byte costs something, too.
        let mut left = self.bytes_left.get().saturating_sub(bytes.max(1));
        if left <= self.next_reading.get() {
            self.next_reading
                .set(left.saturating_sub(BYTES_BETWEEN_READINGS));
            if Instant::now() >= self.deadline {
                left = 0;
            }
        }
        self.bytes_left.set(left);
        left > 0
    }
}

/// A reader of debug information that fails when its meter is exhausted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metered<'a> {
    bytes: EndianSlice<'a, LittleEndian>,
    meter: &'a Meter,
}

impl<'a> Metered<'a> {
    pub(super) fn new(bytes: &'a [u8], meter: &'a Meter) -> Self {
        Self {
            bytes: EndianSlice::new(bytes, LittleEndian),
            meter,
        }
    }

    fn count(&self, bytes: usize) -> Result<()> {
        if self.meter.allows(bytes) {
            Ok(())
        } else {
            Err(Error::UnexpectedEof(self.offset_id()))
        }
    }
}

impl Reader for Metered<'_> {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn empty(&mut self) {
        self.bytes.empty();
    }

    fn truncate(&mut self, len: usize) -> Result<()> {
        self.bytes.truncate(len)
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.bytes.offset_from(base.bytes)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        self.bytes.offset_id()
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        self.bytes.lookup_offset_id(id)
    }

    fn find(&self, byte: u8) -> Result<usize> {
        let found = Reader::find(&self.bytes, byte);
        self.count(found.as_ref().map_or(self.len(), |found| *found))?;
        found
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        self.count(0)?;
        self.bytes.skip(len)
    }

    fn split(&mut self, len: usize) -> Result<Self> {
        self.count(0)?;
        let bytes = self.bytes.split(len)?;
        Ok(Self { bytes, ..*self })
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>> {
        self.count(self.len())?;
        Reader::to_slice(&self.bytes)
    }

    fn to_string(&self) -> Result<Cow<'_, str>> {
        self.count(self.len())?;
        Reader::to_string(&self.bytes)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>> {
        self.count(self.len())?;
        Reader::to_string_lossy(&self.bytes)
    }

    fn read_slice(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.count(buffer.len())?;
        Reader::read_slice(&mut self.bytes, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_meter_allows() {
        let meter = Meter::new();
        let zeros = vec![0; 1 << 20];
        let mut read = 0;
        while let Ok(text) = Metered::new(&zeros, &meter).to_string() {
            read += text.len();
        }
        assert!((BYTES - zeros.len()..BYTES).contains(&read), "{read}");
        assert!(meter.is_exhausted());
        assert!(Metered::new(&zeros, &meter).read_u8().is_err());
        assert!(Metered::new(&zeros, &meter).skip(1).is_err());
    }

    #[test]
    fn nothing_is_read_after_the_deadline() {
        let meter = Meter {
            deadline: Instant::now(),
            ..Meter::new()
        };
        let bytes = [0; 2 * BYTES_BETWEEN_READINGS];
        let mut reader = Metered::new(&bytes, &meter);
        while reader.read_u8().is_ok() {}
        assert!(!reader.is_empty());
        assert!(meter.is_exhausted());
    }
}
