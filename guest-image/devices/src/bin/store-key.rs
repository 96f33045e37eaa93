//! Shown in docs/io.md.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, vec};
use core::error::Error;

use dormir::{block_on, idle::Halt, platform::bare::DeviceInterrupt};
use dormir_guest::{args, map_device_memory};
use dormir_virtio::{
    DeviceType,
    blk::{Disk, SECTOR},
    mmio,
    rng::Rng,
};

dormir_guest::entry!(main);

fn main() -> Result<(), Box<dyn Error>> {
    block_on(store_key(), Halt)
}

async fn store_key() -> Result<(), Box<dyn Error>> {
    let (mut rng, mut disk) = (None, None);
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let device = unsafe { device.connect(map_device_memory, interrupt) }?;
        match device.device_type() {
            DeviceType::EntropySource => rng = Some(Rng::new(device)?),
            DeviceType::Block => disk = Some(Disk::new(device)?),
            _ => {}
        }
    }
    let (rng, disk) = (rng.ok_or("no virtio-rng")?, disk.ok_or("no virtio-blk")?);
    let mut buffer = vec![0; SECTOR].into_boxed_slice();
    rng.fill(&mut buffer[..16]).await?;
    let (_buffer, result) = disk.write(0, buffer).await;
    result?;
    disk.flush().await?;
    Ok(())
}
