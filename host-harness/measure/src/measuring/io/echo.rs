//! What is measured of a guest that sends back what it receives.

use crate::document::{distribution::Distribution, io::Echo};
use dormir_harness::vmm::Vmm;

/// How many round trips there are, after some that do not count.
pub(super) const TRIPS: usize = 200;
pub(super) const WARM_UP: usize = 20;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// How long each byte took, in nanoseconds.
    pub(super) trips: Vec<u64>,
    pub(super) bytes_per_second: f64,
}

impl Measured {
    /// The same for the document.
    pub(super) fn under(self, vmm: Vmm) -> Echo {
        Echo {
            vmm: vmm.to_string(),
            distribution: Distribution::of(self.trips),
            bytes_per_second: self.bytes_per_second,
        }
    }
}

/// The byte that is sent at this place.
pub(super) fn byte(place: usize) -> u8 {
    b'a' + (place % 26) as u8
}
