//! A vsock under our own VMM: how long a byte takes to the guest and back, and how many come back
//! in a second.

use super::{
    Bounds, GuestError,
    echo::{Measured, TRIPS, WARM_UP, byte},
    own_vmm::OwnVmm,
    plan::MEMORY_MIB,
    wait_for,
};
use dormir_harness::vmm::Device;
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The guest program, which sends back what it receives, and what it prints once it does.
pub(crate) const PROGRAM: &str = "vsock";
const LISTENS: &str = "listens on port 5000 as 3";

/// What asks the VMM for a connection to the guest's port.
const CONNECT: &[u8] = b"CONNECT 5000\n";

/// How long the guest may take to listen, and each answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many bytes are sent for the throughput.
const BYTES: usize = 1 << 20;

/// Measures a vsock of a guest.
pub(crate) fn measure(elf: &Path, bounds: &Bounds) -> Result<Measured, GuestError> {
    bounds.check()?;
    let folder = tempfile::tempdir().map_err(GuestError::Resource)?;
    let path = folder.path().join("vsock");
    let device = Device::Vsock { path: path.clone() };
    let guest = OwnVmm::start(elf, MEMORY_MIB, device)?;
    if let Err(error) = wait_for(guest.console(), LISTENS, PATIENCE, bounds) {
        return Err(guest.instead_of(error));
    }
    let measured = connect(&path).and_then(|stream| exchange(&stream, bounds));
    // What was stopped did not fail.
    bounds.check()?;
    measured.map_err(GuestError::Echo)
}

/// A connection to the guest, by the socket at `path`.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(CONNECT)?;
    let mut answer = Vec::new();
    // Not a byte more than its line: what follows is the guest's.
    while answer.last() != Some(&b'\n') && answer.len() < 32 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    match answer.starts_with(b"OK ") && answer.ends_with(b"\n") {
        true => Ok(stream),
        false => Err(io::Error::other(format!(
            "the VMM answers {}",
            answer.escape_ascii()
        ))),
    }
}

fn exchange(mut stream: &UnixStream, bounds: &Bounds) -> io::Result<Measured> {
    let mut trips = Vec::with_capacity(TRIPS);
    for trip in 0..WARM_UP + TRIPS {
        bounds.check().map_err(io::Error::other)?;
        let mut echoed = [0];
        let start = Instant::now();
        stream.write_all(&[byte(trip)])?;
        stream.read_exact(&mut echoed)?;
        let took = start.elapsed();
        check(&echoed, trip)?;
        if trip >= WARM_UP {
            trips.push(took.as_nanos() as u64);
        }
    }
    let all: Vec<u8> = (0..BYTES).map(byte).collect();
    let start = Instant::now();
    let mut sender = stream;
    let span = thread::scope(|scope| {
        // Beside the reading: what fits neither into sockets nor the guest waits until it is read.
        let sending = scope.spawn(|| sender.write_all(&all));
        let received = receive(stream, bounds).map(|()| start.elapsed());
        if received.is_err() {
            // Otherwise the rest would be waited for.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sending.join().expect("it does not panic");
        received.and_then(|span| sent.map(|()| span))
    })?;
    Ok(Measured {
        trips,
        bytes_per_second: BYTES as f64 / span.as_secs_f64().max(1e-9),
    })
}

/// Reads all that was sent for the throughput.
fn receive(mut stream: &UnixStream, bounds: &Bounds) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    let mut place = 0;
    while place < BYTES {
        bounds.check().map_err(io::Error::other)?;
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        check(&piece[..length], place)?;
        place += length;
    }
    Ok(())
}

/// Whether these are the bytes that were sent from this place on.
fn check(echoed: &[u8], place: usize) -> io::Result<()> {
    let are_sent = echoed
        .iter()
        .zip(place..)
        .all(|(&it, place)| it == byte(place));
    are_sent
        .then_some(())
        .ok_or_else(|| io::Error::other("they are others than those sent"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_harness::vmm::StopToken;

    /// Measures a peer that sends each byte back, the one at `wrong` changed, and hangs up before
    /// the one at `end`.
    fn measure_peer(wrong: usize, end: usize) -> Result<Measured, String> {
        let (client, mut peer) = UnixStream::pair().expect("sockets");
        let bounds = Bounds::new(&StopToken::default(), PATIENCE);
        let echo = move || -> io::Result<()> {
            let mut piece = vec![0; 4096];
            let mut place = 0;
            while place < end {
                let length = peer.read(&mut piece)?.min(end - place);
                if length == 0 {
                    break;
                }
                if (place..place + length).contains(&wrong) {
                    piece[wrong - place] ^= 1;
                }
                peer.write_all(&piece[..length])?;
                place += length;
            }
            Ok(())
        };
        thread::spawn(echo);
        exchange(&client, &bounds).map_err(|error| error.to_string())
    }

    #[test]
    fn what_comes_back_is_timed_and_compared() {
        const ALL: usize = WARM_UP + TRIPS + BYTES;
        let measured = measure_peer(ALL, ALL).expect("all comes back");
        assert_eq!(measured.trips.len(), TRIPS);
        assert!(measured.bytes_per_second > 0.0);
        for (wrong, end) in [(30, ALL), (ALL - 1, ALL), (ALL, 30), (ALL, ALL - 1)] {
            measure_peer(wrong, end).expect_err("something is wrong");
        }
        let error = measure_peer(ALL - 1, ALL).expect_err("the last byte is another");
        assert!(error.contains("others than those sent"), "{error}");
    }
}
