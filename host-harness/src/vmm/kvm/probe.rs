//! Opens `/dev/kvm`, and reports what is known about it before a guest runs.

use std::path::Path;

use kvm_ioctls::{Cap, Kvm};

use crate::vmm::error::RunError;

/// The version of the interface that every KVM has had since it was declared stable.
const API_VERSION: i32 = 12;

/// The kernel modules that can implement KVM on x86, and whether they use the processor's
/// virtualisation. If several are loaded, the first is the one in use.
const MODULES: [(&str, bool); 3] = [
    ("kvm_intel", true),
    ("kvm_amd", true),
    // Runs guests without VMX or SVM, and emulates their ring 0 code.
    ("kvm_pvm", false),
];

/// The capabilities that our VMM needs, and their names in messages.
const NEEDED: [(Cap, &str); 5] = [
    (Cap::UserMemory, "memory slots (KVM_CAP_USER_MEMORY)"),
    (
        Cap::Irqchip,
        "in-kernel interrupt controllers (KVM_CAP_IRQCHIP)",
    ),
    (Cap::Irqfd, "interrupts by file descriptor (KVM_CAP_IRQFD)"),
    (
        Cap::SetTssAddr,
        "a place for its TSS (KVM_CAP_SET_TSS_ADDR)",
    ),
    (
        Cap::SetIdentityMapAddr,
        "a place for its page table (KVM_CAP_SET_IDENTITY_MAP_ADDR)",
    ),
];

/// Facts about a KVM that our VMM can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmInfo {
    /// The kernel module that implements it; `None` if it is built in or unknown.
    pub module: Option<&'static str>,
    /// Whether the processor's virtualisation executes the guest. If not, some of the guest's
    /// instructions are emulated one by one, and times say nothing about hardware. `None` if the
    /// module is unknown.
    pub hardware_assisted: Option<bool>,
    /// Whether the local APIC's timer has the TSC-deadline mode.
    pub tsc_deadline: bool,
}

/// Checks whether our VMM can use `/dev/kvm`, without starting a guest.
///
/// # Errors
///
/// It cannot; the error says why, and what to do about it.
pub fn probe() -> Result<KvmInfo, RunError> {
    let kvm = open()?;
    let module = MODULES
        .into_iter()
        .find(|(name, _)| Path::new("/sys/module").join(name).exists());
    Ok(KvmInfo {
        module: module.map(|(name, _)| name),
        hardware_assisted: module.map(|(_, assisted)| assisted),
        tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer),
    })
}

/// Opens `/dev/kvm` and checks that it has what our VMM needs.
pub(super) fn open() -> Result<Kvm, RunError> {
    let kvm = Kvm::new().map_err(|errno| match errno.errno() {
        // The device node can exist without a driver.
        libc::ENOENT | libc::ENODEV | libc::ENXIO => RunError::KvmMissing,
        libc::EACCES | libc::EPERM => RunError::KvmDenied,
        _ => RunError::KvmOpen(errno.into()),
    })?;
    let found = kvm.get_api_version();
    if found != API_VERSION {
        return Err(RunError::KvmVersion { found });
    }
    for (capability, name) in NEEDED {
        if !kvm.check_extension(capability) {
            return Err(RunError::KvmLacks(name));
        }
    }
    Ok(kvm)
}
