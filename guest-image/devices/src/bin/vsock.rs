//! Talks to its host by vsock. It listens on port 5000, and sends back what comes by each
//! connection, 32 at once, to the end of what comes; then it ends its half, too.
//!
//! Arguments:
//! - `port=PORT`: listens on this port.
//! - `connections=COUNT`: ends when so many connections have been served. If it is missing, and no
//!   connection is made, the guest does not end.
//! - `connect=PORT`: also connects to this port of the host, sends, ends its half of the
//!   connection, and reads to the end. With `clients=COUNT` it makes so many connections at once.
//!   Of these, each sends the same:
//!   - `say=WORD`: a line with this word.
//!   - `bulk=COUNT`: so many bytes after that. The byte at place `n` of them, which counts from 0,
//!     is the lowest eight bits of `(31 * n) ^ (n >> 8)`.
//!
//!   With `expect=COUNT` it reads so many bytes, or to the end if that comes first, and then
//!   closes. (Some devices, `vhost-device-vsock` for one, do not tell a host's program that a half
//!   has ended.)
//!
//! What it prints (`CID`, `PORT` and so on are numbers):
//! - `listens on port PORT as CID`, when connections are taken.
//! - `connected to port PORT`, for each connection that was made, and at its end
//!   `port PORT: sent BYTES bytes, received BYTES bytes, sum SUM`. The sum is FNV-1a of 32 bits, in
//!   hexadecimal, of what was received.
//! - `served COUNT connections, BYTES bytes, COUNT reset`, when they have been served: without
//!   those that were reset, the bytes of all, and those that were reset.
//!
//! The same figures are reported as `vsock_sent`, `vsock_received`, `vsock_sum` (of the last client
//! to end), `vsock_served`, `vsock_served_bytes` and `vsock_reset`. The guest ends with success
//! unless a connection that it makes fails, or the device does.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::{boxed::Box, rc::Rc, string::String, vec, vec::Vec};
use core::{cell::Cell, error::Error, pin::pin, str::FromStr, time::Duration};

use dormir::{
    executor::{Executor, JoinHandle, SingleVcpu, Spawner, Task, Up64},
    idle::Halt,
    platform::bare::DeviceInterrupt,
    time::with_timeout,
};
use dormir_guest::{args, console::report, map_device_memory, println};
use dormir_virtio::{
    Attached, DeviceType, Interrupt, Transport, mmio, pci,
    vsock::{HOST, Limits, Listener, Stream, StreamError, StreamReader, StreamWriter, Vsock},
};
use embedded_io_async::{Read, Write};
use futures_util::future::try_join;

dormir_guest::entry!(main);

// SAFETY: this guest has one vCPU.
static EXECUTOR: Executor<Up64, SingleVcpu> = Executor::new(unsafe { SingleVcpu::new() });

type Failure = Box<dyn Error>;

/// How many connections are served at once.
const SERVERS: u64 = 32;
/// The most connections that are made at once: the executor has no more tasks for them.
const MOST_CLIENTS: u64 = 24;

/// How long the host may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// The bytes that are read or written at once.
const CHUNK: usize = 4096;

fn main() {
    let mut runner = EXECUTOR.enter().expect("it is entered once");
    let spawner = runner.spawner();
    drop(spawn(spawner, async move {
        let code = match run(spawner).await {
            Ok(()) => 0,
            Err(error) => {
                println!("{error}");
                1
            }
        };
        dormir_guest::exit(code);
    }));
    runner.run_forever(Halt)
}

fn spawn<F: Future + 'static>(spawner: Spawner, future: F) -> JoinHandle<F::Output> {
    let spawned = spawner.spawn(Task::boxed(future));
    spawned.unwrap_or_else(|_| panic!("there is room"))
}

/// The value of an argument that is a number.
fn number<N: FromStr<Err: Error + 'static>>(name: &str) -> Result<Option<N>, Failure> {
    Ok(args::value(name).map(str::parse).transpose()?)
}

async fn run(spawner: Spawner) -> Result<(), Failure> {
    let vsock = find(spawner)?.ok_or("there is no virtio-vsock")?;
    let listener = vsock.listen(number("port")?.unwrap_or(5000))?;
    let connections = number("connections")?;
    let serving = Rc::new(Serving {
        left: Cell::new(connections.unwrap_or(u64::MAX)),
        served: Cell::new(0),
        bytes: Cell::new(0),
        reset: Cell::new(0),
    });
    println!("listens on port {} as {}", listener.port(), vsock.cid());
    let listener = Rc::new(listener);
    let servers = SERVERS.min(serving.left.get());
    let servers: Vec<_> = (0..servers)
        .map(|_| spawn(spawner, serve(Rc::clone(&listener), Rc::clone(&serving))))
        .collect();
    let port = number("connect")?;
    if let Some(port) = port {
        let clients = number("clients")?.unwrap_or(1).min(MOST_CLIENTS);
        let clients: Vec<_> = (0..clients)
            .map(|_| spawn(spawner, talk(vsock.clone(), port)))
            .collect();
        for client in clients {
            client.await.map_err(|_| "a client has ended early")??;
        }
    }
    if port.is_some() && connections.is_none() {
        return Ok(());
    }
    for server in servers {
        server.await.map_err(|_| "a server has ended early")??;
    }
    let (served, bytes, reset) = (
        serving.served.get(),
        serving.bytes.get(),
        serving.reset.get(),
    );
    println!("served {served} connections, {bytes} bytes, {reset} reset");
    report("vsock_served", served);
    report("vsock_served_bytes", bytes);
    report("vsock_reset", reset);
    Ok(())
}

/// Sets up the first device of either bus, and lets a task run it.
fn find(spawner: Spawner) -> Result<Option<Vsock>, Failure> {
    for device in mmio::find(args::words())? {
        let interrupt = DeviceInterrupt::line(device.irq)?;
        // SAFETY: the VMM says that the device is there; memory is mapped one to one; nothing else
        // drives it.
        match unsafe { device.connect(map_device_memory, interrupt) } {
            Ok(attached) if attached.device_type() == DeviceType::Socket => {
                return start(attached, spawner).map(Some);
            }
            // Another device, or a transport that has none.
            Ok(_) | Err(mmio::ConnectError::NoDevice) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for device in pci::find() {
        if device.device_type == DeviceType::Socket {
            // SAFETY: memory is mapped one to one; nothing else drives it, nor configures the bus;
            // QEMU has neither RAM nor other devices where this places registers.
            let attached = unsafe { device.connect(map_device_memory) }?;
            return start(attached, spawner).map(Some);
        }
    }
    Ok(None)
}

fn start<T, I>(attached: Attached<T, I>, spawner: Spawner) -> Result<Vsock, Failure>
where
    T: Transport + 'static,
    I: Interrupt + 'static,
{
    let mut limits = Limits::default();
    // As many again may come before the servers run.
    limits.backlog += SERVERS as usize;
    let (vsock, mut runner) = Vsock::with_limits(attached, limits)?;
    drop(spawn(spawner, async move {
        let error = runner.run().await;
        println!("{error}");
        dormir_guest::exit(1);
    }));
    Ok(vsock)
}

/// What the servers have done.
struct Serving {
    /// The connections that no server has begun to wait for.
    left: Cell<u64>,
    served: Cell<u64>,
    bytes: Cell<u64>,
    reset: Cell<u64>,
}

/// Serves connections as long as there are some left.
async fn serve(listener: Rc<Listener>, serving: Rc<Serving>) -> Result<(), StreamError> {
    while let Some(left) = serving.left.get().checked_sub(1) {
        serving.left.set(left);
        let accepted = listener.accept().await;
        let mut stream = accepted.map_err(|_| StreamError::Stopped)?;
        let counter = match echo(&mut stream, &serving.bytes).await {
            Ok(()) => &serving.served,
            Err(StreamError::Stopped) => return Err(StreamError::Stopped),
            Err(_) => &serving.reset,
        };
        counter.set(counter.get() + 1);
    }
    Ok(())
}

/// Sends back what comes, to its end, and waits until the device has sent all.
async fn echo(stream: &mut Stream, bytes: &Cell<u64>) -> Result<(), StreamError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            stream.shutdown();
            return stream.flush().await;
        }
        stream.write_all(&buffer[..length]).await?;
        bytes.set(bytes.get() + length as u64);
    }
}

/// Connects to the host, and sends and receives what the arguments say.
async fn talk(vsock: Vsock, port: u32) -> Result<(), Failure> {
    let connected = with_timeout(ANSWER, vsock.connect(HOST, port)).await;
    let mut stream = connected.map_err(|_| "the host does not answer")??;
    println!("connected to port {port}");
    let (mut reader, mut writer) = stream.split();
    let sending = pin!(send(&mut writer));
    let receiving = pin!(receive(&mut reader));
    let (sent, (received, sum)) = try_join(sending, receiving).await?;
    println!("port {port}: sent {sent} bytes, received {received} bytes, sum {sum:08x}");
    report("vsock_sent", sent);
    report("vsock_received", received);
    report("vsock_sum", sum.into());
    Ok(())
}

/// Sends all, ends this side's half, and returns how many bytes there were.
async fn send(writer: &mut StreamWriter<'_>) -> Result<u64, Failure> {
    let mut sent = 0;
    if let Some(word) = args::value("say") {
        let mut line = String::from(word);
        line.push('\n');
        writer.write_all(line.as_bytes()).await?;
        sent += line.len() as u64;
    }
    let bulk = number("bulk")?.unwrap_or(0_u64);
    let mut chunk = Vec::with_capacity(CHUNK);
    for start in (0..bulk).step_by(CHUNK) {
        chunk.clear();
        let places = start..bulk.min(start + CHUNK as u64);
        chunk.extend(places.map(|place| (place.wrapping_mul(31) ^ place >> 8) as u8));
        writer.write_all(&chunk).await?;
        sent += chunk.len() as u64;
    }
    writer.shutdown();
    writer.flush().await?;
    Ok(sent)
}

/// Reads to the end, or what is expected, and returns how many bytes came, and their sum.
async fn receive(reader: &mut StreamReader<'_>) -> Result<(u64, u32), Failure> {
    let expected = number("expect")?.unwrap_or(u64::MAX);
    let (mut received, mut sum) = (0, 0x811c_9dc5_u32);
    let mut buffer = vec![0; CHUNK];
    while received < expected {
        let length = reader.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        received += length as u64;
        for byte in &buffer[..length] {
            sum = (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
    Ok((received, sum))
}
