//! Machines that the harness does not create: without a PIC, without a PIT, without a console.

use std::{env, path::Path, time::Duration};

use assert_cmd::Command;
use dormir_abi::exit;
use libtest_mimic::{Failed, Trial};

use crate::guest::image_of;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "qemu-tcg/microvm::pit-without-a-pic-is-refused",
            without_pic,
        ),
        Trial::test("qemu-tcg/microvm::tsc-hz-without-a-source", without_pit),
        Trial::test("qemu-tcg/microvm::no-console", without_console),
    ]
}

/// The time limit of a guest.
const LIMIT: Duration = Duration::from_secs(60);

/// Boots `hello` on a microvm with a debug console and these options; returns its exit code, if it
/// has one, and its console.
fn hello(options: &str, arguments: &str) -> Result<(Option<u8>, String), Failed> {
    boot_by_hand(image_of("hello")?, options, arguments, &DEBUG_CONSOLE)
}

/// QEMU's options for a debug console.
pub(crate) const DEBUG_CONSOLE: [&str; 2] = ["-device", "isa-debugcon,iobase=0xe9,chardev=console"];

/// Boots an image on a microvm with these devices, which may use the character device `console`;
/// returns the exit code, if it has one, and what the console printed.
pub(crate) fn boot_by_hand(
    image: &Path,
    options: &str,
    arguments: &str,
    devices: &[&str],
) -> Result<(Option<u8>, String), Failed> {
    let program = env::var("DORMIR_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".into());
    let output = Command::new(program)
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-m", "64M", "-cpu", "max"])
        .args([
            "-machine",
            &format!("microvm,accel=tcg,rtc=on,isa-serial=off,{options}"),
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(devices)
        .arg("-kernel")
        .arg(image)
        .args(["-append", arguments])
        .timeout(LIMIT)
        .output()?;
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((
        output.status.code().and_then(exit::from_qemu_status),
        console,
    ))
}

/// Checks the exit code of a guest, and that its console has this text.
pub(crate) fn is(ended: (Option<u8>, String), code: u8, text: &str) -> Result<(), Failed> {
    if ended.0 == Some(code) && ended.1.contains(text) {
        return Ok(());
    }
    Err(format!("not ended with {code} and `{text}`, but: {ended:?}").into())
}

/// The PIC delivers the PIT's interrupts: without it, nothing would end a sleep.
fn without_pic() -> Result<(), Failed> {
    is(
        hello("pit=on,pic=off", "timer=pit")?,
        exit::SETUP_FAILED,
        "no PIC answers",
    )?;
    is(
        hello("pit=on,pic=on", "timer=pit")?,
        exit::SUCCESS,
        "hello again",
    )
}

/// Without a PIT, only the argument can give the TSC's frequency.
fn without_pit() -> Result<(), Failed> {
    let machine = "pit=off,pic=on";
    is(hello(machine, "")?, exit::SETUP_FAILED, "tsc_hz=HZ")?;
    is(
        hello(machine, "tsc_hz=1000000000")?,
        exit::SUCCESS,
        "hello again",
    )?;
    is(
        hello(machine, "tsc_hz=999")?,
        exit::SETUP_FAILED,
        "frequency of 999 Hz",
    )?;
    is(
        hello(machine, "tsc_hz=fast")?,
        exit::SETUP_FAILED,
        "frequency in Hz",
    )
}

/// Neither a debug console nor a serial line: nothing is printed, and nothing waits for either.
fn without_console() -> Result<(), Failed> {
    let ended = boot_by_hand(image_of("hello")?, "pit=on,pic=on", "", &[])?;
    if ended == (Some(exit::SUCCESS), String::new()) {
        return Ok(());
    }
    Err(format!("not ended with success and without output, but: {ended:?}").into())
}
