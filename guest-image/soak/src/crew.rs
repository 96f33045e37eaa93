//! The tasks, which are spawned at once and end at the same instant.

use alloc::{boxed::Box, vec::Vec};
use core::pin::Pin;

use dormir::{
    executor::{JoinHandle, Spawner, Task},
    time::Instant,
};
use dormir_devices_guest::random::Random;

type Work = Pin<Box<dyn Future<Output = ()>>>;
type MakesWork = Box<dyn FnMut(Instant, Random) -> Work>;

/// Tasks that are still to be spawned.
pub(crate) struct Crew {
    spawner: Spawner,
    random: Random,
    members: Vec<(u64, MakesWork)>,
}

impl Crew {
    pub(crate) fn new(spawner: Spawner, random: Random) -> Self {
        Self {
            spawner,
            random,
            members: Vec::new(),
        }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        self.spawner
    }

    /// Adds so many tasks, each with what `work` returns.
    pub(crate) fn add<F: Future<Output = ()> + 'static>(
        &mut self,
        count: u64,
        mut work: impl FnMut(Instant, Random) -> F + 'static,
    ) {
        let work = Box::new(move |end, random| Box::pin(work(end, random)) as Work);
        self.members.push((count, work));
    }

    /// Spawns all of them.
    pub(crate) fn spawn(&mut self, end: Instant) -> Vec<JoinHandle<()>> {
        let mut handles = Vec::new();
        for (count, work) in &mut self.members {
            for _ in 0..*count {
                let task = Task::boxed(work(end, self.random.fork()));
                let handle = self.spawner.spawn(task);
                handles.push(handle.expect("the executor has room"));
            }
        }
        handles
    }
}
