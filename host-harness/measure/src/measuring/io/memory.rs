//! The least memory with which a server serves.

use super::{Boot, Bounds, GuestError, running::Running};
use dormir_harness::vmm::Vmm;
use std::{ops::RangeInclusive, time::Duration};

/// The sizes that are tried, in MiB. QEMU's machines have no less.
const SIZES: RangeInclusive<u32> = 2..=256;

/// How many connections must be served.
const CONNECTIONS: usize = 100;

/// A server that needs this many times as long as with plenty of memory, and these seconds more, is
/// taken for one that does not serve.
const FACTOR: u32 = 3;
const SLACK: Duration = Duration::from_secs(8);

/// The least memory, in MiB, with which a server under QEMU answers by 100 connections at once.
/// `usual` is the time to its first answer where it has plenty.
pub(crate) fn least(
    boot: &Boot,
    vmm: Vmm,
    usual: Duration,
    bounds: &Bounds,
) -> Result<u32, GuestError> {
    let limit = usual * FACTOR + SLACK;
    smallest(SIZES, |memory| {
        is_enough(|| {
            let running = Running::boot(boot, vmm, memory, false, limit, bounds)?;
            running.connect(CONNECTIONS, bounds).map(drop)
        })
    })
}

/// Whether a server serves, by two attempts: the first may fail by another program's doing, which
/// had the port, or the processor. What fails by the host's doing tells nothing of the memory.
fn is_enough(mut serve: impl FnMut() -> Result<(), GuestError>) -> Result<bool, GuestError> {
    let served = match serve() {
        Ok(()) => Ok(()),
        Err(error @ (GuestError::Stopped | GuestError::TooLong(_))) => Err(error),
        Err(_) => serve(),
    };
    match served {
        Ok(()) => Ok(true),
        Err(GuestError::Ended(_) | GuestError::Late { .. } | GuestError::Fetch(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The smallest number that will do; each that is larger must do too, and the largest must.
fn smallest(
    numbers: RangeInclusive<u32>,
    mut will_do: impl FnMut(u32) -> Result<bool, GuestError>,
) -> Result<u32, GuestError> {
    let (mut low, mut high) = numbers.into_inner();
    while low < high {
        let middle = low + (high - low) / 2;
        if will_do(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn too_little_memory_is_what_fails_twice_by_the_guests_doing() {
        let look = |first: fn() -> GuestError, second: fn() -> GuestError| {
            let mut failures = [first, second].into_iter();
            let found = is_enough(|| Err(failures.next().expect("two attempts at most")()));
            found.map_err(|_| failures.len())
        };
        let ended = || GuestError::Ended("it has no room".into());
        let late = || GuestError::Late {
            line: "serves".into(),
            limit: Duration::ZERO,
            words: "none".into(),
        };
        let refused = || GuestError::Resource(io::ErrorKind::OutOfMemory.into());
        let breaks = || GuestError::Fetch(io::ErrorKind::ConnectionReset.into());
        let monitor = || GuestError::Monitor("it is silent".into());
        for guests in [ended as fn() -> GuestError, late, breaks] {
            assert_eq!(look(refused, guests), Ok(false));
            assert_eq!(look(guests, refused), Err(0));
            assert_eq!(look(guests, monitor), Err(0));
            assert_eq!(look(guests, || GuestError::Stopped), Err(0));
        }
        // Without a second attempt.
        assert_eq!(look(|| GuestError::Stopped, ended), Err(1));
        let mut attempts = 0;
        let found = is_enough(|| {
            attempts += 1;
            (attempts == 2).then_some(()).ok_or_else(ended)
        });
        assert!(matches!(found, Ok(true)), "{found:?}");
    }

    #[test]
    fn the_smallest_number_is_found() {
        for least in [2, 3, 17, 255, 256] {
            let mut tried = 0;
            let found = smallest(SIZES, |number| {
                tried += 1;
                Ok(number >= least)
            });
            assert_eq!(found.expect("nothing fails"), least);
            assert!(tried <= 8, "{tried} boots");
        }
        let stopped = smallest(SIZES, |_| Err(GuestError::Stopped));
        assert!(matches!(stopped, Err(GuestError::Stopped)));
    }
}
