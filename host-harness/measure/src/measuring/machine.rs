//! Looks at the machine that measures.

use crate::document::Host;
use dormir_harness::vmm::{kvm, qemu};
use std::fs;

/// What is known of this machine.
pub(crate) fn look() -> Host {
    let line = |path: &str| {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    };
    let kvm = kvm::probe().ok();
    let module = kvm.as_ref().and_then(|kvm| kvm.module);
    Host {
        cpu: line("/proc/cpuinfo").as_deref().and_then(cpu_name),
        kernel: line("/proc/sys/kernel/osrelease"),
        kvm_module: module.map(str::to_owned),
        hardware_assisted: kvm.and_then(|kvm| kvm.hardware_assisted),
        halt_poll_ns: line("/sys/module/kvm/parameters/halt_poll_ns")
            .and_then(|text| text.parse().ok()),
        qemu: qemu::probe().ok(),
    }
}

/// The name of the first processor in `/proc/cpuinfo`.
fn cpu_name(text: &str) -> Option<String> {
    let named = text.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = named.split_once(':')?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_the_name_that_the_kernel_gives_it() {
        let text =
            "processor\t: 0\nmodel name\t: A processor: fast\nprocessor\t: 1\nmodel name\t: B";
        assert_eq!(cpu_name(text).as_deref(), Some("A processor: fast"));
        assert_eq!(cpu_name("processor\t: 0"), None);
    }
}
