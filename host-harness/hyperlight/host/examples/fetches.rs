//! The host of docs/host-calls.md, for a guest that was built as that page says.
use std::{thread, time::Duration};

use dormir_hyperlight_host::Host;
use hyperlight_host::SandboxBuilder;

async fn fetch(argument: Vec<u8>) -> Result<Vec<u8>, String> {
    let number: [u8; 8] = argument.try_into().map_err(|_| "that is no number")?;
    // As long as a server would take. Without a runtime of yours, functions may block.
    thread::sleep(Duration::from_millis(50));
    Ok(vec![b'x'; u64::from_le_bytes(number) as usize])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guest = "../guest/target/x86_64-unknown-none/release/guest";
    let mut sandbox = SandboxBuilder::from_file(guest).build()?;
    let host = Host::new().async_function("fetch", fetch);
    host.register(&mut sandbox)?;
    let bytes: u64 = sandbox.call("fetch_all", 20_u64)?;
    println!("20 pages have {bytes} bytes");
    Ok(())
}
