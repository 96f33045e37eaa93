//! The program of docs/io.md that greets the host.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, string::String};
use core::error::Error;

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Up64},
    idle::Halt,
    platform::bare::DeviceInterrupt,
    tasks,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{
    DeviceType, mmio,
    vsock::{HOST, Runner, Vsock},
};
use embedded_io_async::{Read, Write};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

tasks! {
    async fn packets(runner: Runner<mmio::Transport, DeviceInterrupt>), pool = 1 {
        let mut runner = runner;
        println!("{}", runner.run().await);
    }

    async fn greet(vsock: Vsock), pool = 1 {
        let result = greet_host(vsock).await;
        if let Err(error) = &result {
            println!("{error}");
        }
        dormir_guest::exit(result.is_err().into());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    start(runner.spawner())?;
    runner.run_forever(Halt)
}

fn start(spawner: Spawner) -> Result<(), Box<dyn Error>> {
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let device = unsafe { device.connect(map_device_memory, interrupt) }?;
        if device.device_type() != DeviceType::Socket {
            continue;
        }
        let (vsock, runner) = Vsock::new(device)?;
        spawner
            .spawn_detached(packets(runner))
            .map_err(|_| "the pool is full")?;
        spawner
            .spawn_detached(greet(vsock))
            .map_err(|_| "the pool is full")?;
        return Ok(());
    }
    Err("there is no vsock".into())
}

async fn greet_host(vsock: Vsock) -> Result<(), Box<dyn Error>> {
    let mut stream = vsock.connect(HOST, 5001).await?;
    stream.write_all(b"hello from the guest\n").await?;
    stream.shutdown();
    stream.flush().await?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).await?;
    println!("{}", String::from_utf8_lossy(&answer[..length]).trim_end());
    Ok(())
}
