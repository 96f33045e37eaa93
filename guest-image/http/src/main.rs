//! Serves HTTP on port 80 of its network, at the address that it is told (DHCP), by `embassy-net`
//! and `picoserve`. `/` is a page, `/large` many bytes, `/idle` tells after ten seconds how long
//! and how often the vCPU was halted in them, and `/quit` ends the guest. So does the network's
//! end.
#![no_std]
#![no_main]

extern crate alloc;

mod halted;
mod pages;
mod reach;
mod unflushed;

use alloc::{boxed::Box, vec};
use core::{convert::Infallible, error::Error};

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up4096, yield_now},
    platform::bare::DeviceInterrupt,
    tasks,
    time::Instant,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{Attached, DeviceType, Interrupt, Transport, mmio, net::Net, pci, rng::Rng};
use embassy_net::{Config, Stack, StackResources, driver::Driver, tcp::TcpSocket};
use unflushed::Unflushed;

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// How many connections are served at once. Others are refused: `embassy-net` keeps none waiting.
const SERVERS: usize = 112;

const PORT: u16 = 80;

/// Starts the network, with this seed.
type Start = Box<dyn FnOnce(u64) -> Stack<'static>>;

tasks! {
    async fn start(spawner: Spawner), pool = 1 {
        let Err(error) = serve(spawner).await;
        println!("{error}");
        dormir_guest::exit(1);
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
    let mut start = None;
    // Numbers that others cannot guess make connections safe from them.
    let mut seed = Instant::now().as_nanos();
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(attached) => use_device(attached, &mut start, &mut seed, spawner).await?,
            // A transport that has no device.
            Err(mmio::ConnectError::NoDevice) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for device in pci::find() {
        if !matches!(
            device.device_type,
            DeviceType::Network | DeviceType::EntropySource
        ) {
            continue;
        }
        // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus; QEMU
        // has neither RAM nor other devices where this places registers.
        let attached = unsafe { device.connect(map_device_memory) }?;
        use_device(attached, &mut start, &mut seed, spawner).await?;
    }
    let start = start.ok_or("there is no network: pass --net user")?;
    let stack = start(seed);
    stack.wait_config_up().await;
    let config = stack.config_v4().ok_or("the network has gone")?;
    reach::try_out(stack).await;
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

/// Makes a network or a seed of a device.
async fn use_device<T, I>(
    attached: Attached<T, I>,
    start: &mut Option<Start>,
    seed: &mut u64,
    spawner: Spawner,
) -> Result<(), Box<dyn Error>>
where
    T: Transport + 'static,
    I: Interrupt + 'static,
{
    match attached.device_type() {
        DeviceType::Network => {
            let driver = Net::new(attached)?;
            *start = Some(Box::new(move |seed| start_network(driver, seed, spawner)));
        }
        DeviceType::EntropySource => {
            let mut bytes = [0; 8];
            Rng::new(attached)?.fill(&mut bytes).await?;
            *seed = u64::from_ne_bytes(bytes);
        }
        _ => {}
    }
    Ok(())
}

/// Lets a task of its own run the network: in one task with others it would wake them, and they it,
/// without rest.
fn start_network(driver: impl Driver + 'static, seed: u64, spawner: Spawner) -> Stack<'static> {
    // A socket for each server, and one for DHCP.
    let resources = Box::leak(Box::new(
        StackResources::<{ SERVERS + 1 + reach::SOCKETS }>::new(),
    ));
    let config = Config::dhcpv4(Default::default());
    let (stack, mut runner) = embassy_net::new(driver, config, resources, seed);
    let spawned = spawner.spawn_detached(Task::boxed(async move { runner.run().await }));
    assert!(spawned.is_ok(), "there is room");
    stack
}
