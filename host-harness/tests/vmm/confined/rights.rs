//! What the process of a VM may use of the system once its guest runs.

use std::fs;

use dormir_harness::vmm::Vmm;

use super::with_process;
use crate::{KVM, PATIENCE, TCG_Q35};

/// What a process has of the system, by what /proc says.
struct Rights {
    limits: String,
    status: String,
    environment: String,
}

impl Rights {
    fn of(vmm: Vmm) -> Self {
        let (rights, _) = with_process(vmm, PATIENCE, |process| {
            let read = |what| fs::read_to_string(format!("/proc/{process}/{what}")).expect("/proc");
            let rights = Self {
                limits: read("limits"),
                status: read("status"),
                environment: read("environ"),
            };
            (rights, true)
        });
        rights
    }

    /// A limit that cannot be raised.
    fn limit(&self, name: &str) -> u64 {
        let mut lines = self.limits.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        let line = line.expect("it is listed");
        let hard = line.split_whitespace().nth(1).expect("it has a number");
        hard.parse().expect("it has a limit")
    }

    /// The capabilities of all sets but the bounding one, which gives none without privileges. Only
    /// root, or a user like it, has had any.
    fn capabilities(&self) -> u64 {
        let sets = ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"];
        let in_set = |name: &str| {
            let mut lines = self.status.lines();
            let set = lines.find_map(|line| line.strip_prefix(name));
            let set = set.expect("it is listed").trim();
            u64::from_str_radix(set, 16).expect("it is a number")
        };
        sets.into_iter().map(in_set).fold(0, |all, set| all | set)
    }

    fn check(&self, variables: &[&str]) {
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(
                self.status.lines().any(|found| found == line),
                "{}",
                self.status
            );
        }
        assert_eq!(self.limit("Max core file size"), 0);
        for variable in self.environment.split_terminator('\0') {
            let name = variable.split('=').next().unwrap_or_default();
            assert!(variables.contains(&name), "{variable}");
        }
    }
}

/// Limits hold where a gate is missing, too.
#[test]
fn the_process_of_a_vm_has_limits() {
    let rights = Rights::of(KVM);
    rights.check(&["DORMIR_VM_CONTROL", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX"]);
    assert!(rights.limit("Max open files") <= 128);
    assert!(rights.limit("Max file size") <= 4096);
    assert!(rights.limit("Max address space") < 16 << 30);
    assert_eq!(rights.capabilities(), 0);
}

/// Root's QEMU opens files of others, and ports below 1024, before its guest runs.
#[test]
fn qemu_has_limits() {
    let rights = Rights::of(TCG_Q35);
    rights.check(&["HOME", "LD_LIBRARY_PATH", "PATH"]);
    assert_eq!(rights.limit("Max file size"), 2 << 30);
    // `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH` and `CAP_NET_BIND_SERVICE`, of linux/capability.h.
    let of_a_start = 1 << 1 | 1 << 2 | 1 << 10;
    assert_eq!(rights.capabilities() & !of_a_start, 0);
}
