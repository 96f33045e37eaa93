//! Writes back what comes on the serial line, until it ends; then reports how many bytes these
//! were.
#![no_std]
#![no_main]

use dormir::{block_on, idle::Halt};
use dormir_guest::{
    console::report,
    serial::{self, OpenError},
};
use embedded_io_async::{Read, Write};

dormir_guest::entry!(main);

fn main() -> Result<(), OpenError> {
    block_on(echo(), Halt)
}

async fn echo() -> Result<(), OpenError> {
    let (mut reader, mut writer) = serial::open()?;
    let (mut buffer, mut bytes) = ([0; 64], 0);
    loop {
        let Ok(length) = reader.read(&mut buffer).await;
        if length == 0 {
            break;
        }
        let Ok(()) = writer.write_all(&buffer[..length]).await;
        bytes += length as u64;
    }
    let Ok(()) = writer.flush().await;
    report("bytes", bytes);
    report("overruns", reader.overruns().into());
    Ok(())
}
