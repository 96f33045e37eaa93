//! Disks: [`Disk`].

#[cfg(feature = "block-device-driver")]
mod block_device;

use alloc::boxed::Box;
use core::{fmt, future::Future};

use virtio_drivers::transport::{DeviceType, Transport};

use crate::{
    Attached, Interrupt, RequestError, SetupError,
    device::Device,
    message::{Direction, Message},
    request::Request,
    state::Wanted,
};

/// The bytes of a sector, whatever the device's own block size is.
pub const SECTOR: usize = 512;

/// Descriptors of the queue: 42 requests are in flight at once.
const SIZE: usize = 128;

/// Features (virtio 1.2, 5.2.3).
mod feature {
    pub(super) const SIZE_MAX: u64 = 1 << 1;
    pub(super) const READ_ONLY: u64 = 1 << 5;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const DISCARD: u64 = 1 << 13;
}

/// Types of requests (virtio 1.2, 5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
    pub(super) const DISCARD: u32 = 11;
}

/// Offsets in the configuration (virtio 1.2, 5.2.4).
mod offset {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const MAX_DISCARD_SECTORS: usize = 36;
}

/// A disk (virtio-blk). Requests take `&self`: many can be in flight.
///
/// A request gives its buffer back at its end. One that is dropped may have been done or not, as a
/// whole or in part. If a buffer is longer than the device takes, the request is done in pieces,
/// one after another, which are copied.
///
/// # Examples
///
/// ```no_run
/// use dormir_virtio::{Interrupt, RequestError, Transport, blk::{Disk, SECTOR}};
///
/// /// Copies the first sector to the second one.
/// async fn copy<T: Transport, I: Interrupt>(disk: &Disk<T, I>) -> Result<(), RequestError> {
///     let buffer = vec![0; SECTOR].into_boxed_slice();
///     let (buffer, result) = disk.read(0, buffer).await;
///     result?;
///     let (_, result) = disk.write(1, buffer).await;
///     result?;
///     disk.flush().await
/// }
/// ```
pub struct Disk<T: Transport, I: Interrupt> {
    device: Device<T, I, SIZE>,
    sectors: u64,
    /// The longest buffer, in bytes: whole sectors.
    most_bytes: usize,
    most_discarded: u32,
}

impl<T: Transport, I: Interrupt> Disk<T, I> {
    /// Sets the device up.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new(device: Attached<T, I>) -> Result<Self, SetupError> {
        let wanted = Wanted {
            device_type: DeviceType::Block,
            features: feature::SIZE_MAX | feature::READ_ONLY | feature::FLUSH | feature::DISCARD,
            queues: &[3],
        };
        let device = Device::new(device, &wanted)?;
        let [low, high] = device
            .configuration(|transport| transport.read_config_space::<[u32; 2]>(offset::CAPACITY))?;
        // Each request has one buffer of data, so any limit of their number is kept.
        let most_bytes = if device.features & feature::SIZE_MAX == 0 {
            usize::MAX
        } else {
            let most = device
                .configuration(|transport| transport.read_config_space::<u32>(offset::SIZE_MAX))?;
            if (most as usize) < SECTOR {
                return Err(SetupError::Configuration);
            }
            most as usize
        };
        let most_discarded = if device.features & feature::DISCARD == 0 {
            0
        } else {
            device.configuration(|transport| {
                transport.read_config_space(offset::MAX_DISCARD_SECTORS)
            })?
        };
        Ok(Self {
            device,
            sectors: u64::from(high) << 32 | u64::from(low),
            most_bytes: most_bytes / SECTOR * SECTOR,
            most_discarded,
        })
    }

    /// The number of its sectors, as it was at the start.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether the device refuses writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.device.features & feature::READ_ONLY != 0
    }

    /// The most sectors that a [`discard`](Self::discard) may have: 0 if the device has no discard.
    #[must_use]
    pub fn most_discarded(&self) -> u32 {
        self.most_discarded
    }

    /// Reads whole sectors from `sector` on, as many as fit into `buffer`, which comes back.
    pub fn read(
        &self,
        sector: u64,
        buffer: Box<[u8]>,
    ) -> impl Future<Output = (Box<[u8]>, Result<(), RequestError>)> {
        self.transfer(kind::IN, sector, buffer, Direction::FromDevice)
    }

    /// Writes whole sectors from `sector` on. The buffer comes back. The data may be in a cache
    /// until [`flush`](Self::flush).
    pub fn write(
        &self,
        sector: u64,
        buffer: Box<[u8]>,
    ) -> impl Future<Output = (Box<[u8]>, Result<(), RequestError>)> {
        self.transfer(kind::OUT, sector, buffer, Direction::ToDevice)
    }

    /// Waits until everything that was written before is durable. A device without a cache needs no
    /// flush, and gets none.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub async fn flush(&self) -> Result<(), RequestError> {
        if self.device.features & feature::FLUSH == 0 {
            return Ok(());
        }
        let request = self.request(kind::FLUSH, 0, Box::default(), Direction::ToDevice);
        request.await.1
    }

    /// Tells the device that the contents of these sectors are not needed. What they hold
    /// afterwards is up to the device.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](RequestError::Unsupported) if the device has no discard,
    /// [`Length`](RequestError::Length) for none, or more than
    /// [`most_discarded`](Self::most_discarded); and those of the device.
    pub async fn discard(&self, sector: u64, sectors: u32) -> Result<(), RequestError> {
        if self.most_discarded == 0 {
            return Err(RequestError::Unsupported);
        }
        if sectors == 0 || sectors > self.most_discarded {
            return Err(RequestError::Length);
        }
        self.check(sector, u64::from(sectors), true)?;
        let mut range = [0; 16];
        range[..8].copy_from_slice(&sector.to_le_bytes());
        range[8..12].copy_from_slice(&sectors.to_le_bytes());
        let range = Box::<[u8]>::from(range);
        let request = self.request(kind::DISCARD, 0, range, Direction::ToDevice);
        request.await.1
    }

    async fn transfer(
        &self,
        kind: u32,
        sector: u64,
        buffer: Box<[u8]>,
        direction: Direction,
    ) -> (Box<[u8]>, Result<(), RequestError>) {
        let is_write = direction == Direction::ToDevice;
        let length = buffer.len();
        let is_whole = length > 0 && length.is_multiple_of(SECTOR);
        // A byte is for the status.
        if !is_whole || length >= u32::MAX as usize {
            return (buffer, Err(RequestError::Length));
        }
        if let Err(error) = self.check(sector, (length / SECTOR) as u64, is_write) {
            return (buffer, Err(error));
        }
        if length <= self.most_bytes {
            return self.request(kind, sector, buffer, direction).await;
        }
        let mut buffer = buffer;
        let sectors = (sector..).step_by(self.most_bytes / SECTOR);
        for (sector, piece) in sectors.zip(buffer.chunks_mut(self.most_bytes)) {
            let copy = Box::from(&*piece);
            let (copy, result) = self.request(kind, sector, copy, direction).await;
            if result.is_err() {
                return (buffer, result);
            }
            if direction == Direction::FromDevice {
                piece.copy_from_slice(&copy);
            }
        }
        (buffer, Ok(()))
    }

    fn check(&self, sector: u64, sectors: u64, is_write: bool) -> Result<(), RequestError> {
        if is_write && self.is_read_only() {
            return Err(RequestError::ReadOnly);
        }
        match sector.checked_add(sectors) {
            Some(end) if end <= self.sectors => Ok(()),
            _ => Err(RequestError::OutOfRange),
        }
    }

    async fn request(
        &self,
        kind: u32,
        sector: u64,
        data: Box<[u8]>,
        direction: Direction,
    ) -> (Box<[u8]>, Result<(), RequestError>) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let expected = match direction {
            Direction::FromDevice => data.len() as u32 + 1,
            Direction::ToDevice => 1,
        };
        let message = Message {
            header,
            header_length: header.len(),
            footer_length: 1,
            ..Message::plain(data, direction)
        };
        let reply = Request::new(&self.device, 0, message).await;
        let result = reply.result.and_then(|written| match reply.footer[0] {
            // A device may count the status or not, if it is all that it has written.
            0 if written < expected && expected > 1 => Err(RequestError::WrongAnswer),
            0 => Ok(()),
            1 => Err(RequestError::Failed),
            2 => Err(RequestError::Unsupported),
            _ => Err(RequestError::WrongAnswer),
        });
        (reply.buffer, result)
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Disk<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("sectors", &self.sectors)
            .field("read_only", &self.is_read_only())
            .finish_non_exhaustive()
    }
}
