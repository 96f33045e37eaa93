//! The serial line, for tasks: [`open`].

use core::{
    cell::RefCell,
    convert::Infallible,
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use critical_section::Mutex;
use dormir::platform::bare::{ClaimError, DeviceInterrupt};
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

/// The UART, while it is open.
struct Line {
    uart: Uart,
    /// The halves that were not dropped.
    halves: u8,
}

static LINE: Mutex<RefCell<Option<Line>>> = Mutex::new(RefCell::new(None));

/// Bytes that came while the UART's FIFO was full.
static OVERRUNS: AtomicU32 = AtomicU32::new(0);

/// Opens the first serial line (COM1: ports 0x3f8 to 0x3ff, line 4), for one task that reads and
/// one that writes. Both sleep until the UART interrupts.
///
/// The harness connects it: what is written appears on the console, and what is read is the
/// standard input of `cargo vm run --stdin`. Under other VMMs it is whatever they connect.
///
/// It is closed when both halves are dropped. What came and was not read is then lost.
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
        if line.is_some() {
            return Err(OpenError::AlreadyOpen);
        }
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
        *line = Some(Line { uart, halves: 2 });
        Ok(())
    })?;
    let is_escaped = args::words().any(|word| word == ARGUMENT);
    if is_escaped {
        write_record(Record::InputOpen);
    }
    let reader = SerialReader {
        interrupt: readable,
        escapes: is_escaped.then(Unescape::new),
    };
    Ok((
        reader,
        SerialWriter {
            interrupt: writable,
        },
    ))
}

/// The half that reads.
///
/// # Cancel safety
///
/// A `read` that is dropped has taken nothing.
#[derive(Debug)]
pub struct SerialReader {
    interrupt: DeviceInterrupt,
    /// If the harness sends the input escaped, so that its end can be told.
    escapes: Option<Unescape>,
}

impl ErrorType for SerialReader {
    type Error = Infallible;
}

impl Read for SerialReader {
    /// Reads what has come, at least a byte. Returns 0 at the end of the input, which only the
    /// harness tells; under other VMMs it waits for more.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        loop {
            let has_ended = self.escapes.is_some_and(|escapes| escapes.has_ended());
            if buffer.is_empty() || has_ended {
                return Ok(0);
            }
            let received = with_uart(|uart| uart.receive_bytes(buffer));
            let length = match &mut self.escapes {
                Some(escapes) => escapes.decode(&mut buffer[..received]),
                None => received,
            };
            if length > 0 {
                return Ok(length);
            }
            if received == 0 {
                until(&mut self.interrupt, IER::DATA_READY, has_data).await;
            }
        }
    }
}

impl SerialReader {
    /// How often bytes were lost, because the UART's FIFO was full when they came. The VMMs that
    /// the harness runs wait for room, so there it is 0.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        OVERRUNS.load(Ordering::Relaxed)
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
            let sent = with_uart(|uart| uart.send_bytes(bytes));
            if sent > 0 {
                return Ok(sent);
            }
            until(&mut self.interrupt, IER::THR_EMPTY, is_empty).await;
        }
    }

    /// Waits until all that was written has left the UART's FIFO.
    async fn flush(&mut self) -> Result<(), Infallible> {
        if !with_uart(is_empty) {
            until(&mut self.interrupt, IER::THR_EMPTY, is_empty).await;
        }
        Ok(())
    }
}

fn has_data(uart: &mut Uart) -> bool {
    let status = uart.lsr();
    if status.contains(LSR::OVERRUN_ERROR) {
        OVERRUNS.fetch_add(1, Ordering::Relaxed);
    }
    status.contains(LSR::DATA_READY)
}

fn is_empty(uart: &mut Uart) -> bool {
    uart.ready_to_send().is_ok()
}

/// Waits until `is_so`, of which the UART tells by the interrupt `cause`.
///
/// The UART holds its line while any interrupt that is enabled is pending, and the controller only
/// sees edges. So one that nothing serves would hide the others: each is enabled only while a task
/// waits for it. And with each change all are disabled for a moment, so that the line falls, and
/// rises again if one is pending.
async fn until(interrupt: &mut DeviceInterrupt, cause: IER, is_so: fn(&mut Uart) -> bool) {
    struct Enabled(IER);

    impl Drop for Enabled {
        fn drop(&mut self) {
            with_uart(|uart| {
                let others = uart.config().interrupts - self.0;
                uart.disable_interrupts(IER::all());
                if !others.is_empty() {
                    uart.enable_interrupts(others);
                }
            });
        }
    }

    with_uart(|uart| {
        let others = uart.config().interrupts;
        if !others.is_empty() {
            uart.disable_interrupts(IER::all());
        }
        uart.enable_interrupts(others | cause);
    });
    // Also if this wait is dropped.
    let _enabled = Enabled(cause);
    // Not every UART interrupts at once if it is so when the interrupt is enabled.
    while !with_uart(is_so) {
        interrupt.wait().await;
    }
}

/// Runs `work` in a critical section, with the UART, which is open: a half exists.
fn with_uart<R>(work: impl FnOnce(&mut Uart) -> R) -> R {
    critical_section::with(|cs| match &mut *LINE.borrow_ref_mut(cs) {
        Some(line) => work(&mut line.uart),
        None => unreachable!("the line is open while a half exists"),
    })
}

/// Closes the line with the last half.
fn drop_half() {
    critical_section::with(|cs| {
        let line = &mut *LINE.borrow_ref_mut(cs);
        if let Some(open) = line {
            open.halves -= 1;
            if open.halves == 0 {
                open.uart.disable_interrupts(IER::all());
                *line = None;
            }
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
