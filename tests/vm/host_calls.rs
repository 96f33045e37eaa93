//! Host calls of guests without Hyperlight: over a port of a virtio console, or a vsock.

mod functions;
#[expect(unreachable_pub, reason = "the page's file is a crate")]
mod page;

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::Duration,
};

use dormir_harness::vmm::{Accelerator, Device, MachineType, Vmm};
use dormir_hyperlight_host::{Host, ServeError};
use libtest_mimic::{Failed, Trial};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    guest::{Run, boot, config, image_of, on_every_vmm},
    pages,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = on_every_vmm("host-calls:work", |vmm| work(vmm, Over::Console));
    trials.push(Trial::test(
        format!("{}::host-calls:vsock", Vmm::Kvm),
        || work(Vmm::Kvm, Over::Vsock),
    ));
    // Those that differ in the console's other end.
    for vmm in [Vmm::Kvm, Vmm::Qemu(Accelerator::Tcg, MachineType::Microvm)] {
        let trial = |name, case: fn(Vmm) -> Result<(), Failed>| {
            Trial::test(format!("{vmm}::{name}"), move || case(vmm))
        };
        trials.extend([
            trial("host-calls:ends", ends),
            trial("host-calls:rates", rates),
            trial("host-calls:page", shown),
        ]);
    }
    trials
}

/// What carries the calls.
#[derive(Clone, Copy)]
enum Over {
    Console,
    Vsock,
}

/// Runs a case of the guest. `serve` has the other end of its connection.
fn run<T: Send>(
    vmm: Vmm,
    over: Over,
    case: &str,
    serve: impl FnOnce(UnixStream) -> T + Send,
) -> Result<(Run, T), Failed> {
    let folder = tempfile::tempdir()?;
    let calls = folder.path().join("calls");
    let (over, path, device) = match over {
        Over::Console => ("console", calls.clone(), Device::Port { path: calls }),
        // The guest connects to port 5001.
        Over::Vsock => {
            let path = folder.path().join("calls_5001");
            ("vsock", path, Device::Vsock { path: calls })
        }
    };
    let listener = UnixListener::bind(&path)?;
    let mut config = config(vmm, format!("case={case} over={over}"));
    config.devices = vec![device];
    thread::scope(|scope| {
        let serving = scope.spawn(|| listener.accept().map(|(socket, _)| serve(socket)));
        let run = boot("host-calls", &config);
        // If the guest was not run, nothing else connects.
        drop(UnixStream::connect(&path));
        let served = serving.join().map_err(|_| "the host panicked")?;
        Ok((run?, served?))
    })
}

/// The guest calls each function, as the Hyperlight guest does with the same code. Its first
/// message is the longest, and waits in the connection until the host begins to read.
fn work(vmm: Vmm, over: Over) -> Result<(), Failed> {
    let host = functions::add(Host::new());
    let (run, served) = run(vmm, over, "work", |socket| {
        // It has begun to come. A signal ends this early, which does no harm.
        let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
        thread::sleep(Duration::from_millis(300));
        host.serve(socket)
    })?;
    let run = run.succeeded()?;
    run.check(
        run.console == format!("{}\n", functions::EXPECTED),
        "something else came of the calls",
    )?;
    served?;
    let usage = host.usage();
    run.check(usage.bytes == 0, &format!("calls are left: {usage:?}"))
}

/// The connection ends, by what is no reply, while calls are in flight: all end as lost.
fn ends(vmm: Vmm) -> Result<(), Failed> {
    let (run, served) = run(vmm, Over::Console, "ends", |mut socket| {
        // The guest's first batch.
        socket.read_exact(&mut [0; 60])?;
        socket.write_all(&[0xff; 4])?;
        // Whatever else it sends, until it ends.
        socket.read_to_end(&mut Vec::new())
    })?;
    served?;
    let run = run.succeeded()?;
    run.check(
        run.console.contains("the host sent a message of more than"),
        "the guest does not say why",
    )
}

/// How many calls there are in a second is shown, not judged.
fn rates(vmm: Vmm) -> Result<(), Failed> {
    let host = functions::add(Host::new());
    let (run, served) = run(vmm, Over::Console, "rates", |socket| host.serve(socket))?;
    let run = run.succeeded()?;
    let (one, hundred) = (run.stat("calls_1")?, run.stat("calls_100")?);
    println!("{vmm}: {one} calls a second one by one, {hundred} with 100 in flight");
    served.map_err(|error: ServeError| error)?;
    run.check(one > 0 && hundred > 0, "it made no calls")
}

/// The programs of docs/host-calls.md.
fn shown(vmm: Vmm) -> Result<(), Failed> {
    let page = include_str!("../../docs/host-calls.md");
    let built = [
        include_str!("../../guest-image/host-calls/src/bin/fetches/work.rs"),
        include_str!("../../guest-image/host-calls/src/bin/fetches/main.rs"),
        include_str!("host_calls/page.rs"),
    ];
    pages::check_shown(page, "## The same guest without Hyperlight", &built)?;
    let printed = page::run(image_of("fetches")?, vmm).map_err(|error| error.to_string())?;
    match printed == "20 pages have 190 bytes\n" {
        true => Ok(()),
        false => Err(printed.into()),
    }
}
