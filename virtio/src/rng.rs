//! Randomness from the host: [`Rng`].

use alloc::{boxed::Box, vec};
use core::fmt;

use virtio_drivers::transport::{DeviceType, Transport};

use crate::{
    Attached, Interrupt, RequestError, SetupError,
    device::Device,
    message::{Direction, Message},
    request::Request,
    state::Wanted,
};

/// Descriptors of the queue. QEMU's device on PCI has no more.
const SIZE: usize = 8;

/// The most bytes that [`Rng::fill`] asks for at once.
const CHUNK: usize = 4096;

/// A source of random bytes (virtio-rng).
///
/// # Examples
///
/// ```no_run
/// use dormir_virtio::{Attached, Interrupt, SetupError, Transport, rng::Rng};
///
/// async fn key<T: Transport, I: Interrupt>(
///     device: Attached<T, I>,
/// ) -> Result<[u8; 32], Box<dyn core::error::Error>> {
///     let mut key = [0; 32];
///     Rng::new(device)?.fill(&mut key).await?;
///     Ok(key)
/// }
/// ```
pub struct Rng<T: Transport, I: Interrupt> {
    device: Device<T, I, SIZE>,
}

impl<T: Transport, I: Interrupt> Rng<T, I> {
    /// Sets the device up.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new(device: Attached<T, I>) -> Result<Self, SetupError> {
        let wanted = Wanted {
            device_type: DeviceType::EntropySource,
            features: 0,
            queues: &[1],
        };
        let device = Device::new(device, &wanted)?;
        Ok(Self { device })
    }

    /// Has the device fill `buffer` with random bytes, and returns it with the number of bytes that
    /// were written, which may be smaller than its length.
    ///
    /// # Cancel safety
    ///
    /// The buffer of a future that is dropped is freed when the device gives it back.
    pub async fn request(&self, buffer: Box<[u8]>) -> (Box<[u8]>, Result<usize, RequestError>) {
        if buffer.is_empty() || u32::try_from(buffer.len()).is_err() {
            return (buffer, Err(RequestError::Length));
        }
        let message = Message::plain(buffer, Direction::FromDevice);
        let reply = Request::new(&self.device, 0, message).await;
        let written = match reply.result {
            // It must write something.
            Ok(0) => Err(RequestError::WrongAnswer),
            result => result.map(|written| written as usize),
        };
        (reply.buffer, written)
    }

    /// Fills `bytes` with random bytes, by way of a buffer on the heap.
    ///
    /// # Errors
    ///
    /// See [`RequestError`]. Some of `bytes` may then have been written.
    pub async fn fill(&self, bytes: &mut [u8]) -> Result<(), RequestError> {
        let mut buffer = vec![0; bytes.len().min(CHUNK)].into_boxed_slice();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (returned, written) = self.request(buffer).await;
            let length = written?.min(rest.len());
            buffer = returned;
            let (filled, left) = rest.split_at_mut(length);
            filled.copy_from_slice(&buffer[..length]);
            rest = left;
        }
        Ok(())
    }

    /// A generator that is seeded by the device. (A device cannot be an `rand_core::TryRng` itself:
    /// its functions return at once, and the device takes a while.)
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    #[cfg(feature = "rand_core")]
    pub async fn seed<R: rand_core::SeedableRng>(&self) -> Result<R, RequestError> {
        let mut seed = R::Seed::default();
        self.fill(seed.as_mut()).await?;
        Ok(R::from_seed(seed))
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> usize {
        self.device.state.lock().rings[0].in_flight()
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Rng<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").finish_non_exhaustive()
    }
}
