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
        let serves = || {
            Running::boot(boot, vmm, memory, false, limit, bounds)
                .and_then(|running| running.connect(CONNECTIONS, bounds))
        };
        let served = match serves() {
            // That may be another program's doing. What lacks memory ends, as a rule.
            Err(GuestError::Late { .. }) => serves(),
            other => other,
        };
        match served {
            Ok(_) => Ok(true),
            Err(error @ (GuestError::Stopped | GuestError::TooLong(_))) => Err(error),
            Err(_) => Ok(false),
        }
    })
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
