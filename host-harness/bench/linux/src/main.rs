//! The init of a Linux guest, and its only program. It loads the kernel's modules from `/modules`,
//! gives the network its address, and serves HTTP by Tokio and hyper, or measures its disk if the
//! kernel passes it the word `disk`. `cargo vm bench --io` builds and boots it beside dormir's
//! guests.

mod disk;
mod machine;
mod server;

use std::{env, error::Error, thread, time::Duration};

fn main() {
    let is_disk = env::args().any(|word| word == "disk");
    if let Err(error) = run(is_disk) {
        println!("failed: {error}");
    }
    // The end of init is a panic of the kernel, which would hide what was printed. Who boots this
    // guest ends it.
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}

fn run(is_disk: bool) -> Result<(), Box<dyn Error>> {
    machine::load_modules()?;
    if is_disk {
        machine::mount_devices()?;
        return Ok(disk::measure()?);
    }
    machine::start_network()?;
    server::run()
}
