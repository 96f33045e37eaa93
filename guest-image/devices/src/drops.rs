//! Many requests at once to every device, of which some are dropped at random: after the first
//! poll, or a little later.
//!
//! They are made in rounds. Each sets the drivers up, has tasks make requests, and drops the
//! drivers while the devices still have some. Then the heap must be as before.

mod disk;
mod random;
mod rng;

use alloc::{rc::Rc, vec::Vec};
use core::time::Duration;

use dormir::{
    executor::{JoinHandle, Spawner, Task},
    time::Instant,
};
use dormir_devices_guest::random::Random;
use dormir_guest::{console::report, heap, println};
use dormir_virtio::{DeviceType, blk::Disk, rng::Rng};

use crate::{Failure, bus::Found, error_of};
use disk::Region;

/// The tasks that make requests of each device: more than its queue has room for.
const DISK_TASKS: u64 = 48;
const RNG_TASKS: u64 = 12;

/// The most requests that a task makes in a round.
const ROUND: u64 = 64;

/// What is to be done.
pub(crate) struct Wanted {
    /// The requests of each device.
    pub(crate) requests: u64,
    /// After this time no more are begun.
    pub(crate) limit: Duration,
    /// Chooses the requests.
    pub(crate) seed: u64,
}

/// How many requests were made and dropped.
#[derive(Clone, Copy, Default)]
struct Counts {
    made: u64,
    dropped: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.made += other.made;
        self.dropped += other.dropped;
    }
}

struct Drivers<F: Found> {
    rng: Option<Rng<F::Transport, F::Interrupt>>,
    /// One that can be written.
    disk: Option<Disk<F::Transport, F::Interrupt>>,
}

/// Makes the requests, and returns for how many devices.
pub(crate) async fn run<F: Found + 'static>(
    devices: &[F],
    wanted: &Wanted,
    spawner: Spawner,
) -> Result<usize, Failure> {
    let end = Instant::now().saturating_add(wanted.limit);
    let mut random = Random::new(wanted.seed);
    let drivers = set_up(devices)?;
    let count = usize::from(drivers.rng.is_some()) + usize::from(drivers.disk.is_some());
    let mut regions = match &drivers.disk {
        Some(disk) => disk::prepare(disk, DISK_TASKS).await?,
        None => Vec::new(),
    };
    drop(drivers);
    if count == 0 {
        return Ok(0);
    }
    let (mut rng, mut reads, mut writes) = <(Counts, Counts, Counts)>::default();
    let (mut rounds, mut told) = (0, 0);
    while Instant::now() < end {
        let left = |made: u64, tasks: u64| {
            let left = wanted.requests.saturating_sub(made);
            left.div_ceil(tasks).min(ROUND)
        };
        let each = (
            left(rng.made, RNG_TASKS),
            left(reads.made + writes.made, DISK_TASKS),
        );
        if each == (0, 0) {
            break;
        }
        let before = heap::used();
        let drivers = Rc::new(set_up(devices)?);
        let mut fillers = Vec::new();
        if drivers.rng.is_some() {
            for _ in 0..RNG_TASKS {
                let drivers = Rc::clone(&drivers);
                let random = random.fork();
                let task = Task::boxed(async move {
                    let rng = drivers.rng.as_ref().ok_or("no virtio-rng")?;
                    rng::work(rng, each.0, end, random).await
                });
                fillers.push(spawner.spawn(task)?);
            }
        }
        let mut workers: Vec<JoinHandle<Result<_, Failure>>> = Vec::new();
        for mut region in regions.drain(..) {
            let drivers = Rc::clone(&drivers);
            let random = random.fork();
            let task = Task::boxed(async move {
                let disk = drivers.disk.as_ref().ok_or("no virtio-blk")?;
                let counts = region.work(disk, each.1, end, random).await?;
                Ok((region, counts))
            });
            workers.push(spawner.spawn(task)?);
        }
        for task in fillers {
            rng.add(task.await??);
        }
        for task in workers {
            let (region, counts): (Region, (Counts, Counts)) = task.await??;
            regions.push(region);
            reads.add(counts.0);
            writes.add(counts.1);
        }
        // The devices have these when they are reset.
        for region in &mut regions {
            let Some(disk) = &drivers.disk else { break };
            region.leave_one(disk, &mut random).await;
        }
        if Rc::into_inner(drivers).is_none() {
            return Err(error_of("a task has not given up the drivers"));
        }
        if heap::used() > before {
            return Err(error_of("buffers of dropped requests were not freed"));
        }
        rounds += 1;
        let tenths = (reads.made + writes.made).max(rng.made) * 10 / wanted.requests;
        if tenths > told {
            told = tenths;
            println!(
                "disk: {} reads, {} writes; rng: {}",
                reads.made, writes.made, rng.made
            );
        }
    }
    if let Some(disk) = &set_up(devices)?.disk {
        for region in &mut regions {
            region.settle(disk).await?;
        }
    }
    for (name, count) in [
        ("rng_made", rng.made),
        ("rng_dropped", rng.dropped),
        ("reads_made", reads.made),
        ("reads_dropped", reads.dropped),
        ("writes_made", writes.made),
        ("writes_dropped", writes.dropped),
        ("rounds", rounds),
    ] {
        report(name, count);
    }
    Ok(count)
}

fn set_up<F: Found>(devices: &[F]) -> Result<Drivers<F>, Failure> {
    let (mut rng, mut disk) = (None, None);
    for device in devices {
        let Some(attached) = device.attach()? else {
            continue;
        };
        match attached.device_type() {
            DeviceType::EntropySource => rng = Some(Rng::new(attached)?),
            DeviceType::Block => {
                let found = Disk::new(attached)?;
                disk = (!found.is_read_only()).then_some(found).or(disk);
            }
            _ => {}
        }
    }
    Ok(Drivers { rng, disk })
}
