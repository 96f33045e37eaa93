//! Names of VMMs, timers and paths for people.

use crate::document::latency::Cell;

/// A VMM, by the name that `--vmm` takes.
pub(crate) fn vmm(name: &str) -> String {
    let (vmm, machine) = name.split_once('/').unwrap_or((name, ""));
    let machine = match machine {
        "" => String::new(),
        machine => format!(", {machine}"),
    };
    match vmm {
        "kvm" => "KVM, by dormir's own VMM".into(),
        "qemu-tcg" => format!("QEMU, translating (TCG){machine}"),
        "qemu-kvm" => format!("QEMU with KVM{machine}"),
        _ => name.to_owned(),
    }
}

/// A short form of the same.
pub(crate) fn vmm_in_short(name: &str) -> String {
    let (vmm, machine) = name.split_once('/').unwrap_or((name, ""));
    match vmm {
        "kvm" => "KVM".into(),
        "qemu-tcg" => format!("QEMU TCG {machine}"),
        "qemu-kvm" => format!("QEMU KVM {machine}"),
        _ => name.to_owned(),
    }
}

/// A timer, as hardware manuals write it.
pub(crate) fn timer(name: &str) -> &str {
    match name {
        "tsc-deadline" => "TSC-deadline",
        "x2apic" => "x2APIC",
        "xapic" => "xAPIC",
        "pit" => "PIT",
        _ => name,
    }
}

/// Where a path begins and ends.
pub(crate) fn path(name: &str) -> String {
    match name {
        "deadline" => "from the deadline to the poll".into(),
        "host" => "from the host's interrupt to the poll".into(),
        "task" => "from one task's wake to the other's poll".into(),
        _ => format!("{name}, to the poll"),
    }
}

/// A guest: its timer, and what is unusual in it.
pub(crate) fn setting(cell: &Cell) -> String {
    let mut text = timer(&cell.timer).to_owned();
    if cell.idle != "halt" {
        text += &format!(", idle by {}", cell.idle);
    }
    match cell.load.split_once('-') {
        _ if cell.load == "none" => {}
        Some(("sleepers", tasks)) => text += &format!(", {tasks} other tasks asleep"),
        Some(("busy", tasks)) => text += &format!(", {tasks} other tasks always ready"),
        _ => text += &format!(", load {}", cell.load),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::latency::made_up_cell;

    #[test]
    fn what_is_usual_is_not_said() {
        let mut cell = made_up_cell("dormir", &[1], &[("poll", 1)]);
        assert_eq!(setting(&cell), "TSC-deadline");
        cell.idle = "spin".into();
        cell.load = "sleepers-1000".into();
        assert_eq!(
            setting(&cell),
            "TSC-deadline, idle by spin, 1000 other tasks asleep"
        );
        cell.load = "storm".into();
        assert!(setting(&cell).ends_with(", load storm"));
    }

    #[test]
    fn every_vmm_has_a_name() {
        for known in dormir_harness::vmm::Vmm::ALL.map(|vmm| vmm.to_string()) {
            assert_ne!(vmm(&known), known);
            assert_ne!(vmm_in_short(&known), known);
        }
        assert_eq!(vmm("another/one"), "another/one");
        assert_eq!(path("pigeon"), "pigeon, to the poll");
    }
}
