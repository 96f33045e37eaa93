//! The host of docs/hyperlight.md, for a guest that was built as that page says.
use dormir_hyperlight_host::Host;
use hyperlight_host::SandboxBuilder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guest = "../guest/target/x86_64-unknown-none/release/guest";
    let mut sandbox = SandboxBuilder::from_file(guest).build()?;
    let host = Host::new();
    host.register(&mut sandbox)?;
    let millis: u64 = sandbox.call("naps", ())?;
    println!("it napped for {millis} ms");
    Ok(())
}
