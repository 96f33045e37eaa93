//! The clock under each VMM: compared with the host's, and when the TSC jumps.

use std::time::{Duration, Instant};

use dormir_harness::vmm::{Accelerator, GuestTime, MachineType, Vmm, kvm::probe};
use libtest_mimic::{Failed, Trial};

use crate::guest::{Run, boot, config, on_every_vmm};

/// How far the clock may drift from the host's if the host reports the TSC's frequency, in parts
/// per million.
const MOST_GIVEN: f64 = 200.0;
/// The same if the guest has measured the frequency.
const MOST_CALIBRATED: f64 = 1000.0;

pub(crate) fn trials() -> Vec<Trial> {
    on_every_vmm("clock-drift", |vmm| drift(vmm, "default"))
        .into_iter()
        .chain(
            [Vmm::Kvm, Vmm::Qemu(Accelerator::Kvm, MachineType::Q35)]
                .into_iter()
                .flat_map(|vmm| {
                    ["tsc", "calibrated"].map(|clock| {
                        Trial::test(format!("{vmm}::clock-drift:{clock}"), move || {
                            drift(vmm, clock)
                        })
                    })
                }),
        )
        .chain(Vmm::ALL.into_iter().flat_map(jumps_with_the_tsc))
        .chain(["xapic", "tsc-deadline"].map(|timer| {
            Trial::test(
                format!("kvm::clock-jumps-with-the-hosts:{timer}"),
                move || jumps(Vmm::Kvm, &format!("by=host timer={timer}")),
            )
        }))
        .chain(["xapic", "pit"].map(|timer| {
            let name = format!("qemu-tcg/q35::clock-changes-its-rate:{timer}");
            Trial::test(name, move || rates(timer))
        }))
        .collect()
}

/// The guest's own hypervisor stops the TSC and changes its rate.
fn rates(timer: &str) -> Result<(), Failed> {
    let vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
    let arguments = format!("do=rates clock=tsc timer={timer}");
    let run = boot("clock", &config(vmm, arguments))?.succeeded()?;
    println!("{}", run.console.trim_end());
    Ok(())
}

/// QEMU's translator ignores a guest's writes to its TSC, and has neither pvclock nor TSC-deadline.
/// There the guest's own hypervisor moves the TSC. A KVM without hardware virtualization ignores
/// the writes too, since its guests have the host's TSC: on such a machine those tests are listed
/// as ignored.
fn jumps_with_the_tsc(vmm: Vmm) -> Vec<Trial> {
    let (by, clocks, timers): (_, &[_], _) = match vmm {
        Vmm::Qemu(Accelerator::Tcg, _) => ("nested", &["tsc"], ["xapic", "pit"]),
        _ => ("tsc", &["default", "tsc"], ["xapic", "tsc-deadline"]),
    };
    let pairs = clocks
        .iter()
        .flat_map(|clock| timers.map(|timer| (clock, timer)));
    let is_ignored = by == "tsc" && probe().is_ok_and(|kvm| kvm.hardware_assisted == Some(false));
    pairs
        .map(|(clock, timer)| {
            let arguments = format!("by={by} clock={clock} timer={timer}");
            let name = format!("{vmm}::clock-jumps-with-the-tsc:{clock}:{timer}");
            Trial::test(name, move || jumps(vmm, &arguments)).with_ignored_flag(is_ignored)
        })
        .collect()
}

/// The guest reports its clock's time again and again, and once more ten seconds later.
fn drift(vmm: Vmm, clock: &str) -> Result<(), Failed> {
    let mut config = config(vmm, format!("do=drift clock={clock}"));
    config.pit = vmm == Vmm::Kvm && clock == "calibrated";
    let run = boot("clock", &config)?.succeeded()?;
    let line = run.console.lines().next().unwrap_or_default();
    let ppm = parts_per_million(&run)?;
    println!("{vmm}: drift {ppm:+.1} ppm over 10 s ({line})");
    let is_calibrated = clock == "calibrated" || line.contains(", calibrated;");
    let most = if is_calibrated {
        MOST_CALIBRATED
    } else {
        MOST_GIVEN
    };
    run.check(
        ppm.abs() <= most,
        &format!("the clock drifts by {ppm:+.1} ppm, more than {most}"),
    )
}

/// Returns by how much the guest's clock is faster than the host's.
fn parts_per_million(run: &Run) -> Result<f64, Failed> {
    let times = &run.report.times;
    run.check(times.len() == 600, "some times are missing")?;
    let (first, last) = times.split_at(times.len() / 2);
    let (first, last) = (soonest(first), soonest(last));
    let host = last.at.duration_since(first.at).as_nanos() as f64;
    let guest = (last.nanos - first.nanos) as f64;
    run.check(host > 9e9, "the ten seconds were shorter")?;
    Ok((guest / host - 1.0) * 1e6)
}

/// Returns the report that arrived soonest after the guest read its clock. That delay is the same
/// for every group, unless every report of a group was delayed.
fn soonest(times: &[GuestTime]) -> GuestTime {
    let start: Instant = times[0].at;
    let late = |time: &&GuestTime| {
        time.at.duration_since(start).as_nanos() as i128 - i128::from(time.nanos)
    };
    *times.iter().min_by_key(late).unwrap_or(&times[0])
}

/// Sets the clock's source ahead by hours and back again.
fn jumps(vmm: Vmm, arguments: &str) -> Result<(), Failed> {
    let run = boot("clock", &config(vmm, format!("do=jumps {arguments}")))?;
    let run = run.succeeded()?;
    if !arguments.contains("by=host") {
        let can_be_set = run.stat("tsc_can_be_set")? == 1;
        run.check(can_be_set, "the TSC did not move, so nothing was tested")?;
    }
    run.check(
        run.report.wall < Duration::from_secs(60),
        "it took longer than its naps",
    )
}
