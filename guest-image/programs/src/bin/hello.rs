//! Prints hello, and again a second later: the smallest guest, here without attributes.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{block_on, idle::Halt, time::Timer};
use dormir_guest::{entry, println};

entry!(main);

fn main() {
    block_on(hello(), Halt);
}

async fn hello() {
    println!("hello");
    Timer::after(Duration::from_secs(1)).await;
    println!("hello again");
}
