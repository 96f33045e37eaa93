//! Thousands of sleepers at once, on one timer.

use core::time::Duration;

use dormir::{
    hyperlight,
    time::{Instant, Timer},
};
use hyperlight_guest::error::Result;

use super::println;

const SLEEPERS: usize = 4000;

dormir::tasks! {
    async fn sleeper(until: Instant), pool = SLEEPERS {
        Timer::at(until).await;
        assert!(Instant::now() >= until, "a sleeper was woken too early");
    }
}

pub(super) fn run() -> Result<()> {
    hyperlight::block_on(async {
        println!("{SLEEPERS} tasks go to sleep");
        let first = Instant::now().saturating_add(Duration::from_secs(4));
        for sleeper_number in 0..SLEEPERS {
            let until = first.saturating_add(Duration::from_micros(sleeper_number as u64));
            drop(hyperlight::spawn(sleeper(until)).expect("there is room for all"));
        }
        Timer::at(first.saturating_add(Duration::from_millis(4))).await;
    })?;
    // Polls the tasks that were woken together with the last.
    let remaining = hyperlight::poll_once()?.tasks_left;
    println!(
        "{} are up again, none before its time",
        SLEEPERS - remaining
    );
    Ok(())
}
