//! A program made by the attributes.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{executor::Spawner, time::Timer};
use dormir_guest::println;

#[dormir::task(pool_size = 2)]
async fn blink(mut times: u32, (on, off): (&'static str, &'static str)) {
    while times > 0 {
        println!("{on}");
        Timer::after(Duration::from_millis(1)).await;
        println!("{off}");
        times -= 1;
    }
}

#[dormir_guest::main]
async fn main(spawner: Spawner) -> Result<u8, &'static str> {
    spawner
        .spawn_detached(blink(2, ("on", "off")))
        .map_err(|_| "there is no room")?;
    println!("sum: {}", tested::sum_to(10));
    Ok(7)
}
