//! The serial line, for tasks: [`open`].

use core::{cell::RefCell, convert::Infallible, fmt, future::poll_fn, task::Poll, time::Duration};

use critical_section::Mutex;
use dormir::{
    platform::bare::{ClaimError, DeviceInterrupt},
    time::Timer,
};
use dormir_abi::{
    port::{SERIAL, SERIAL_IRQ},
    record::Record,
    serial::{ARGUMENT, Unescape},
};
use embedded_io_async::{ErrorType, Read, Write};
use uart_16550::{
    BaudRate, Config, Uart16550,
    backend::PioBackend,
    spec::registers::{FifoTriggerLevel, IER, LSR},
};

use crate::{args, console::write_record};

type Uart = Uart16550<PioBackend>;

/// The UART, since it was opened first.
struct Line {
    uart: Uart,
    /// The halves that were not dropped.
    halves: u8,
    /// How far the input is, if the harness sends it escaped, so that its end can be told.
    escapes: Option<Unescape>,
    overruns: u32,
}

static LINE: Mutex<RefCell<Option<Line>>> = Mutex::new(RefCell::new(None));

/// Opens the first serial line (COM1: ports 0x3f8 to 0x3ff, line 4), for one task that reads and
/// one that writes. Both sleep until the UART interrupts.
///
/// The harness connects it: what is written appears on the console, and what is read is the
/// standard input of `cargo vm run --stdin`. Under other VMMs it is whatever they connect.
///
/// It is closed when both halves are dropped, and can be opened again. What came meanwhile stays
/// in the UART's FIFO.
///
/// # Errors
///
/// See [`OpenError`].
///
/// # Examples
///
/// ```no_run
/// use dormir_guest::serial::{self, OpenError};
/// use embedded_io_async::{Read, Write};
///
/// /// Sends back what comes, until the input ends.
/// async fn echo() -> Result<(), OpenError> {
///     let (mut reader, mut writer) = serial::open()?;
///     let mut buffer = [0; 64];
///     loop {
///         let Ok(length) = reader.read(&mut buffer).await;
///         if length == 0 {
///             return Ok(());
///         }
///         let Ok(()) = writer.write_all(&buffer[..length]).await;
///     }
/// }
/// ```
pub fn open() -> Result<(SerialReader, SerialWriter), OpenError> {
    // The line of one interrupt is shared, so that each half has a waker of its own.
    let claim = || DeviceInterrupt::line(SERIAL_IRQ).map_err(OpenError::Interrupt);
    let (readable, writable) = (claim()?, claim()?);
    critical_section::with(|cs| {
        let line = &mut *LINE.borrow_ref_mut(cs);
        match line {
            Some(line) if line.halves > 0 => return Err(OpenError::AlreadyOpen),
            Some(line) => line.halves = 2,
            None => *line = Some(Line::new()?),
        }
        Ok(())
    })?;
    let reader = SerialReader {
        interrupt: readable,
    };
    Ok((
        reader,
        SerialWriter {
            interrupt: writable,
        },
    ))
}

impl Line {
    /// Sets the UART up, which clears its FIFO, and has the harness send the input then.
    fn new() -> Result<Self, OpenError> {
        // SAFETY: the ports are COM1's, or no device's. The console writes to the same transmitter
        // only where it has no other device, and then by single bytes, when it is empty.
        let uart = unsafe { Uart16550::new_port(SERIAL) };
        let mut uart = uart.map_err(|_| OpenError::NoDevice)?;
        let config = Config {
            // So that an interrupt comes with the first byte.
            fifo_trigger_level: Some(FifoTriggerLevel::One),
            baud_rate: BaudRate::Baud115200,
            ..Config::DEFAULT
        };
        uart.init(config).map_err(|_| OpenError::NoDevice)?;
        let is_escaped = args::words().any(|word| word == ARGUMENT);
        if is_escaped {
            write_record(Record::InputOpen);
        }
        Ok(Self {
            uart,
            halves: 2,
            escapes: is_escaped.then(Unescape::new),
            overruns: 0,
        })
    }

    /// The line's status. Counts overruns, also those that were seen in reading, since each is told
    /// once.
    fn status(&mut self) -> LSR {
        let status = self.uart.lsr();
        if status.contains(LSR::OVERRUN_ERROR) {
            self.overruns = self.overruns.saturating_add(1);
        }
        status
    }

    /// Those of the enabled interrupts whose cause is there.
    fn pending(&mut self) -> IER {
        let status = self.status();
        let mut pending = IER::empty();
        pending.set(IER::DATA_READY, status.contains(LSR::DATA_READY));
        pending.set(IER::THR_EMPTY, status.contains(LSR::THR_EMPTY));
        pending & self.enabled()
    }

    fn enabled(&self) -> IER {
        self.uart.config().interrupts
    }

    /// Enables these interrupts alone. In between none is enabled, so that the UART's line falls,
    /// and rises if one of them is pending.
    fn enable_only(&mut self, interrupts: IER) {
        if !self.enabled().is_empty() {
            self.uart.disable_interrupts(IER::all());
        }
        if !interrupts.is_empty() {
            self.uart.enable_interrupts(interrupts);
        }
    }

    /// Reads what has come, and returns how much that was, and what is left of it without escapes;
    /// `None` at the end of the input.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, usize)> {
        if self.escapes.is_some_and(|escapes| escapes.has_ended()) {
            return None;
        }
        let received = self.uart.receive_bytes(buffer);
        self.status();
        let length = match &mut self.escapes {
            Some(escapes) => escapes.decode(&mut buffer[..received]),
            None => received,
        };
        Some((received, length))
    }
}

/// The half that reads.
///
/// # Cancel safety
///
/// A `read` that is dropped has taken nothing.
#[derive(Debug)]
pub struct SerialReader {
    interrupt: DeviceInterrupt,
}

impl ErrorType for SerialReader {
    type Error = Infallible;
}

impl Read for SerialReader {
    /// Reads what has come, from one byte to 64. Returns 0 at the end of the input, which only the
    /// harness tells; under other VMMs it waits for more. If more comes all the time it never goes
    /// pending: yield then.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let length = buffer.len().min(LARGEST_FIFO);
        loop {
            match with_line(|line| line.receive(&mut buffer[..length])) {
                None => return Ok(0),
                Some((0, _)) => until(&self.interrupt, IER::DATA_READY).await,
                // All of it were escapes.
                Some((_, 0)) => {}
                Some((_, length)) => return Ok(length),
            }
        }
    }
}

/// The most that is read in one critical section: the FIFO of the harness's own VMM. (A 16550's has
/// 16 bytes.)
const LARGEST_FIFO: usize = 64;

impl SerialReader {
    /// How often the UART has reported lost bytes, since its FIFO was full when they came. The VMMs
    /// that the harness runs wait for room, so there it is 0.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        with_line(|line| line.overruns)
    }
}

/// The half that writes.
///
/// # Cancel safety
///
/// A `write` that is dropped has sent nothing; a `write_all` may have sent a part.
#[derive(Debug)]
pub struct SerialWriter {
    interrupt: DeviceInterrupt,
}

impl ErrorType for SerialWriter {
    type Error = Infallible;
}

impl Write for SerialWriter {
    /// Sends as much as the UART takes at once, up to 16 bytes, and at least one.
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let sent = with_line(|line| line.uart.send_bytes(bytes));
            if sent > 0 {
                return Ok(sent);
            }
            until(&self.interrupt, IER::THR_EMPTY).await;
        }
    }

    /// Waits until all that was written has left the UART.
    async fn flush(&mut self) -> Result<(), Infallible> {
        loop {
            let status = with_line(Line::status);
            if status.contains(LSR::TRANSMITTER_EMPTY) {
                return Ok(());
            }
            if status.contains(LSR::THR_EMPTY) {
                // The last byte is in the shift register, of which no interrupt tells.
                Timer::after(LAST_BYTE).await;
            } else {
                until(&self.interrupt, IER::THR_EMPTY).await;
            }
        }
    }
}

/// The time of a byte on the line, at 115,200 baud and ten bits.
const LAST_BYTE: Duration = Duration::from_micros(87);

/// Waits until the cause of an interrupt is there.
///
/// The UART holds its line while any interrupt that is enabled is pending, and the controller only
/// sees edges. So one that nothing serves would hide the others: each is enabled only until its
/// cause is there, whichever half sees that, which then makes the other look.
async fn until(interrupt: &DeviceInterrupt, cause: IER) {
    struct Enabled(IER);

    impl Drop for Enabled {
        /// Also if the wait is dropped.
        fn drop(&mut self) {
            with_line(|line| {
                let enabled = line.enabled();
                if enabled.contains(self.0) {
                    line.enable_only(enabled - self.0);
                }
            });
        }
    }

    with_line(|line| line.enable_only(line.enabled() | cause));
    let _enabled = Enabled(cause);
    poll_fn(|cx| {
        loop {
            // Not every UART interrupts at once if the cause is there when it is enabled.
            let (there, is_over) = with_line(|line| {
                let there = line.pending();
                if !there.is_empty() {
                    line.enable_only(line.enabled() - there);
                }
                (there, !line.enabled().contains(cause))
            });
            if !(there - cause).is_empty() {
                interrupt.acknowledged();
            }
            if is_over {
                return Poll::Ready(());
            }
            if interrupt.poll_wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Runs `work` in a critical section, with the line, which was opened: a half exists.
fn with_line<R>(work: impl FnOnce(&mut Line) -> R) -> R {
    critical_section::with(|cs| match &mut *LINE.borrow_ref_mut(cs) {
        Some(line) => work(line),
        None => unreachable!("the line was opened, since a half exists"),
    })
}

/// Closes the line with the last half.
fn drop_half() {
    with_line(|line| {
        line.halves -= 1;
        if line.halves == 0 {
            line.enable_only(IER::empty());
        }
    });
}

impl Drop for SerialReader {
    fn drop(&mut self) {
        drop_half();
    }
}

impl Drop for SerialWriter {
    fn drop(&mut self) {
        drop_half();
    }
}

/// The reason why the serial line cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// It is open already.
    AlreadyOpen,
    /// No UART answers on its ports.
    NoDevice,
    /// Its interrupt cannot be claimed.
    Interrupt(ClaimError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyOpen => f.write_str(
                "the serial line is open already: share its halves, or drop both of them first",
            ),
            Self::NoDevice => f.write_str(
                "no UART answers on ports 0x3f8 to 0x3ff: give the VM a serial line (COM1)",
            ),
            Self::Interrupt(error) => write!(f, "the serial line's interrupt, line 4: {error}"),
        }
    }
}

impl core::error::Error for OpenError {}
