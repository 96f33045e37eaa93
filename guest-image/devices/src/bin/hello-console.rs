//! Shown in docs/io.md.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::error::Error;

use dormir::{block_on, idle::Halt, platform::bare::DeviceInterrupt};
use dormir_guest::{args, map_device_memory};
use dormir_virtio::{DeviceType, console::Console, mmio};
use embedded_io_async::{Read, Write};

dormir_guest::entry!(main);

fn main() -> Result<(), Box<dyn Error>> {
    block_on(greet(), Halt)
}

async fn greet() -> Result<(), Box<dyn Error>> {
    let mut first = None;
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let device = unsafe { device.connect(map_device_memory, interrupt) }?;
        if device.device_type() == DeviceType::Console {
            first = Some(Console::new(device)?);
            break;
        }
    }
    let mut console = first.ok_or("there is no console: pass --console")?;
    let (mut reader, mut writer) = console.split();
    writer.write_all(b"who is there?\n").await?;
    // A line may come in pieces, and may be longer than there is room.
    let (mut line, mut length) = ([0; 64], 0);
    while length < line.len() && !line[..length].contains(&b'\n') {
        length += reader.read(&mut line[length..]).await?;
    }
    writer.write_all(b"hello, ").await?;
    writer.write_all(&line[..length]).await?;
    Ok(())
}
