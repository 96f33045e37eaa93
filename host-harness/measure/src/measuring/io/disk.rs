//! Reads of 4 KiB from a disk, in a second.

use super::{Boot, Bounds, GuestError, collect_until, plan::MEMORY_MIB, qemu::Machine};
use dormir_harness::vmm::{self, Device, GuestTime, RunConfig, Vmm};
use std::{io, path::Path, time::Duration};
use tempfile::NamedTempFile;

/// The guest program.
pub(crate) const PROGRAM: &str = "devices";

/// How many reads are in flight.
pub(crate) const IN_FLIGHT: [u64; 2] = [1, 32];

/// The size of the disk, in bytes.
const SIZE: usize = 64 << 20;

/// How long a guest may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Reads in a second, with each number in flight.
pub(crate) type Rates = [u64; 2];

/// A disk in a temporary file. It has no holes: reading them costs nothing.
pub(crate) fn make() -> io::Result<NamedTempFile> {
    let mut disk = NamedTempFile::new()?;
    io::Write::write_all(&mut disk, &vec![0x55; SIZE])?;
    Ok(disk)
}

/// Of dormir's guest.
pub(crate) fn of_guest(
    elf: &Path,
    vmm: Vmm,
    disk: &Path,
    bounds: &Bounds,
) -> Result<Rates, GuestError> {
    bounds.check()?;
    let config = RunConfig {
        arguments: "demo=disk".into(),
        memory_mib: MEMORY_MIB,
        timeout: LIMIT,
        devices: vec![Device::Disk {
            path: disk.to_owned(),
            read_only: true,
        }],
        stop: bounds.stop().clone(),
        ..RunConfig::new(vmm)
    };
    let mut console = Vec::new();
    let report = vmm::run(elf, &config, &mut console)?;
    bounds.check()?;
    let rate = |in_flight: u64| {
        let name = format!("reads_{in_flight}");
        let mut stats = report.stats.iter();
        stats
            .find(|(known, _)| *known == name)
            .map(|(_, rate)| *rate)
    };
    match (IN_FLIGHT.map(rate), pace(&report.times)) {
        ([Some(one), Some(many)], Some(pace)) if report.outcome.is_success() => {
            Ok([one, many].map(|rate| (rate as f64 * pace) as u64))
        }
        _ => Err(GuestError::Ended(format!(
            "{}: {}",
            report.outcome,
            String::from_utf8_lossy(&console)
        ))),
    }
}

/// How many seconds pass on the guest's clock in one of the host's. It is measured at the start of
/// the guest, and may be wrong where the host is busy.
fn pace(times: &[GuestTime]) -> Option<f64> {
    let (first, last) = (times.first()?, times.last()?);
    let by_guest = Duration::from_nanos(last.nanos.checked_sub(first.nanos)?);
    let by_host = last.at.checked_duration_since(first.at)?;
    let pace = by_guest.as_secs_f64() / by_host.as_secs_f64();
    pace.is_finite().then_some(pace)
}

/// Of Linux.
pub(crate) fn of_linux(
    boot: &Boot,
    vmm: Vmm,
    disk: &Path,
    bounds: &Bounds,
) -> Result<Rates, GuestError> {
    bounds.check()?;
    let Vmm::Qemu(accelerator, machine) = vmm else {
        return Err(GuestError::Monitor("our own VMM boots no Linux".into()));
    };
    let machine = Machine {
        accelerator,
        machine,
        memory_mib: MEMORY_MIB,
        port: None,
        disk: Some(disk),
        counts: false,
    };
    let guest = machine.start(boot)?;
    let lines = collect_until(guest.console(), "done", LIMIT, bounds)?;
    let rate = |in_flight: u64| {
        let name = format!("reads_{in_flight} ");
        let line = lines.iter().find_map(|line| line.strip_prefix(&name));
        let missing = || GuestError::Ended(format!("it told no {name}"));
        line.and_then(|rate| rate.parse().ok()).ok_or_else(missing)
    };
    Ok([rate(IN_FLIGHT[0])?, rate(IN_FLIGHT[1])?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_clock_that_is_too_fast_is_found_out() {
        let start = Instant::now();
        let time = |nanos, millis| GuestTime {
            nanos,
            at: start + Duration::from_millis(millis),
        };
        let (first, last) = (time(5_000_000, 100), time(3_005_000_000, 2100));
        assert_eq!(pace(&[first, time(7, 200), last]), Some(1.5));
        for times in [&[][..], &[first], &[last, first]] {
            assert_eq!(pace(times), None, "{times:?}");
        }
    }
}
