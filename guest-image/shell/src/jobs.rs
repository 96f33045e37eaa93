//! The tasks that the shell can start.

use alloc::vec::Vec;
use core::time::Duration;

use dormir::{
    executor::{JoinHandle, Spawner, yield_now},
    tasks,
    time::{Ticker, Timer},
};

use crate::EXECUTOR;

tasks! {
    /// Takes all of the processor that others leave.
    async fn spin(), pool = 16 {
        loop {
            yield_now().await;
        }
    }

    /// Wakes a hundred times a second.
    async fn tick(), pool = 16 {
        let mut ticker = Ticker::every(Duration::from_millis(10));
        loop {
            ticker.next().await;
        }
    }

    async fn nap(length: Duration), pool = 16 {
        Timer::after(length).await;
    }
}

/// The tasks that were started, by number.
#[derive(Default)]
pub(crate) struct Jobs(Vec<(u64, JoinHandle<()>)>);

/// Why a task was not started.
pub(crate) enum NotStarted {
    /// There is none of this name.
    Unknown,
    /// There are as many as there can be.
    Full,
}

impl Jobs {
    /// Starts the task `name`, and returns its number.
    pub(crate) fn start(
        &mut self,
        spawner: Spawner,
        name: &str,
        length: Option<Duration>,
    ) -> Result<u64, NotStarted> {
        // A handle keeps its task's place in the pool.
        self.0.retain(|(_, handle)| !handle.is_finished());
        let started = match name {
            "spin" => spawner.spawn(spin()).map_err(drop),
            "tick" => spawner.spawn(tick()).map_err(drop),
            "nap" => {
                let length = length.unwrap_or(Duration::from_secs(10));
                spawner.spawn(nap(length)).map_err(drop)
            }
            _ => return Err(NotStarted::Unknown),
        };
        let handle = started.map_err(|()| NotStarted::Full)?;
        // The executor's tasks are numbered from 1.
        let number = EXECUTOR.metrics().spawned;
        self.0.push((number, handle));
        Ok(number)
    }

    /// Ends the task with this number. Returns `false` if there is none.
    pub(crate) fn end(&mut self, number: u64) -> bool {
        let place = self.0.iter().position(|(job, _)| *job == number);
        let Some(place) = place else {
            return false;
        };
        let (_, handle) = self.0.swap_remove(place);
        let runs = !handle.is_finished();
        handle.abort();
        runs
    }
}
