//! What the servers of `cargo vm bench --io` have in common: a network, and tasks that accept
//! connections.

use alloc::{boxed::Box, vec};
use core::{error::Error, future::Future};

use dormir::{
    executor::{Executor, SingleVcpu, Spawner, Task, Up4096, yield_now},
    idle::Halt,
    platform::bare::DeviceInterrupt,
    time::Instant,
};
use dormir_guest::{args, map_device_memory, println};
use dormir_virtio::{DeviceType, mmio, net::Net, pci};
use embassy_net::{Config, Stack, StackResources, driver::Driver, tcp::TcpSocket};

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up4096, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

/// How many connections are served at once: the bench opens 100, and a few more.
const SERVERS: usize = 112;

const PORT: u16 = 80;

/// The page, which the bench's Linux guest serves too.
pub(crate) const PAGE: &str = "a page of the bench of dormir\n";

/// How connections are served.
pub(crate) trait Serve: 'static {
    /// Serves one until it ends.
    fn serve(socket: TcpSocket<'_>) -> impl Future<Output = ()>;
}

/// Serves on port 80 until the machine ends.
pub(crate) fn run<S: Serve>() -> Result<(), Box<dyn Error>> {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    let stack = start_network(spawner)?;
    let serve = async move {
        stack.wait_config_up().await;
        for _ in 0..SERVERS {
            let spawned = spawner.spawn_detached(Task::boxed(serve_all::<S>(stack)));
            assert!(spawned.is_ok(), "there is room");
        }
        // Each has begun to listen when this task is polled again.
        yield_now().await;
        println!("serves http://10.0.2.15:{PORT}");
    };
    let spawned = spawner.spawn_detached(Task::boxed(serve));
    assert!(spawned.is_ok(), "there is room");
    runner.run_forever(Halt)
}

async fn serve_all<S: Serve>(stack: Stack<'static>) {
    let (mut received, mut sent) = (vec![0; 4 << 10], vec![0; 4 << 10]);
    loop {
        let mut socket = TcpSocket::new(stack, &mut received, &mut sent);
        if socket.accept(PORT).await.is_ok() {
            socket.set_nagle_enabled(false);
            S::serve(socket).await;
        }
    }
}

/// Starts the machine's network.
fn start_network(spawner: Spawner) -> Result<Stack<'static>, Box<dyn Error>> {
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(device) if device.device_type() == DeviceType::Network => {
                return Ok(start_stack(Net::new(device)?, spawner));
            }
            // Another device, or a transport that has none.
            Ok(_) | Err(mmio::ConnectError::NoDevice) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for device in pci::find() {
        if device.device_type == DeviceType::Network {
            // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus;
            // QEMU has neither RAM nor other devices where this places registers.
            let device = unsafe { device.connect(map_device_memory) }?;
            return Ok(start_stack(Net::new(device)?, spawner));
        }
    }
    Err("there is no network".into())
}

fn start_stack(driver: impl Driver + 'static, spawner: Spawner) -> Stack<'static> {
    // A socket for each server, and one for DHCP.
    let resources = Box::leak(Box::new(StackResources::<{ SERVERS + 1 }>::new()));
    // Nobody has to be kept from guessing the numbers of a bench.
    let seed = Instant::now().as_nanos();
    let (stack, mut runner) =
        embassy_net::new(driver, Config::dhcpv4(Default::default()), resources, seed);
    let spawned = spawner.spawn_detached(Task::boxed(async move { runner.run().await }));
    assert!(spawned.is_ok(), "there is room");
    stack
}
