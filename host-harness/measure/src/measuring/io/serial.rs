//! The serial line: how long a byte takes to the guest and back, and how many come in a second.

use super::{
    Bounds, GuestError,
    echo::{Measured, TRIPS, WARM_UP, byte},
};
use dormir_harness::vmm::{self, GuestInput, RunConfig, Vmm};
use std::{
    io::{self, PipeWriter, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// The guest program, which writes back what it reads.
pub(crate) const PROGRAM: &str = "echo";

/// How many bytes are sent at once, for the throughput.
const BYTES: usize = 16 << 10;

/// How long the guest may take for all of it.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures the serial line of a guest.
pub(crate) fn measure(elf: &Path, vmm: Vmm, bounds: &Bounds) -> Result<Measured, GuestError> {
    bounds.check()?;
    let (reader, writer) = io::pipe().map_err(GuestError::Resource)?;
    let config = RunConfig {
        timeout: LIMIT,
        input: Some(GuestInput::new(reader)),
        stop: bounds.stop().clone(),
        ..RunConfig::new(vmm)
    };
    let (tell, echoed) = sync_channel(BYTES);
    thread::scope(|scope| {
        let client = scope.spawn(move || exchange(writer, &echoed));
        let ran = vmm::run(elf, &config, &mut Echo(tell));
        // Its end of the pipe is closed by now, or the guest has ended: so the client ends too.
        let measured = client.join().expect("it does not panic");
        bounds.check()?;
        let report = ran?;
        if !report.outcome.is_success() {
            return Err(GuestError::Ended(report.outcome.to_string()));
        }
        measured.map_err(GuestError::Echo)
    })
}

/// Sends the guest's bytes on, each with the time at which it came.
struct Echo(SyncSender<(u8, Instant)>);

impl Write for Echo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = Instant::now();
        for byte in bytes {
            // The client has no more to look for.
            let _ = self.0.send((*byte, now));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exchange(mut guest: PipeWriter, echoed: &Receiver<(u8, Instant)>) -> io::Result<Measured> {
    let ended = || io::Error::other("the serial line fell silent before its end");
    let take = |expected: u8| match echoed.recv_timeout(LIMIT) {
        Ok((byte, at)) if byte == expected => Ok(at),
        Ok(_) => Err(io::Error::other(
            "another byte came back on the serial line",
        )),
        Err(_) => Err(ended()),
    };
    let mut trips = Vec::with_capacity(TRIPS);
    for trip in 0..WARM_UP + TRIPS {
        let start = Instant::now();
        guest.write_all(&[byte(trip)])?;
        let at = take(byte(trip))?;
        if trip >= WARM_UP {
            trips.push(at.saturating_duration_since(start).as_nanos() as u64);
        }
    }
    let bytes: Vec<u8> = (0..BYTES).map(byte).collect();
    let start = Instant::now();
    guest.write_all(&bytes)?;
    let mut end = start;
    for byte in bytes {
        end = take(byte)?;
    }
    let span = end.saturating_duration_since(start).as_secs_f64();
    Ok(Measured {
        trips,
        bytes_per_second: BYTES as f64 / span.max(1e-9),
    })
}
