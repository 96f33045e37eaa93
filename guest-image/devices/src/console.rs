//! A console.

use alloc::{format, string::String, vec::Vec};
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

/// Writes so many pages of 256 lines, as fast as they are taken. A page's first line has its
/// number, each other line its own.
pub(crate) async fn flood<T: Transport, I: Interrupt>(
    console: &mut Console<T, I>,
    pages: u32,
) -> Result<(), Failure> {
    let (_, mut writer) = console.split();
    let mut lines = String::new();
    for line in 1..256 {
        writeln!(lines, "{line:015}")?;
    }
    for page in 0..pages {
        let first = format!("page {page:010}\n");
        writer.write_all(first.as_bytes()).await?;
        writer.write_all(lines.as_bytes()).await?;
    }
    Ok(())
}
