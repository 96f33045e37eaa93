//! Writes back what comes on the serial line, until it ends; then reports how many bytes these
//! were. With the argument `reopen` it closes the line, and opens it again, at both ends.
#![no_std]
#![no_main]

use dormir::{block_on, idle::Halt};
use dormir_guest::{
    args,
    console::report,
    serial::{self, OpenError},
};
use embedded_io_async::{Read, Write};

dormir_guest::entry!(main);

fn main() -> Result<(), OpenError> {
    block_on(echo(), Halt)
}

async fn echo() -> Result<(), OpenError> {
    let mut halves = serial::open()?;
    if args::words().any(|word| word == "reopen") {
        // What has come by then is read, and so is the end.
        drop(halves);
        halves = serial::open()?;
    }
    let (mut reader, mut writer) = halves;
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
    if args::words().any(|word| word == "reopen") {
        drop((reader, writer));
        (reader, writer) = serial::open()?;
        let Ok(length) = reader.read(&mut buffer).await;
        assert_eq!(length, 0, "the end stays");
        drop(writer);
    }
    report("bytes", bytes);
    report("overruns", reader.overruns().into());
    Ok(())
}
