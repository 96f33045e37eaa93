//! What a request takes: instructions of the guest, and exits to our own VMM.

use super::{
    Boot, Bounds, GuestError,
    load::Until,
    plan::{CONNECTIONS, MEMORY_MIB},
    running::{PATIENCE, Running},
};
use crate::document::io::{Exits, Instructions};
use dormir_harness::vmm::{VcpuCounters, Vmm};

/// How many requests are counted, and how many come before.
const REQUESTS: u64 = 1000;
const WARM_UP: u64 = 200;

/// How many there are for the exits: fewer, since an exit is slow where KVM emulates instructions.
const REQUESTS_OF_EXITS: u64 = 200;

/// The guest's instructions for each request, by each number of connections. All that it executes
/// meanwhile counts: the interrupts, the network, its own timers.
pub(crate) fn instructions(
    boot: &Boot,
    vmm: Vmm,
    bounds: &Bounds,
) -> Result<Vec<Instructions>, GuestError> {
    let mut running = Running::boot(boot, vmm, MEMORY_MIB, true, PATIENCE, bounds)?;
    let mut counted = Vec::new();
    for connections in CONNECTIONS {
        let mut connected = running.connect(connections, bounds)?;
        let mut fetch = |count| {
            let fetched = connected.fetch(Until::Requests(count), bounds);
            fetched.map_err(GuestError::Fetch)
        };
        fetch(WARM_UP)?;
        let before = running.instructions()?;
        let fetched = fetch(REQUESTS)?;
        let after = running.instructions()?;
        bounds.check()?;
        counted.push(Instructions {
            connections: connections as u64,
            per_request: (after - before) as f64 / fetched.times.len() as f64,
        });
    }
    Ok(counted)
}

/// What leaves the guest for each request under our own VMM, by one connection: in a run with
/// requests, less what does in one without.
pub(crate) fn exits(boot: &Boot, bounds: &Bounds) -> Result<Exits, GuestError> {
    let run = |requests: u64| -> Result<(VcpuCounters, usize), GuestError> {
        let running = Running::boot(boot, Vmm::Kvm, MEMORY_MIB, false, PATIENCE, bounds)?;
        let mut connected = running.connect(1, bounds)?;
        let fetched = connected.fetch(Until::Requests(requests), bounds);
        let fetched = fetched.map_err(GuestError::Fetch)?;
        bounds.check()?;
        Ok((running.counters()?, fetched.times.len()))
    };
    let (without, _) = run(0)?;
    let (with, requests) = run(REQUESTS_OF_EXITS)?;
    let each = |with: u64, without: u64| (with as f64 - without as f64) / requests as f64;
    Ok(Exits {
        to_vmm: each(with.userspace_exits, without.userspace_exits),
        halts: with
            .halt_exits
            .zip(without.halt_exits)
            .map(|(with, without)| each(with, without)),
    })
}
