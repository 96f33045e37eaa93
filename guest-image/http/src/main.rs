//! Serves HTTP on port 80 of its network, at the address that it is told (DHCP), by `embassy-net`
//! and `picoserve`. `/` is a page, `/large` many bytes, `/idle` tells after ten seconds how long the
//! vCPU was halted in them, and `/quit` ends the guest. So does the end of the network.
#![no_std]
#![no_main]

extern crate alloc;

mod halted;
mod pages;
mod unflushed;

use alloc::{boxed::Box, vec};
use core::{convert::Infallible, error::Error};

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Up64, yield_now},
    platform::bare::DeviceInterrupt,
    tasks,
    time::Instant,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{
    DeviceType,
    mmio::{self, MmioTransport},
    net::Net,
    rng::Rng,
};
use embassy_net::{Config, Runner, Stack, StackResources, tcp::TcpSocket};
use unflushed::Unflushed;

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// How many connections are served at once. Others are refused: `embassy-net` keeps none waiting.
const SERVERS: usize = 16;

const PORT: u16 = 80;

type Driver = Net<MmioTransport<'static>, DeviceInterrupt>;

tasks! {
    async fn start(spawner: Spawner), pool = 1 {
        let Err(error) = serve(spawner).await;
        println!("{error}");
        dormir_guest::exit(1);
    }

    async fn network(runner: Runner<'static, Driver>), pool = 1 {
        let mut runner = runner;
        runner.run().await
    }

    async fn server(stack: Stack<'static>), pool = SERVERS {
        let (mut received, mut sent) = (vec![0; 4 << 10], vec![0; 32 << 10]);
        loop {
            let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
            if socket.accept(PORT).await.is_err() {
                continue;
            }
            // Otherwise the end of an answer waits until its beginning is acknowledged, which the
            // other side may do late.
            socket.set_nagle_enabled(false);
            if pages::serve(Unflushed(socket)).await.is_break() {
                dormir_guest::exit(0);
            }
        }
    }
}

fn main() {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    let spawned = spawner.spawn_detached(start(spawner));
    assert!(spawned.is_ok(), "the pool has room");
    runner.run_forever(halted::Counted)
}

/// Starts the network and the servers, and waits for the network's end.
async fn serve(spawner: Spawner) -> Result<Infallible, Box<dyn Error>> {
    let mut driver = None;
    // Numbers that others cannot guess make connections safe from them.
    let mut seed = Instant::now().as_nanos();
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        let attached = match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(attached) => attached,
            // A transport that has no device.
            Err(mmio::ConnectError::NoDevice) => continue,
            Err(error) => return Err(error.into()),
        };
        match attached.device_type() {
            DeviceType::Network => driver = Some(Net::new(attached)?),
            DeviceType::EntropySource => {
                let mut bytes = [0; 8];
                Rng::new(attached)?.fill(&mut bytes).await?;
                seed = u64::from_ne_bytes(bytes);
            }
            _ => {}
        }
    }
    let driver = driver.ok_or("there is no network: pass --net user")?;
    // A socket for each server, and one for DHCP.
    let resources = Box::leak(Box::new(StackResources::<{ SERVERS + 1 }>::new()));
    let config = Config::dhcpv4(Default::default());
    let (stack, runner) = embassy_net::new(driver, config, resources, seed);
    let spawned = spawner.spawn_detached(network(runner));
    assert!(spawned.is_ok(), "the pool has room");
    stack.wait_config_up().await;
    let config = stack.config_v4().ok_or("the network has gone")?;
    for _ in 0..SERVERS {
        let spawned = spawner.spawn_detached(server(stack));
        assert!(spawned.is_ok(), "the pool has room");
    }
    // Each has begun to listen when this task is polled again.
    yield_now().await;
    println!("serves http://{}:{PORT}", config.address.address());
    stack.wait_link_down().await;
    Err("the network has gone".into())
}
