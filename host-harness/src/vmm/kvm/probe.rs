//! Opening `/dev/kvm`, and what can be said about it before a guest runs.

use std::path::Path;

use kvm_ioctls::{Cap, Kvm};

use crate::vmm::RunError;

/// The version of the interface that every KVM has spoken since it was declared stable.
const API_VERSION: i32 = 12;

/// The kernel modules that can implement KVM on x86, and whether they use the processor's
/// virtualisation. Where several are loaded, the first is the one in use.
const MODULES: [(&str, bool); 3] = [
    ("kvm_intel", true),
    ("kvm_amd", true),
    // Runs guests without VMX or SVM, and emulates what they do in ring 0.
    ("kvm_pvm", false),
];

/// What our VMM cannot do without, and what to call it.
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

/// What is known about a KVM that our VMM can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvmInfo {
    /// The kernel module that implements it; `None` where it is built in or not known.
    pub module: Option<&'static str>,
    /// Whether the processor's virtualisation executes the guest. If not, a part of the guest's
    /// instructions is emulated one by one, and times say nothing about hardware. `None` where the
    /// module is not known.
    pub hardware_assisted: Option<bool>,
    /// Whether the local APIC's timer has the TSC-deadline mode.
    pub tsc_deadline: bool,
}

/// Finds out whether our VMM can use `/dev/kvm`, without starting a guest.
///
/// # Errors
///
/// Why not, and what to do about it.
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

/// Opens `/dev/kvm` and checks that it can do what our VMM needs.
pub(super) fn open() -> Result<Kvm, RunError> {
    let kvm = Kvm::new().map_err(|errno| match errno.errno() {
        // The node can be there without a driver behind it.
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
