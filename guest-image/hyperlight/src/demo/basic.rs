//! Sleeps and prints, one after another.

use core::time::Duration;

use dormir::{hyperlight, time::Timer};
use hyperlight_guest::error::Result;

use super::println;

const NAP: Duration = Duration::from_millis(250);

pub(super) fn run() -> Result<()> {
    hyperlight::block_on(async {
        println!("going to sleep");
        Timer::after(NAP).await;
        println!("slept once");
        Timer::after(NAP).await;
        println!("slept twice; good morning");
    })?;
    Ok(())
}
