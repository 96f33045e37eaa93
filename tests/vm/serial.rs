//! A guest started by hand, with only a serial line, prints its console there.

use std::{
    env,
    process::{Command, Stdio},
    time::Duration,
};

use dormir_harness::vmm::{MachineType, qemu};
use libtest_mimic::{Failed, Trial};

use crate::guest::{LIMIT, image_of};

/// QEMU's exit status for the guest's exit code 0.
const PASS: i32 = 33;

pub(crate) fn trials() -> Vec<Trial> {
    let name = |machine| format!("qemu-tcg/{machine}::console-on-the-serial-line");
    vec![
        Trial::test(name("q35"), || hello(MachineType::Q35)),
        Trial::test(name("microvm"), || hello(MachineType::Microvm)),
    ]
}

fn hello(machine: MachineType) -> Result<(), Failed> {
    let machine = match machine {
        MachineType::Q35 => "q35",
        MachineType::Microvm => "microvm",
    };
    let program =
        env::var_os(qemu::PROGRAM_VARIABLE).unwrap_or_else(|| "qemu-system-x86_64".into());
    let mut child = Command::new(program)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args([
            "-machine", machine, "-accel", "tcg", "-cpu", "max", "-serial", "stdio",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
        .arg(image_of("hello")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("QEMU does not start: {error}"))?;
    let started = std::time::Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > LIMIT {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let console = String::from_utf8_lossy(&output.stdout);
    // The firmware may write there first.
    if output.status.code() != Some(PASS) || !console.ends_with("hello\nhello again\n") {
        return Err(format!("{}, with the output:\n{console}", output.status).into());
    }
    Ok(())
}
