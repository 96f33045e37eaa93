//! Shown in docs/host-calls.md.
#![no_std]
#![no_main]

extern crate alloc;

mod work;

use alloc::boxed::Box;
use core::error::Error;

use dormir::{block_on, host_calls, idle::Halt, platform::bare::DeviceInterrupt};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{DeviceType, console::Console, mmio};
use embassy_futures::select::{Either, select};

dormir_guest::entry!(main);

fn main() -> Result<(), Box<dyn Error>> {
    block_on(fetch_and_print(), Halt)
}

async fn fetch_and_print() -> Result<(), Box<dyn Error>> {
    let mut console = None;
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing
        // else drives it.
        let device = unsafe { device.connect(map_device_memory, interrupt) }?;
        if device.device_type() == DeviceType::Console {
            console = Some(Console::new(device)?);
            break;
        }
    }
    let mut console = console.ok_or("there is no console for host calls")?;
    let (reader, writer) = console.split();
    match select(work::fetch_all(20), host_calls::run(reader, writer)).await {
        Either::First(bytes) => println!("20 pages have {bytes} bytes"),
        Either::Second(error) => return Err(error.into()),
    }
    Ok(())
}
