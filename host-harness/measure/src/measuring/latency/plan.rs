//! Which guests are run, and how.

use dormir_harness::vmm::{
    Accelerator, MachineType, Outcome, RunConfig, RunError, UnknownVmmError, Vmm, kvm, qemu,
};
use std::{fmt, time::Duration};

/// The guest program.
pub const PROGRAM: &str = "latency";

/// The runtimes, the floor first.
pub const RUNTIMES: [&str; 3] = ["floor", "dormir", "embassy"];

/// The packages whose versions are shown with the figures.
pub(crate) const PACKAGES: &[&str] = &[
    "dormir",
    "embassy-executor",
    "embassy-time",
    "embassy-time-queue-utils",
];

/// What a guest takes besides its samples: its boot, its report, a slow machine.
const SLACK: Duration = Duration::from_secs(120);

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The best timer and the PIT, 2,000 samples or 10 s a cell.
    Usual,
    /// Every timer, every idle policy and each load, 10,000 samples or 60 s a cell.
    Full,
}

impl Extent {
    fn samples(self) -> u32 {
        match self {
            Self::Usual => 2000,
            Self::Full => 10_000,
        }
    }

    fn limit(self) -> Duration {
        match self {
            Self::Usual => Duration::from_secs(10),
            Self::Full => Duration::from_secs(60),
        }
    }
}

/// What the vCPU has to do besides waking the task that is measured. The floor has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing.
    None,
    /// This many other tasks sleep, each on a timer of its own.
    Sleepers(u32),
    /// This many other tasks are always ready.
    Busy(u32),
}

impl Load {
    /// How far ahead deadlines are, at least: far enough that a runtime under this load can set a
    /// timer and sleep before they pass. embassy goes through all timers at each, which takes
    /// milliseconds where KVM emulates instructions.
    fn interval(self) -> Duration {
        match self {
            Self::None | Self::Busy(_) => Duration::from_millis(1),
            Self::Sleepers(_) => Duration::from_millis(20),
        }
    }
}

/// `none`, `sleepers-1000`, `busy-10`.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sleepers(tasks) => write!(f, "sleepers-{tasks}"),
            Self::Busy(tasks) => write!(f, "busy-{tasks}"),
        }
    }
}

/// One run of the guest.
#[derive(Clone, Debug)]
pub struct Boot {
    /// What runs it.
    pub vmm: Vmm,
    /// Its timer; `None` takes the best.
    pub timer: Option<&'static str>,
    /// dormir's idle policy.
    pub idle: &'static str,
    /// What else there is to do.
    pub load: Load,
    /// How many samples each cell takes.
    pub samples: u32,
    /// How long a cell may take for them.
    pub limit: Duration,
}

/// `kvm, best timer`, `qemu-tcg/q35, pit, load busy-10`.
impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.vmm, self.timer.unwrap_or("best timer"))?;
        if self.idle != "halt" {
            write!(f, ", idle by {}", self.idle)?;
        }
        if self.load != Load::None {
            write!(f, ", load {}", self.load)?;
        }
        Ok(())
    }
}

impl Boot {
    /// The paths by which tasks are woken there. Only our own VMM injects interrupts when the guest
    /// asks for them, and has a clock in common with it.
    #[must_use]
    pub fn paths(&self) -> &'static [&'static str] {
        match self.vmm {
            Vmm::Kvm => &["deadline", "host", "task"],
            Vmm::Qemu(..) => &["deadline", "task"],
        }
    }

    /// How the guest is run.
    #[must_use]
    pub fn config(&self) -> RunConfig {
        let timer = self
            .timer
            .map_or(String::new(), |timer| format!(" timer={timer}"));
        // Of each but the floor there is one more, in which wakes are stamped.
        let cells = (self.paths().len() * (2 * RUNTIMES.len() - 1)) as u32;
        RunConfig {
            timeout: self.limit * cells + SLACK,
            arguments: format!(
                "paths={} samples={} limit_ms={} interval_us={} idle={} load={}{timer}",
                self.paths().join(","),
                self.samples,
                self.limit.as_millis(),
                self.load.interval().as_micros(),
                self.idle,
                self.load
            ),
            pit: self.timer == Some("pit"),
            ..RunConfig::new(self.vmm)
        }
    }

    /// Whether this end means that the machine has no such timer.
    pub(crate) fn is_left_out(&self, outcome: &Outcome) -> bool {
        self.timer.is_some() && outcome.is_setup_failure()
    }
}

/// The guests to be run.
pub(crate) fn boots(vmms: &[Vmm], extent: Extent) -> Vec<Boot> {
    type Setting = (Option<&'static str>, &'static str, Load);
    let settings: &[Setting] = match extent {
        Extent::Usual => &[
            (None, "halt", Load::None),
            (Some("pit"), "halt", Load::None),
        ],
        Extent::Full => &[
            (Some("tsc-deadline"), "halt", Load::None),
            (Some("x2apic"), "halt", Load::None),
            (Some("xapic"), "halt", Load::None),
            (Some("pit"), "halt", Load::None),
            (None, "adaptive", Load::None),
            (None, "spin", Load::None),
            (None, "halt", Load::Sleepers(1000)),
            (None, "halt", Load::Busy(10)),
        ],
    };
    let boot = |vmm: Vmm| {
        settings.iter().map(move |&(timer, idle, load)| Boot {
            vmm,
            timer,
            idle,
            load,
            samples: extent.samples(),
            limit: extent.limit(),
        })
    };
    vmms.iter().copied().flat_map(boot).collect()
}

/// The VMMs of `asked`, of which none may be missing; if it is empty, all that can be used here,
/// and sentences (without their full stops) on those that cannot.
///
/// # Errors
///
/// A VMM that was asked for by name cannot be used, or no VMM can.
pub(crate) fn usable(asked: &[Vmm]) -> Result<(Vec<Vmm>, Vec<String>), RunError> {
    let (kvm, qemu) = (kvm::probe().err(), qemu::probe().err());
    usable_given(asked, kvm, qemu)
}

fn usable_given(
    asked: &[Vmm],
    no_kvm: Option<RunError>,
    no_qemu: Option<RunError>,
) -> Result<(Vec<Vmm>, Vec<String>), RunError> {
    let can_be_used = |vmm: &Vmm| match vmm {
        Vmm::Kvm => no_kvm.is_none(),
        Vmm::Qemu(Accelerator::Tcg, _) => no_qemu.is_none(),
        Vmm::Qemu(Accelerator::Kvm, _) => no_kvm.is_none() && no_qemu.is_none(),
    };
    let all: &[Vmm] = if asked.is_empty() { &Vmm::ALL } else { asked };
    let mut once: Vec<Vmm> = Vec::new();
    for &vmm in all {
        if !once.contains(&vmm) {
            once.push(vmm);
        }
    }
    let (usable, lacking): (Vec<Vmm>, Vec<Vmm>) = once.iter().partition(|vmm| can_be_used(vmm));
    // Where some VMM is left, all others lack the same.
    let lack = match lacking.first() {
        None => None,
        Some(Vmm::Kvm) => no_kvm,
        Some(Vmm::Qemu(Accelerator::Tcg, _)) => no_qemu,
        Some(Vmm::Qemu(Accelerator::Kvm, _)) => no_kvm.or(no_qemu),
    };
    let Some(lack) = lack else {
        return Ok((usable, Vec::new()));
    };
    if usable.is_empty() || !asked.is_empty() {
        return Err(lack);
    }
    let names: Vec<String> = lacking.iter().map(Vmm::to_string).collect();
    let sentence = format!("{} are left out: {lack}", names.join(", "));
    Ok((usable, vec![sentence]))
}

/// A sentence on the VMMs that inject no interrupts when the guest asks for them, if there are any.
pub(crate) fn without_host_path(vmms: &[Vmm]) -> Option<String> {
    let without = vmms.iter().filter(|vmm| matches!(vmm, Vmm::Qemu(..)));
    let names: Vec<String> = without.map(Vmm::to_string).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!(
        "the path `host` is left out under {names}: QEMU does not stamp the interrupts that it \
         injects by the guest's clock"
    ))
}

/// Reads the name of a VMM; where its machine is left out, it is q35.
///
/// # Errors
///
/// There is none of that name.
pub(crate) fn vmm(name: &str) -> Result<Vmm, UnknownVmmError> {
    let with_machine = |_| match name {
        "qemu-tcg" => Ok(Vmm::Qemu(Accelerator::Tcg, MachineType::Q35)),
        "qemu-kvm" => Ok(Vmm::Qemu(Accelerator::Kvm, MachineType::Q35)),
        _ => name.parse(),
    };
    name.parse().or_else(with_machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmm_is_known_by_its_whole_name_and_by_its_accelerators() {
        for known in Vmm::ALL {
            assert_eq!(vmm(&known.to_string()), Ok(known));
        }
        assert_eq!(vmm("qemu-tcg"), "qemu-tcg/q35".parse());
        let sentence = vmm("vmware").expect_err("there is none").to_string();
        assert!(sentence.contains("`vmware`"), "{sentence}");
    }

    #[test]
    fn by_default_what_is_missing_is_said_and_the_rest_is_used() {
        let (vmms, sentences) = usable_given(&[], Some(RunError::KvmMissing), None).expect("QEMU");
        let names: Vec<_> = vmms.iter().map(Vmm::to_string).collect();
        assert_eq!(names, ["qemu-tcg/q35", "qemu-tcg/microvm"]);
        let [sentence] = sentences.as_slice() else {
            panic!("one sentence: {sentences:?}");
        };
        assert!(
            sentence.contains("kvm, qemu-kvm/q35, qemu-kvm/microvm"),
            "{sentence}"
        );
        assert!(sentence.contains("there is no /dev/kvm"), "{sentence}");
    }

    #[test]
    fn a_vmm_that_was_asked_for_must_be_there() {
        let denied = || Some(RunError::KvmDenied);
        let tcg = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
        let (vmms, sentences) = usable_given(&[tcg], denied(), None).expect("it needs no KVM");
        assert_eq!((vmms, sentences), (vec![tcg], Vec::new()));
        for wanted in [&[Vmm::Kvm][..], &[tcg, Vmm::Kvm], &[]] {
            let no_qemu = wanted.is_empty().then_some(RunError::KvmMissing);
            let error = usable_given(wanted, denied(), no_qemu).expect_err("none is left");
            assert!(error.to_string().contains("may not be opened"), "{error}");
        }
    }

    #[test]
    fn what_is_said_to_be_missing_is_what_the_vmm_needs() {
        let tcg = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
        let error = usable_given(
            &[tcg],
            Some(RunError::KvmMissing),
            Some(RunError::KvmDenied),
        );
        // (Any other error will do for QEMU's.)
        let sentence = error.expect_err("it needs QEMU").to_string();
        assert!(sentence.contains("may not be opened"), "{sentence}");
    }

    #[test]
    fn a_vmm_that_is_named_twice_is_measured_once() {
        let tcg = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
        let (vmms, _) = usable_given(&[tcg, Vmm::Kvm, tcg], None, None).expect("all are there");
        assert_eq!(vmms, [tcg, Vmm::Kvm]);
    }

    #[test]
    fn each_vmm_is_measured_with_its_best_timer_and_the_pit() {
        let boots = boots(&[Vmm::Kvm], Extent::Usual);
        let said: Vec<_> = boots.iter().map(Boot::to_string).collect();
        assert_eq!(said, ["kvm, best timer", "kvm, pit"]);
        let config = boots[1].config();
        assert_eq!(
            config.arguments,
            "paths=deadline,host,task samples=2000 limit_ms=10000 interval_us=1000 idle=halt \
             load=none timer=pit"
        );
        assert!(config.pit && !boots[0].config().pit);
        assert!(config.timeout > Duration::from_secs(30));
    }

    #[test]
    fn a_full_run_has_every_timer_every_policy_and_each_load() {
        let boots = boots(&[Vmm::Kvm], Extent::Full);
        let said: Vec<_> = boots.iter().map(Boot::to_string).collect();
        let expected = [
            "kvm, tsc-deadline",
            "kvm, x2apic",
            "kvm, xapic",
            "kvm, pit",
            "kvm, best timer, idle by adaptive",
            "kvm, best timer, idle by spin",
            "kvm, best timer, load sleepers-1000",
            "kvm, best timer, load busy-10",
        ];
        assert_eq!(said, expected);
        let arguments = boots[6].config().arguments;
        assert_eq!(
            arguments,
            "paths=deadline,host,task samples=10000 limit_ms=60000 interval_us=20000 idle=halt \
             load=sleepers-1000"
        );
    }

    /// Those in which wakes are stamped among them: each may take as long as the rest.
    #[test]
    fn a_guest_has_time_for_all_its_cells() {
        for (boot, cells) in boots(&[Vmm::Kvm], Extent::Full).iter().zip([15; 7]) {
            let config = boot.config();
            assert!(config.timeout >= boot.limit * cells + SLACK, "{boot}");
        }
    }

    #[test]
    fn only_our_vmm_injects_and_that_is_said() {
        let tcg = Vmm::Qemu(Accelerator::Tcg, MachineType::Q35);
        let sentence = without_host_path(&[Vmm::Kvm, tcg]).expect("one has it not");
        assert!(sentence.contains("under qemu-tcg/q35:"), "{sentence}");
        assert_eq!(without_host_path(&[Vmm::Kvm]), None);
        let arguments = boots(&[tcg], Extent::Usual)[0].config().arguments;
        assert!(arguments.starts_with("paths=deadline,task "), "{arguments}");
    }
}
