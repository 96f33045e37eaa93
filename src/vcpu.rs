//! The current vCPU; on a host, the current thread.

#[cfg(any(unix, windows))]
extern crate std;

#[cfg(all(test, any(unix, windows)))]
std::thread_local! {
    /// For tests of what happens where vCPUs cannot be distinguished.
    pub(crate) static IS_UNKNOWN: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// The number of every vCPU where they cannot be distinguished.
pub(crate) const UNKNOWN: usize = 0;

/// A number that no other vCPU has at the same time; [`UNKNOWN`] if vCPUs cannot be distinguished.
#[cfg(any(unix, windows))]
pub(crate) fn current() -> usize {
    #[cfg(test)]
    if IS_UNKNOWN.get() {
        return UNKNOWN;
    }
    std::thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

/// Each vCPU has a task state segment of its own: `ltr` refuses one that is in use (SDM vol. 2,
/// LTR). So the address of its descriptor identifies the vCPU. Without a task state segment
/// (`bare::install_tables` loads one) vCPUs cannot be distinguished.
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub(crate) fn current() -> usize {
    let task: u16;
    // SAFETY: reads a register that ring 0 may read.
    unsafe {
        core::arch::asm!("str {0:x}", out(reg) task, options(nomem, nostack, preserves_flags));
    }
    if task == 0 {
        return UNKNOWN;
    }
    let table = x86_64::instructions::tables::sgdt().base.as_u64() as usize;
    table.wrapping_add(task.into())
}

/// A Hyperlight sandbox has one vCPU.
#[cfg(all(
    target_arch = "x86_64",
    target_os = "none",
    feature = "hyperlight",
    not(feature = "bare")
))]
pub(crate) fn current() -> usize {
    UNKNOWN + 1
}

#[cfg(not(any(
    unix,
    windows,
    all(
        target_arch = "x86_64",
        target_os = "none",
        any(feature = "bare", feature = "hyperlight")
    )
)))]
pub(crate) fn current() -> usize {
    UNKNOWN
}
