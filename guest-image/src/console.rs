//! The console: text for people and, between its lines, records for the harness.

use core::{
    arch::asm,
    fmt::{self, Write},
    sync::atomic::{AtomicU8, Ordering},
};

use dormir::time::Instant;
use dormir_abi::{
    port,
    port::ConsoleBuffer,
    record,
    record::{Nonce, Record},
};
use heapless::String;
use spin::Once;
use x86_64::instructions::{interrupts::without_interrupts, port::Port};

/// The device that the console's bytes are written to.
#[derive(Clone, Copy)]
#[repr(u8)]
enum ConsoleDevice {
    Serial = 0,
    DebugConsole = 1,
    Buffer = 2,
    None = 3,
}

static DEVICE: AtomicU8 = AtomicU8::new(ConsoleDevice::Serial as u8);

/// Chooses the device. The harness's own VMM takes whole buffers. Elsewhere it is the debug console
/// if it answers, and else the serial line, so that output also appears with any `-serial` option.
/// Where neither answers, output is dropped.
pub(crate) fn init(is_own_vmm: bool) {
    let mut debug_console = Port::<u8>::new(port::DEBUG_CONSOLE);
    // SAFETY: the port belongs to a debug console or to no device; a read has no effect on either.
    let answer = unsafe { debug_console.read() };
    let device = match answer {
        _ if is_own_vmm => ConsoleDevice::Buffer,
        port::DEBUG_CONSOLE_PRESENT => ConsoleDevice::DebugConsole,
        _ if has_serial() => {
            init_serial();
            ConsoleDevice::Serial
        }
        _ => ConsoleDevice::None,
    };
    DEVICE.store(device as u8, Ordering::Relaxed);
}

/// Whether there is a UART: its scratch register keeps what is written. Where no device answers, a
/// VMM may return anything, so a wait for a transmitter might never end.
fn has_serial() -> bool {
    const SCRATCH: u16 = 7;
    let mut scratch = Port::<u8>::new(port::SERIAL + SCRATCH);
    [0x5a, 0xa5].into_iter().all(|pattern| {
        // SAFETY: the register belongs to COM1, which does nothing with it, or to no device.
        unsafe { scratch.write(pattern) };
        // SAFETY: as above; a read has no effect.
        pattern == unsafe { scratch.read() }
    })
}

/// 115,200 baud, 8 bits, no parity, no interrupts (16550 data sheet).
fn init_serial() {
    const INTERRUPT_ENABLE: u16 = 1;
    const FIFO_CONTROL: u16 = 2;
    const LINE_CONTROL: u16 = 3;
    for (register, value) in [
        (INTERRUPT_ENABLE, 0x00),
        (LINE_CONTROL, 0x80), // the next two are the divisor: 1
        (0, 0x01),
        (1, 0x00),
        (LINE_CONTROL, 0x03),
        (FIFO_CONTROL, 0x07),
    ] {
        // SAFETY: the port belongs to COM1 or to no device.
        unsafe { Port::<u8>::new(port::SERIAL + register).write(value) };
    }
}

fn write_bytes(bytes: &[u8]) {
    let device = DEVICE.load(Ordering::Relaxed);
    if device == ConsoleDevice::Buffer as u8 {
        for chunk in bytes.chunks(ConsoleBuffer::MAX_LENGTH as usize) {
            let buffer = ConsoleBuffer {
                address: chunk.as_ptr() as u64,
                length: chunk.len() as u64,
            };
            // Stacks are part of the image, which is below 2 GiB, so the address fits.
            let address = (&raw const buffer) as u32;
            // SAFETY: the VMM reads the buffer, which outlives the write. The instruction is not
            // `nomem`, so the compiler has written the buffer and the text to memory by then.
            unsafe {
                asm!(
                    "out dx, eax",
                    in("dx") port::CONSOLE_BUFFER,
                    in("eax") address,
                    options(nostack, preserves_flags),
                );
            }
        }
    } else if device == ConsoleDevice::DebugConsole as u8 {
        let mut port = Port::<u8>::new(port::DEBUG_CONSOLE);
        for &byte in bytes {
            // SAFETY: the debug console takes bytes.
            unsafe { port.write(byte) };
        }
    } else if device == ConsoleDevice::Serial as u8 {
        bytes.iter().copied().for_each(write_serial);
    }
}

fn write_serial(byte: u8) {
    const LINE_STATUS: u16 = 5;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;
    let mut status = Port::<u8>::new(port::SERIAL + LINE_STATUS);
    // SAFETY: nothing here depends on an effect of reading the line status. Without a serial line
    // the value read is all ones, and the loop ends.
    while unsafe { status.read() } & TRANSMITTER_EMPTY == 0 {
        core::hint::spin_loop();
    }
    // SAFETY: the transmitter takes a byte.
    unsafe { Port::<u8>::new(port::SERIAL).write(byte) };
}

/// Collects the output of one `print!`, so that it takes one exit and not one for each piece. It
/// lies on the stack of the caller: an interrupt handler may print while it interrupts another
/// `print!`.
struct Collector(String<512>);

impl Collector {
    const fn new() -> Self {
        Self(String::new())
    }

    fn flush(&mut self) {
        write_bytes(self.0.as_bytes());
        self.0.clear();
    }
}

impl Write for Collector {
    // Not inlined into the default `write_char`: that needs not be fast, and guests are smaller.
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.push_str(text).is_err() {
            self.flush();
            if self.0.push_str(text).is_err() {
                write_bytes(text.as_bytes());
            }
        }
        Ok(())
    }
}

/// Prints formatted text, for `print!`.
#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut collector = Collector::new();
    // It fails only if the `Display` of a value does. Then the rest of the line is missing.
    let _ = collector.write_fmt(arguments);
    collector.flush();
}

/// Prints to the console. It may be used in any context.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!($($argument)*))
    };
}

/// Prints a line to the console. It may be used in any context.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}

/// Distinguishes the records of this run from text that looks like one.
static NONCE: Once<Nonce> = Once::new();

/// Stores the nonce that the harness passed. Without it no records are written.
pub(crate) fn init_records(nonce: Nonce) {
    NONCE.call_once(|| nonce);
}

/// One line of text, of at most `limit` bytes. A longer text is cut between two characters, and
/// ends in three dots. Line feeds become blanks.
///
/// Not generic over its length: a guest contains its code once.
pub(crate) struct TextLine {
    text: String<{ record::MAX_LENGTH }>,
    limit: usize,
}

impl TextLine {
    #[inline(never)]
    fn new(text: fmt::Arguments<'_>, limit: usize) -> Self {
        let mut line = Self {
            text: String::new(),
            limit,
        };
        if line.write_fmt(text).is_err() {
            while line.text.len() + record::DOTS.len() > limit {
                line.text.pop();
            }
            // There is space for them.
            let _ = line.text.push_str(record::DOTS);
        }
        line
    }

    /// The text of a [`Record::Panic`] or [`Record::Exception`].
    pub(crate) fn message(text: fmt::Arguments<'_>) -> Self {
        Self::new(text, record::MAX_MESSAGE)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Write for TextLine {
    // As for `Collector`.
    #[inline(never)]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let character = if character == '\n' { ' ' } else { character };
            if self.text.len() + character.len_utf8() > self.limit {
                return Err(fmt::Error);
            }
            self.text.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

// `write_record` begins with it.
const _: () = assert!(record::MARK == 0x1e);

/// Sends a record to the harness. A record is one line: line feeds in it become blanks, and a
/// record that is too long is cut. A guest that no harness launched writes nothing.
///
/// Interrupts are masked during the write, so that a handler's text does not fall into the record.
pub fn write_record(record: Record<'_>) {
    let Some(nonce) = NONCE.get() else {
        return;
    };
    // One byte is left for the line feed.
    let line = TextLine::new(format_args!("\x1e{nonce} {record}"), record::MAX_LENGTH - 1);
    let mut text = line.text;
    let _ = text.push('\n');
    without_interrupts(|| write_bytes(text.as_bytes()));
}

/// A record that is formatted without `core::fmt`.
pub(crate) struct RecordLine {
    bytes: [u8; record::MAX_LENGTH],
    length: usize,
}

impl RecordLine {
    /// Begins a record of this kind.
    pub(crate) fn new(kind: &str) -> Self {
        let mut line = Self {
            bytes: [0; record::MAX_LENGTH],
            length: 0,
        };
        if let Some(nonce) = NONCE.get() {
            line.push(&[record::MARK]);
            line.push(nonce.as_str().as_bytes());
            line.push(b" ");
            line.push(kind.as_bytes());
        }
        line
    }

    /// The number of bytes that it can take, besides the line feed.
    pub(crate) fn space(&self) -> usize {
        self.bytes.len() - self.length - 1
    }

    /// Appends bytes, of which there are no more than the [space](Self::space).
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }

    /// Appends a number in hexadecimal digits.
    pub(crate) fn push_hex(&mut self, mut value: u64) {
        let mut digits = [0; 16];
        let mut first = digits.len();
        while first == digits.len() || value != 0 {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(value & 0xf) as usize];
            value >>= 4;
        }
        self.push(&digits[first..]);
    }

    /// Sends it, if a harness launched the guest. It is empty for others.
    pub(crate) fn send(&mut self) {
        if NONCE.get().is_some() {
            self.push(b"\n");
            without_interrupts(|| write_bytes(&self.bytes[..self.length]));
        }
    }
}

/// Reports a figure to the harness. The name ends in its unit and contains no white space.
pub fn report(name: &str, value: u64) {
    write_record(Record::Stat { name, value });
}

/// Reports a series of figures to the harness, in their order. The name contains no white space and
/// takes less than half of a record.
pub fn report_samples(name: &str, values: impl IntoIterator<Item = u64>) {
    /// The longest number, and the blank before it.
    const NUMBER: usize = 21;
    let space = record::MAX_LENGTH - Nonce::DIGITS - "\x1e samples  \n".len() - name.len();
    let mut text = String::<{ record::MAX_LENGTH }>::new();
    for value in values {
        if text.len() + NUMBER > space {
            write_record(Record::Samples {
                name,
                values: &text,
            });
            text.clear();
        }
        let gap = if text.is_empty() { "" } else { " " };
        // There is space for it.
        let _ = write!(text, "{gap}{value}");
    }
    if !text.is_empty() {
        write_record(Record::Samples {
            name,
            values: &text,
        });
    }
}

/// Sends bytes to the harness, for example a trace or a result.
///
/// `cargo vm run --out DIR` writes them to a file with this name, and users of the harness's
/// library find them in its report. What is sent under one name is one value, in order. A byte
/// takes two of the console's limit. A guest that no harness launched sends nothing.
///
/// ```no_run
/// dormir_guest::send("squares.csv", b"1,1\n2,4\n");
/// ```
///
/// # Panics
///
/// The name is not a file's name: ASCII letters, digits, `.`, `_` and `-`, at most 64 of them, of
/// which the first is a letter or a digit.
#[track_caller]
pub fn send(name: &str, bytes: &[u8]) {
    assert!(
        record::is_data_name(name),
        "data cannot be named {name:?}: use up to 64 ASCII letters, digits, `.`, `_` and `-`, and \
         begin with a letter or a digit"
    );
    let mut text = String::<{ 2 * record::DATA_PIECE }>::new();
    let mut rest = bytes;
    // Once at least, so that no bytes are a value too.
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(record::DATA_PIECE));
        text.clear();
        for digit in piece.iter().flat_map(|byte| [byte >> 4, byte & 0xf]) {
            // There is space for it.
            let _ = text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        write_record(Record::Data { name, hex: &text });
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
}

/// Reports the time on the guest's clock, for the harness to compare with its own.
pub fn report_time() {
    let nanos = Instant::now().as_nanos();
    write_record(Record::Time { nanos });
}
