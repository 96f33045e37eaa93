//! Shown in docs/io.md.
#![no_std]
#![no_main]

use dormir::{block_on, idle::Halt};
use dormir_guest::serial::{self, OpenError};
use embedded_io_async::{Read, Write};

dormir_guest::entry!(main);

fn main() -> Result<(), OpenError> {
    block_on(echo(), Halt)
}

async fn echo() -> Result<(), OpenError> {
    let (mut reader, mut writer) = serial::open()?;
    let mut buffer = [0; 64];
    loop {
        let Ok(length) = reader.read(&mut buffer).await;
        if length == 0 {
            break;
        }
        let Ok(()) = writer.write_all(&buffer[..length]).await;
    }
    // The guest ends only when all has left the UART.
    let Ok(()) = writer.flush().await;
    Ok(())
}
