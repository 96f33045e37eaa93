//! A console.

use alloc::{string::String, vec::Vec};
use core::fmt::Write as _;

use dormir_guest::console::report;
use dormir_virtio::{Interrupt, Transport, console::Console};
use embedded_io_async::{Read, Write};

use crate::Failure;

/// Writes a greeting, then sends back what comes, until a line is `end`.
pub(crate) async fn echo<T: Transport, I: Interrupt>(
    console: &mut Console<T, I>,
) -> Result<(), Failure> {
    let (mut reader, mut writer) = console.split();
    writer.write_all(b"ready\n").await?;
    let (mut line, mut bytes) = (Vec::new(), 0);
    let mut buffer = [0; 64];
    loop {
        let length = reader.read(&mut buffer).await?;
        writer.write_all(&buffer[..length]).await?;
        bytes += length as u64;
        line.extend_from_slice(&buffer[..length]);
        if line.ends_with(b"end\n") {
            report("console_bytes", bytes);
            return Ok(());
        }
    }
}

/// Writes so many lines, each of 16 bytes with its number, as fast as they are taken.
pub(crate) async fn flood<T: Transport, I: Interrupt>(
    console: &mut Console<T, I>,
    lines: u32,
) -> Result<(), Failure> {
    let (_, mut writer) = console.split();
    let mut text = String::new();
    for line in 0..lines {
        // A page at once.
        writeln!(text, "{line:015}")?;
        if text.len() == 4096 || line + 1 == lines {
            writer.write_all(text.as_bytes()).await?;
            text.clear();
        }
    }
    Ok(())
}
