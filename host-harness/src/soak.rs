//! Runs the guest program `soak`, which uses everything there is at once and accounts for each
//! wake.

use std::{
    convert::Infallible,
    error::Error,
    io::Write,
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use dormir_hyperlight_host::Host;

use crate::vmm::{self, Device, Report, RunConfig, StopToken, Vmm};

/// The name of the guest program.
pub const PROGRAM: &str = "soak";

/// How long the guest may take to start, and to end after its time.
const MARGIN: Duration = Duration::from_secs(120);

/// The bytes of its disk.
const DISK: u64 = 1 << 20;

/// How the guest is run.
#[derive(Clone, Copy, Debug)]
pub struct Soak<'a> {
    /// The VMM.
    pub vmm: Vmm,
    /// For how long the guest runs, in seconds.
    pub seconds: u64,
    /// More arguments of the guest.
    pub arguments: &'a str,
}

impl Soak<'_> {
    /// Runs the guest in the file `elf`, with a disk, a device of random numbers, and a console for
    /// host calls, which are served here.
    ///
    /// # Errors
    ///
    /// No guest has run.
    pub fn run(
        &self,
        elf: &Path,
        stop: &StopToken,
        console: &mut (dyn Write + Send),
    ) -> Result<Report, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let disk = tempfile::NamedTempFile::new_in(&folder)?;
        disk.as_file().set_len(DISK)?;
        let path = folder.path().join("calls");
        let listener = UnixListener::bind(&path)?;
        let config = RunConfig {
            timeout: Duration::from_secs(self.seconds) + MARGIN,
            arguments: format!("seconds={} {}", self.seconds, self.arguments),
            pit: true,
            devices: vec![
                Device::Rng,
                Device::Disk {
                    path: disk.path().to_owned(),
                    read_only: false,
                },
                Device::Port { path: path.clone() },
            ],
            stop: stop.clone(),
            ..RunConfig::new(self.vmm)
        };
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener));
            let report = vmm::run(elf, &config, console);
            // If the guest has not connected, nothing else does.
            if let Ok(socket) = UnixStream::connect(&path) {
                let _ = socket.shutdown(Shutdown::Both);
            }
            Ok(report?)
        })
    }
}

/// Serves the calls of one guest. If it cannot, the guest misses them, and says so.
fn serve(listener: &UnixListener) {
    let host = Host::new().async_function("echo", |bytes| async { Ok::<_, Infallible>(bytes) });
    if let Ok((socket, _)) = listener.accept() {
        // A guest that was ended has not ended its connection.
        let _ = host.serve(socket);
    }
}

/// The wakes of each kind, of the figures that a guest has reported.
pub fn wakes(stats: &[(String, u64)]) -> impl Iterator<Item = (&str, u64)> {
    let stats = stats.iter();
    stats.filter_map(|(name, value)| Some((name.strip_prefix("wakes_")?, *value)))
}

/// How many wakes a guest has for which there is time for each kind.
const MANY: u64 = 10_000;

/// The kinds of wakes that a guest reports.
pub const KINDS: [&str; 17] = [
    "timers",
    "long_timers",
    "ticks",
    "timeouts",
    "embassy",
    "tasks",
    "yields",
    "spawns",
    "joins",
    "aborts",
    "interrupts",
    "handlers",
    "pit",
    "host",
    "rng",
    "disk",
    "calls",
];

/// Returns whether a guest under this VMM can have wakes of this kind. QEMU injects no interrupts
/// by itself.
pub fn has(kind: &str, vmm: Vmm) -> bool {
    kind != "host" || vmm == Vmm::Kvm
}

/// The kinds of wakes of which a guest under this VMM should have had some, and has had none, or
/// has reported nothing.
///
/// A timer of minutes need not have ended. A KVM that emulates each instruction may have time for
/// some hundred wakes, and these need not be of each kind.
pub fn lacking(stats: &[(String, u64)], vmm: Vmm) -> Vec<&'static str> {
    let all: u64 = wakes(stats).map(|(_, wakes)| wakes).sum();
    let is_slow = all > 0 && all < MANY && vmm == Vmm::Kvm;
    let may_lack = |kind: &str| is_slow || kind == "long_timers" || !has(kind, vmm);
    let is_lacking = |kind: &&str| match wakes(stats).find(|(reported, _)| reported == kind) {
        Some((_, 0)) => !may_lack(kind),
        Some(_) => false,
        None => true,
    };
    let mut lacking: Vec<&str> = KINDS.into_iter().filter(is_lacking).collect();
    if all == 0 {
        lacking.push("any");
    }
    lacking
}

/// What a guest without a fault has not shown: the kinds of wakes of which it had none, each as a
/// part of a sentence.
pub fn not_shown(stats: &[(String, u64)], vmm: Vmm) -> String {
    let none = wakes(stats).filter(|(_, wakes)| *wakes == 0);
    let parts = none.map(|(kind, _)| match has(kind, vmm) {
        true => format!("; {kind}: none"),
        false => format!("; {kind}: not under this VMM"),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::{Accelerator, MachineType};

    const QEMU: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);

    /// What a guest reports that has many wakes of each kind, but these.
    fn stats(others: &[(&str, u64)]) -> Vec<(String, u64)> {
        let number = |kind: &str| {
            let mut others = others.iter();
            let other = others.find(|(other, _)| *other == kind);
            other.map_or(MANY, |(_, wakes)| *wakes)
        };
        let kinds = KINDS.iter();
        kinds
            .map(|kind| (format!("wakes_{kind}"), number(kind)))
            .collect()
    }

    #[test]
    fn each_kind_that_a_vmm_has_must_have_wakes() {
        let some = stats(&[("long_timers", 0), ("host", 0)]);
        assert!(lacking(&some, QEMU).is_empty());
        assert_eq!(lacking(&some, Vmm::Kvm), ["host"]);
        assert_eq!(lacking(&stats(&[("tasks", 0)]), QEMU), ["tasks"]);
        let mentioned = not_shown(&some, QEMU);
        assert_eq!(mentioned, "; long_timers: none; host: not under this VMM");
        assert_eq!(not_shown(&stats(&[]), Vmm::Kvm), "");
    }

    #[test]
    fn a_kind_that_is_not_reported_is_missed() {
        for (kind, vmm) in [("disk", QEMU), ("host", QEMU), ("long_timers", Vmm::Kvm)] {
            let mut some = stats(&[]);
            some.retain(|(name, _)| *name != format!("wakes_{kind}"));
            assert_eq!(lacking(&some, vmm), [kind]);
        }
    }

    #[test]
    fn no_wake_at_all_is_no_success() {
        assert_eq!(lacking(&[], QEMU).last(), Some(&"any"));
        let none: Vec<_> = KINDS.iter().map(|kind| (*kind, 0)).collect();
        assert_eq!(lacking(&stats(&none), Vmm::Kvm).last(), Some(&"any"));
    }

    #[test]
    fn a_slow_kvm_needs_not_have_time_for_each_kind() {
        let mut few: Vec<_> = KINDS.iter().map(|kind| (*kind, 0)).collect();
        few[0].1 = MANY - 1;
        assert!(lacking(&stats(&few), Vmm::Kvm).is_empty());
        assert!(lacking(&stats(&few), QEMU).contains(&"disk"));
    }

    /// The guest has them in this order, each as `/// about`, `Kind "name"`.
    #[test]
    fn the_kinds_are_those_of_the_guest() {
        let board = include_str!("../../guest-image/soak/src/board.rs");
        let (_, kinds) = board.split_once("\nkinds! {\n").expect("their list");
        let (kinds, _) = kinds.split_once("\n}\n").expect("its end");
        let kinds = kinds.lines().filter(|line| !line.trim().starts_with("//"));
        let names = kinds.map(|line| line.split('"').nth(1).expect("a name"));
        assert_eq!(Vec::from_iter(names), KINDS);
    }
}
