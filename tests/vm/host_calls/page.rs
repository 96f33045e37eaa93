//! Shown in docs/host-calls.md.
use std::{error::Error, os::unix::net::UnixListener, path::Path, thread, time::Duration};

use dormir_harness::vmm::{self, Device, RunConfig, Vmm};
use dormir_hyperlight_host::Host;

async fn fetch(argument: Vec<u8>) -> Result<Vec<u8>, String> {
    let number: [u8; 8] = argument.try_into().map_err(|_| "that is no number")?;
    thread::sleep(Duration::from_millis(50));
    Ok(vec![b'x'; u64::from_le_bytes(number) as usize])
}

/// Boots the guest in this file, and serves its calls. Returns what it prints.
pub fn run(guest: &Path, vmm: Vmm) -> Result<String, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("calls");
    let listener = UnixListener::bind(&path)?;
    let host = Host::new().async_function("fetch", fetch);
    // It ends when the guest does. If no guest is run, it waits for one.
    thread::spawn(move || match listener.accept() {
        Ok((guest, _)) => host
            .serve(guest)
            .unwrap_or_else(|error| eprintln!("{error}")),
        Err(error) => eprintln!("{error}"),
    });
    let mut config = RunConfig::new(vmm);
    config.devices = vec![Device::Port { path }];
    let mut console = Vec::new();
    let report = vmm::run(guest, &config, &mut console)?;
    let printed = String::from_utf8(console)?;
    match report.outcome.is_success() {
        true => Ok(printed),
        false => Err(format!("{}\n{printed}", report.outcome).into()),
    }
}
