//! Calls async functions of the host over the first virtio console that it finds, or with
//! `over=vsock` over a vsock, to port 5001 of the host. The argument `case` names what it does:
//! `work` (each function), `rates` (how many calls it makes in a second), or `ends` (what becomes
//! of calls when the connection ends).
#![no_std]
#![no_main]

extern crate alloc;

mod ends;
mod rates;
mod work;

use alloc::{boxed::Box, format, string::ToString};
use core::error::Error;

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up64},
    host_calls,
    idle::Halt,
    platform::bare::DeviceInterrupt,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{
    Attached, DeviceType, Interrupt, Transport,
    console::Console,
    mmio, pci,
    vsock::{HOST, Vsock},
};

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// The host's port, over a vsock.
const PORT: u32 = 5001;

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

/// Connects the first console, or the first vsock if the arguments say so, on either bus.
fn connect(spawner: Spawner) -> Result<(), Failure> {
    let over = match args::value("over") {
        Some("vsock") => DeviceType::Socket,
        _ => DeviceType::Console,
    };
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let attached = unsafe { device.connect(map_device_memory, interrupt) }?;
        if attached.device_type() == over {
            return spawn(attached, spawner);
        }
    }
    for device in pci::find() {
        if device.device_type == over {
            // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus;
            // QEMU has neither RAM nor other devices where this places registers.
            let attached = unsafe { device.connect(map_device_memory) }?;
            return spawn(attached, spawner);
        }
    }
    Err(format!("there is no device for host calls: {over:?}").into())
}

/// Spawns what carries the calls.
fn spawn<T, I>(device: Attached<T, I>, spawner: Spawner) -> Result<(), Failure>
where
    T: Transport + 'static,
    I: Interrupt + 'static,
{
    if device.device_type() == DeviceType::Console {
        let mut console = Console::new(device)?;
        return spawn_task(spawner, async move {
            let (reader, writer) = console.split();
            let error = host_calls::run(reader, writer).await;
            println!("{error}");
        });
    }
    let (vsock, mut packets) = Vsock::new(device)?;
    spawn_task(spawner, async move {
        let stopped = packets.run().await;
        println!("{stopped}");
    })?;
    spawn_task(spawner, async move {
        let mut stream = match vsock.connect(HOST, PORT).await {
            Ok(stream) => stream,
            // The calls would wait for a connection.
            Err(error) => {
                println!("{error}");
                dormir_guest::exit(1)
            }
        };
        let (reader, writer) = stream.split();
        let error = host_calls::run(reader, writer).await;
        println!("{error}");
    })
}

fn spawn_task(spawner: Spawner, task: impl Future<Output = ()> + 'static) -> Result<(), Failure> {
    let spawned = spawner.spawn_detached(Task::boxed(task));
    spawned.map_err(|error| error.to_string().into())
}
