//! Requests of virtio devices, and calls of the host over one of them.

use alloc::{boxed::Box, rc::Rc, vec};

use dormir::{
    executor::{Spawner, Task},
    host_calls,
    time::Instant,
};
use dormir_devices_guest::{Failure, bus::Found, random::Random, tasks::join_all};
use dormir_guest::args;
use dormir_virtio::{
    DeviceType, Interrupt, Transport,
    blk::{Disk, SECTOR},
    console::Console,
    mmio, pci,
    rng::Rng,
};

use super::{nap, tasks::PAUSE};
use crate::{board::Kind, crew::Crew, watch::watch};

/// The tasks of each device.
const TASKS: u64 = 4;

/// So many requests are made at once at first: then drivers and connection have the memory that
/// they need.
const WARM: u64 = 4 * TASKS;

/// The most bytes of a request for random ones, and of a call.
const BYTES: u64 = 200;

/// Sets up the devices of the machine.
pub(crate) async fn start(crew: &mut Crew) -> Result<(), Failure> {
    for device in mmio::find(args::words())? {
        attach(&device, crew).await?;
    }
    for device in pci::find() {
        attach(&device, crew).await?;
    }
    Ok(())
}

/// Makes the driver of a device.
async fn attach(device: &impl Found, crew: &mut Crew) -> Result<(), Failure> {
    let Some(attached) = device.attach()? else {
        return Ok(());
    };
    match attached.device_type() {
        DeviceType::EntropySource => {
            let rng = Rc::new(Rng::new(attached)?);
            join_all((0..WARM).map(|_| rng.request(vec![0; 1].into()))).await;
            crew.add(TASKS, move |end, random| {
                bytes(Rc::clone(&rng), end, random)
            });
        }
        DeviceType::Block => {
            let disk = Rc::new(Disk::new(attached)?);
            join_all((0..WARM).map(|_| disk.read(0, vec![0; SECTOR].into()))).await;
            let mut sectors = 0..;
            crew.add(TASKS, move |end, random| {
                sector(Rc::clone(&disk), sectors.next().unwrap_or(0), end, random)
            });
        }
        DeviceType::Console => {
            connect(crew.spawner(), Console::new(attached)?).await?;
            crew.add(TASKS, calls);
        }
        _ => {}
    }
    Ok(())
}

/// Requests for random bytes.
async fn bytes<T: Transport, I: Interrupt>(rng: Rc<Rng<T, I>>, end: Instant, mut random: Random) {
    while Instant::now() < end {
        let buffer: Box<[u8]> = vec![0; random.below(BYTES) as usize + 1].into();
        let (buffer, written) = watch(Kind::Rng, Instant::now(), rng.request(buffer)).await;
        let written = written.expect("the device answers");
        assert!(written <= buffer.len(), "the device reports a wrong length");
        nap(&mut random, PAUSE).await;
    }
}

/// Writes to a sector of its own, and reads back.
async fn sector<T: Transport, I: Interrupt>(
    disk: Rc<Disk<T, I>>,
    sector: u64,
    end: Instant,
    mut random: Random,
) {
    let mut write = 0_u64;
    while Instant::now() < end {
        write += 1;
        let content = write.to_le_bytes().repeat(SECTOR / 8).into_boxed_slice();
        let request = disk.write(sector, content);
        let (content, written) = watch(Kind::Disk, Instant::now(), request).await;
        written.expect("the disk writes");
        let request = disk.read(sector, vec![0; SECTOR].into());
        let (found, read) = watch(Kind::Disk, Instant::now(), request).await;
        read.expect("the disk reads");
        assert!(
            found == content,
            "sector {sector} has another content than write {write}"
        );
        nap(&mut random, PAUSE).await;
    }
}

/// Spawns what carries the calls.
async fn connect<T, I>(spawner: Spawner, mut console: Console<T, I>) -> Result<(), Failure>
where
    T: Transport + 'static,
    I: Interrupt + 'static,
{
    let carrier = Task::boxed(async move {
        let (reader, writer) = console.split();
        let error = host_calls::run(reader, writer).await;
        panic!("the connection has ended: {error}");
    });
    assert!(spawner.spawn_detached(carrier).is_ok(), "there is room");
    let calls = (0..WARM).map(|_| host_calls::call("echo", &[1; BYTES as usize]));
    for result in join_all(calls).await {
        result?;
    }
    Ok(())
}

/// Calls of the host.
async fn calls(end: Instant, mut random: Random) {
    while Instant::now() < end {
        let bytes = vec![random.below(256) as u8; random.below(BYTES) as usize];
        let call = host_calls::call("echo", &bytes);
        let result = watch(Kind::Calls, Instant::now(), call).await;
        assert!(
            result == Ok(bytes),
            "a call brought something else: {result:?}"
        );
        nap(&mut random, PAUSE).await;
    }
}
