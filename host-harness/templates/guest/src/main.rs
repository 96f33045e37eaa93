//! The guest that `cargo run` boots.
#![no_std]
#![no_main]

use dormir::executor::Spawner;
use {{crate}}::blink;

/// The first task. The guest ends when no task is left.
#[dormir_guest::main]
async fn main(spawner: Spawner) {
    spawner
        .spawn_detached(blink(3, 10))
        .expect("there is room for four");
}
