//! Pages in a second, by several numbers of connections, and the time to the first answer.

use super::{
    Bounds, Contestant, GuestError,
    load::Until,
    plan::{CONNECTIONS, MEMORY_MIB},
    running::{PATIENCE, Running},
};
use crate::document::{
    distribution::Distribution,
    io::{HttpRate, ServerFigures},
};
use dormir_harness::vmm::Vmm;
use std::time::Duration;

/// What comes before anything counts: caches fill, and QEMU translates.
const WARM_UP: Duration = Duration::from_millis(500);

/// One server in one round: boots it, and fetches pages for `span` by each number of connections.
/// Returns its answer.
pub(crate) fn round(
    contestant: &Contestant,
    vmm: Vmm,
    span: Duration,
    (rates, servers): (&mut Vec<HttpRate>, &mut Vec<ServerFigures>),
    bounds: &Bounds,
) -> Result<Vec<u8>, GuestError> {
    let running = Running::boot(&contestant.boot, vmm, MEMORY_MIB, false, PATIENCE, bounds)?;
    let figures = ServerFigures::of(servers, vmm, contestant.server.name());
    figures.first_answer_ns.push(nanos(running.first_answer));
    let mut answer = Vec::new();
    for connections in CONNECTIONS {
        bounds.check()?;
        let mut connected = running.connect(connections, bounds)?;
        answer = connected.answer().to_vec();
        connected
            .fetch(Until::Elapsed(WARM_UP), bounds)
            .map_err(GuestError::Fetch)?;
        let fetched = connected
            .fetch(Until::Elapsed(span), bounds)
            .map_err(GuestError::Fetch)?;
        // A round that was cut short is none.
        bounds.check()?;
        let rate = HttpRate::of(rates, vmm, contestant.server.name(), connections as u64);
        let a_second = fetched.times.len() as f64 / fetched.took.as_secs_f64();
        rate.rounds.push(a_second);
        rate.distribution.merge(&Distribution::of(fetched.times));
    }
    // After all that it holds what it needs.
    figures.resident_bytes = running.resident();
    figures.answer_bytes = answer.len() as u64;
    Ok(answer)
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}
