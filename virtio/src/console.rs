//! Consoles: [`Console`].

use alloc::{boxed::Box, vec};
use core::{
    fmt,
    future::poll_fn,
    mem::take,
    task::{Context, Poll, ready},
};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::{
    Attached, Interrupt, RequestError, SetupError,
    device::Device,
    message::{Direction, Message, Reply, Stage},
    request::Request,
    state::Wanted,
};

/// Descriptors of each queue.
const SIZE: usize = 16;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// The bytes that are received or sent at once.
const CHUNK: usize = 1024;

/// A console with one port (virtio-console), for one task that reads and one that writes.
///
/// # Examples
///
/// ```no_run
/// use dormir_virtio::{Interrupt, RequestError, Transport, console::Console};
/// use embedded_io_async::{Read, Write};
///
/// /// Sends back what comes.
/// async fn echo<T: Transport, I: Interrupt>(
///     console: &mut Console<T, I>,
/// ) -> Result<(), RequestError> {
///     let (mut reader, mut writer) = console.split();
///     let mut buffer = [0; 64];
///     loop {
///         let length = reader.read(&mut buffer).await?;
///         writer.write_all(&buffer[..length]).await?;
///     }
/// }
/// ```
pub struct Console<T: Transport, I: Interrupt> {
    device: Device<T, I, SIZE>,
    received: Received,
}

/// What is known of the input. It outlives the halves.
enum Received {
    /// Of this buffer, what lies between the two numbers was not read.
    Bytes(Box<[u8]>, usize, usize),
    /// The device has the buffer, by the request with this id.
    Pending(Stage, u64),
    Failed(RequestError),
}

impl<T: Transport, I: Interrupt> Console<T, I> {
    /// Sets the device up.
    ///
    /// # Errors
    ///
    /// See [`SetupError`].
    pub fn new(device: Attached<T, I>) -> Result<Self, SetupError> {
        let wanted = Wanted {
            device_type: DeviceType::Console,
            features: 0,
            queues: &[1, 1],
        };
        Ok(Self {
            device: Device::new(device, &wanted)?,
            received: Received::Bytes(vec![0; CHUNK].into(), 0, 0),
        })
    }

    /// The halves. When they are dropped, what was received and not read is read by the next ones.
    pub fn split(&mut self) -> (ConsoleReader<'_, T, I>, ConsoleWriter<'_, T, I>) {
        let Self { device, received } = self;
        (ConsoleReader { device, received }, ConsoleWriter { device })
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for Console<T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// The half that reads.
///
/// # Cancel safety
///
/// A `read` that is dropped has taken nothing: what comes meanwhile is read by the next one, of
/// this half or of one that [`Console::split`] gives later. It is lost only if the console is
/// dropped.
pub struct ConsoleReader<'a, T: Transport, I: Interrupt> {
    device: &'a Device<T, I, SIZE>,
    received: &'a mut Received,
}

impl<T: Transport, I: Interrupt> ConsoleReader<'_, T, I> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<Result<usize, RequestError>> {
        loop {
            match &mut *self.received {
                Received::Failed(error) => return Poll::Ready(Err(*error)),
                Received::Pending(stage, id) => {
                    let poll = self.device.poll(stage, id, RECEIVE, cx);
                    let Reply { buffer, result, .. } = ready!(poll);
                    *self.received = match result {
                        Ok(length) => Received::Bytes(buffer, 0, length as usize),
                        Err(error) => Received::Failed(error),
                    };
                }
                Received::Bytes(buffer, start, end) => {
                    let length = bytes.len().min(*end - *start);
                    if length > 0 {
                        bytes[..length].copy_from_slice(&buffer[*start..*start + length]);
                        *start += length;
                        return Poll::Ready(Ok(length));
                    }
                    let message = Message::plain(take(buffer), Direction::FromDevice);
                    *self.received = Received::Pending(Stage::Unsent(message), 0);
                }
            }
        }
    }
}

/// A reader while its `read` lives.
struct Reading<'r, 'a, T: Transport, I: Interrupt>(&'r mut ConsoleReader<'a, T, I>);

/// The request stays with the console, but no task polls it until the next `read`.
impl<T: Transport, I: Interrupt> Drop for Reading<'_, '_, T, I> {
    fn drop(&mut self) {
        if let Received::Pending(stage, id) = &*self.0.received {
            self.0.device.park(stage, *id, RECEIVE);
        }
    }
}

impl<T: Transport, I: Interrupt> ErrorType for ConsoleReader<'_, T, I> {
    type Error = RequestError;
}

impl<T: Transport, I: Interrupt> Read for ConsoleReader<'_, T, I> {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, RequestError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let reading = Reading(self);
        poll_fn(|cx| reading.0.poll_read(cx, bytes)).await
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for ConsoleReader<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleReader").finish_non_exhaustive()
    }
}

/// The half that writes. A `write` ends when the device has taken the bytes.
///
/// # Cancel safety
///
/// A `write` that is dropped may have sent its bytes.
pub struct ConsoleWriter<'a, T: Transport, I: Interrupt> {
    device: &'a Device<T, I, SIZE>,
}

impl<T: Transport, I: Interrupt> ErrorType for ConsoleWriter<'_, T, I> {
    type Error = RequestError;
}

impl<T: Transport, I: Interrupt> Write for ConsoleWriter<'_, T, I> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, RequestError> {
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        if bytes.is_empty() {
            return Ok(0);
        }
        let message = Message::plain(bytes.into(), Direction::ToDevice);
        let reply = Request::new(self.device, TRANSMIT, message).await;
        reply.result.map(|_| bytes.len())
    }

    async fn flush(&mut self) -> Result<(), RequestError> {
        Ok(())
    }
}

impl<T: Transport, I: Interrupt> fmt::Debug for ConsoleWriter<'_, T, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleWriter").finish_non_exhaustive()
    }
}

impl embedded_io_async::Error for RequestError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Length => ErrorKind::InvalidInput,
            Self::Unsupported => ErrorKind::Unsupported,
            Self::WrongAnswer => ErrorKind::InvalidData,
            _ => ErrorKind::Other,
        }
    }
}
