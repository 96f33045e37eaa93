//! Calls async functions of the host over the first virtio console that it finds. The argument
//! `case` names what it does: `work` (each function), `rates` (how many calls it makes in a
//! second), or `ends` (what becomes of calls when the connection ends).
#![no_std]
#![no_main]

extern crate alloc;

mod ends;
mod rates;
mod work;

use alloc::{boxed::Box, string::ToString};
use core::error::Error;

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up64},
    host_calls,
    idle::Halt,
    platform::bare::DeviceInterrupt,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{Attached, DeviceType, Interrupt, Transport, console::Console, mmio, pci};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// What a case fails with.
type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    connect(spawner)?;
    let work = Task::boxed(async {
        let done = match args::value("case") {
            Some("rates") => rates::rates().await,
            Some("ends") => ends::ends().await,
            _ => work::work().await.map(|line| println!("{line}")),
        };
        if let Err(error) = &done {
            println!("{error}");
        }
        dormir_guest::exit(u8::from(done.is_err()));
    });
    assert!(spawner.spawn_detached(work).is_ok(), "there is room");
    runner.run_forever(Halt)
}

/// Connects the first console, on either bus.
fn connect(spawner: Spawner) -> Result<(), Failure> {
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let attached = unsafe { device.connect(map_device_memory, interrupt) }?;
        if attached.device_type() == DeviceType::Console {
            return spawn(attached, spawner);
        }
    }
    for device in pci::find() {
        if device.device_type == DeviceType::Console {
            // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus;
            // QEMU has neither RAM nor other devices where this places registers.
            let attached = unsafe { device.connect(map_device_memory) }?;
            return spawn(attached, spawner);
        }
    }
    Err("there is no console for host calls".into())
}

/// Spawns the task that carries the calls.
fn spawn<T, I>(device: Attached<T, I>, spawner: Spawner) -> Result<(), Failure>
where
    T: Transport + 'static,
    I: Interrupt + 'static,
{
    let mut console = Console::new(device)?;
    let calls = Task::boxed(async move {
        let (reader, writer) = console.split();
        let error = host_calls::run(reader, writer).await;
        println!("{error}");
    });
    let spawned = spawner.spawn_detached(calls);
    spawned.map_err(|error| error.to_string().into())
}
