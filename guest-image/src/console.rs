//! The console: text for people, and records for the harness between its lines.

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

/// Where the console's bytes go; the first is what an unset static holds.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Device {
    Serial = 0,
    DebugConsole = 1,
    Buffer = 2,
}

static DEVICE: AtomicU8 = AtomicU8::new(Device::Serial as u8);

/// Chooses the device: the harness's own VMM takes whole buffers; elsewhere the debug console if it
/// answers, else the serial line, so that output is seen with any `-serial` option too.
pub(crate) fn init(is_own_vmm: bool) {
    let mut debug_console = Port::<u8>::new(port::DEBUG_CONSOLE);
    // SAFETY: the port is a debug console's or nobody's, and reading either has no effect.
    let answer = unsafe { debug_console.read() };
    let device = match answer {
        _ if is_own_vmm => Device::Buffer,
        port::DEBUG_CONSOLE_PRESENT => Device::DebugConsole,
        _ => {
            init_serial();
            Device::Serial
        }
    };
    DEVICE.store(device as u8, Ordering::Relaxed);
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
        // SAFETY: the ports of COM1, or nobody's.
        unsafe { Port::<u8>::new(port::SERIAL + register).write(value) };
    }
}

fn write_bytes(bytes: &[u8]) {
    let device = DEVICE.load(Ordering::Relaxed);
    if device == Device::Buffer as u8 {
        for chunk in bytes.chunks(ConsoleBuffer::MAX_LENGTH as usize) {
            let buffer = ConsoleBuffer {
                address: chunk.as_ptr() as u64,
                length: chunk.len() as u64,
            };
            // Stacks are part of the image, which lies below 2 GiB, so the address fits.
            let address = (&raw const buffer) as u32;
            // SAFETY: the VMM reads the buffer, which outlives the write. The instruction is not said
            // to leave memory alone, so the compiler has the buffer and the text in memory by then.
            unsafe {
                asm!(
                    "out dx, eax",
                    in("dx") port::CONSOLE_BUFFER,
                    in("eax") address,
                    options(nostack, preserves_flags),
                );
            }
        }
    } else if device == Device::DebugConsole as u8 {
        let mut port = Port::<u8>::new(port::DEBUG_CONSOLE);
        for &byte in bytes {
            // SAFETY: the debug console takes bytes.
            unsafe { port.write(byte) };
        }
    } else {
        bytes.iter().copied().for_each(write_serial);
    }
}

fn write_serial(byte: u8) {
    const LINE_STATUS: u16 = 5;
    const TRANSMITTER_EMPTY: u8 = 1 << 5;
    let mut status = Port::<u8>::new(port::SERIAL + LINE_STATUS);
    // SAFETY: reading the line status has no effect that anything here depends on. Where there is no
    // serial line, all ones are read and the loop ends.
    while unsafe { status.read() } & TRANSMITTER_EMPTY == 0 {
        core::hint::spin_loop();
    }
    // SAFETY: the transmitter takes a byte.
    unsafe { Port::<u8>::new(port::SERIAL).write(byte) };
}

/// Collects what one `print!` formats, so that it takes one exit and not one for each piece. It lies
/// on the stack of whoever prints: an interrupt handler may print in the midst of another's line.
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

/// What `print!` calls.
#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    let mut collector = Collector::new();
    // It fails only if a value's own `Display` does, and then the rest of the line is missing.
    let _ = collector.write_fmt(arguments);
    collector.flush();
}

/// Prints to the console. May be used in any context.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!($($argument)*))
    };
}

/// Prints a line to the console. May be used in any context.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($argument:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*)))
    };
}

/// What tells this run's records from text that looks like one.
static NONCE: Once<Nonce> = Once::new();

/// Takes the nonce that the harness gave. Before it there are no records.
pub(crate) fn init_records(nonce: Nonce) {
    NONCE.call_once(|| nonce);
}

/// One line of fewer than `N` bytes: what is longer is cut, between two characters, and line feeds become blanks.
pub(crate) struct Line<const N: usize>(String<N>);

/// The text of a [`Record::Panic`] or [`Record::Exception`], which fits into a record.
pub(crate) type Message = Line<{ record::MAX_LENGTH - Nonce::DIGITS - "\x1e exception \n".len() }>;

impl<const N: usize> Line<N> {
    /// What the end of a line is replaced with that is cut.
    const CUT: &str = "...";

    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut line = Self(String::new());
        if line.write_fmt(text).is_err() {
            while line.0.len() + Self::CUT.len() >= N {
                line.0.pop();
            }
            // There is room.
            let _ = line.0.push_str(Self::CUT);
        }
        line
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> Write for Line<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let character = if character == '\n' { ' ' } else { character };
            // One byte is kept for the line feed.
            if self.0.len() + character.len_utf8() >= N {
                return Err(fmt::Error);
            }
            self.0.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Tells the harness something. A record is one line: line feeds in it become blanks, and what is
/// longer than a record may be is cut. A guest that no harness launched has nobody to tell, and writes nothing.
///
/// Interrupts are masked meanwhile, so that no handler's text falls into it.
pub fn write_record(record: Record<'_>) {
    let Some(nonce) = NONCE.get() else {
        return;
    };
    let mark = char::from(record::MARK);
    let line = Line::<{ record::MAX_LENGTH }>::new(format_args!("{mark}{nonce} {record}"));
    let mut line = line.0;
    let _ = line.push('\n');
    without_interrupts(|| write_bytes(line.as_bytes()));
}

/// Reports a figure to the harness. The name ends in its unit and has no white space.
pub fn report(name: &str, value: u64) {
    write_record(Record::Stat { name, value });
}

/// Reports a series of figures to the harness, in their order. The name has no white space and takes less
/// than half of a record.
pub fn report_samples(name: &str, values: impl IntoIterator<Item = u64>) {
    /// The longest number, and the blank before it.
    const NUMBER: usize = 21;
    let room = record::MAX_LENGTH - Nonce::DIGITS - "\x1e samples  \n".len() - name.len();
    let mut text = String::<{ record::MAX_LENGTH }>::new();
    for value in values {
        if text.len() + NUMBER > room {
            write_record(Record::Samples {
                name,
                values: &text,
            });
            text.clear();
        }
        let gap = if text.is_empty() { "" } else { " " };
        // There is room.
        let _ = write!(text, "{gap}{value}");
    }
    if !text.is_empty() {
        write_record(Record::Samples {
            name,
            values: &text,
        });
    }
}

/// Tells the harness what the time is by the guest's clock, for the harness to compare with its own.
pub fn report_time() {
    let nanos = Instant::now().as_nanos();
    write_record(Record::Time { nanos });
}
