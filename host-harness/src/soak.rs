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

/// Returns whether a guest under this VMM can have wakes of this kind. QEMU injects no interrupts
/// by itself.
pub fn has(kind: &str, vmm: Vmm) -> bool {
    kind != "host" || vmm == Vmm::Kvm
}

/// The kinds of wakes of which a guest under this VMM should have had some, and has had none.
///
/// A timer of minutes need not have ended. A KVM that emulates each instruction may have time for
/// some hundred wakes, and these need not be of each kind.
pub fn lacking(stats: &[(String, u64)], vmm: Vmm) -> Vec<&str> {
    let all: u64 = wakes(stats).map(|(_, wakes)| wakes).sum();
    if all > 0 && all < MANY && vmm == Vmm::Kvm {
        return Vec::new();
    }
    let may_lack = |kind: &str| kind == "long_timers" || !has(kind, vmm);
    let none = wakes(stats).filter(|(kind, wakes)| *wakes == 0 && !may_lack(kind));
    let mut lacking: Vec<&str> = none.map(|(kind, _)| kind).collect();
    if all == 0 {
        lacking.push("any");
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::{Accelerator, MachineType};

    const QEMU: Vmm = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);

    fn lacks(figures: &[(&str, u64)], vmm: Vmm) -> Vec<String> {
        let named = figures.iter().map(|(name, value)| ((*name).into(), *value));
        let stats: Vec<(String, u64)> = named.collect();
        let lacking = lacking(&stats, vmm).into_iter().map(String::from);
        lacking.collect()
    }

    #[test]
    fn each_kind_that_a_vmm_has_must_have_wakes() {
        let some = [
            ("wakes_short_timers", MANY),
            ("wakes_long_timers", 0),
            ("wakes_host", 0),
            ("heap", 0),
        ];
        assert!(lacks(&some, QEMU).is_empty());
        assert_eq!(lacks(&some, Vmm::Kvm), ["host"]);
        let none_of_tasks = [some[0], ("wakes_tasks", 0)];
        assert_eq!(lacks(&none_of_tasks, QEMU), ["tasks"]);
    }

    #[test]
    fn no_wake_at_all_is_no_success() {
        assert_eq!(lacks(&[], QEMU), ["any"]);
        assert_eq!(lacks(&[("wakes_tasks", 0)], Vmm::Kvm), ["tasks", "any"]);
    }

    #[test]
    fn a_slow_kvm_needs_not_have_time_for_each_kind() {
        let few = [("wakes_tasks", MANY - 1), ("wakes_host", 0)];
        assert!(lacks(&few, Vmm::Kvm).is_empty());
        assert_eq!(
            lacks(&[("wakes_tasks", 1), ("wakes_disk", 0)], QEMU),
            ["disk"]
        );
    }
}
