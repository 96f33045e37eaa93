//! The program of docs/io.md that answers each connection with a page.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::error::Error;

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Up64},
    idle::Halt,
    platform::bare::DeviceInterrupt,
    tasks,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{DeviceType, mmio, net::Net};
use embassy_net::{Config, Runner, Stack, StackResources, tcp::TcpSocket};
use embedded_io_async::Write;

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

type Driver = Net<mmio::Transport, DeviceInterrupt>;

tasks! {
    async fn network(runner: Runner<'static, Driver>), pool = 1 {
        let mut runner = runner;
        runner.run().await
    }

    async fn server(stack: Stack<'static>), pool = 4 {
        let (mut received, mut sent) = ([0; 1024], [0; 1024]);
        loop {
            let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
            if socket.accept(80).await.is_ok() {
                // An error is that of a peer that has gone.
                let _ = answer(&mut socket).await;
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    start(runner.spawner())?;
    runner.run_forever(Halt)
}

fn start(spawner: Spawner) -> Result<(), Box<dyn Error>> {
    let mut driver = None;
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let device = unsafe { device.connect(map_device_memory, interrupt) }?;
        if device.device_type() == DeviceType::Network {
            driver = Some(Net::new(device)?);
        }
    }
    let driver = driver.ok_or("there is no network: pass --net user")?;
    // A socket for each server, and one for DHCP.
    let resources = Box::leak(Box::new(StackResources::<5>::new()));
    // Better is a number that others cannot guess, from virtio-rng.
    let seed = 1;
    let config = Config::dhcpv4(Default::default());
    let (stack, runner) = embassy_net::new(driver, config, resources, seed);
    spawner
        .spawn_detached(network(runner))
        .map_err(|_| "the pool is full")?;
    for _ in 0..4 {
        spawner
            .spawn_detached(server(stack))
            .map_err(|_| "the pool is full")?;
    }
    println!("serves on port 80");
    Ok(())
}

async fn answer(socket: &mut TcpSocket<'_>) -> Result<(), embassy_net::tcp::Error> {
    socket.read(&mut [0; 512]).await?;
    let page = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n";
    socket.write_all(page).await?;
    socket.close();
    socket.flush().await
}
