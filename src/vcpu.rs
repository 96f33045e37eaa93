//! Which vCPU runs this: on a host, which thread.

#[cfg(any(unix, windows))]
extern crate std;

/// A number that no other vCPU has, as long as this one is what it is; 0 where vCPUs cannot be told apart.
#[cfg(any(unix, windows))]
pub(crate) fn current() -> usize {
    std::thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

/// Each vCPU has a task state segment of its own: `ltr` refuses one that is in use (SDM vol. 2, LTR). So the
/// place of its descriptor tells vCPUs apart. Without one (`bare::install_tables` loads one) none is told from
/// the others.
#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub(crate) fn current() -> usize {
    let task: u16;
    // SAFETY: reads a register that ring 0 may read.
    unsafe {
        core::arch::asm!("str {0:x}", out(reg) task, options(nomem, nostack, preserves_flags));
    }
    if task == 0 {
        return 0;
    }
    let table = x86_64::instructions::tables::sgdt().base.as_u64() as usize;
    table.wrapping_add(task.into())
}

#[cfg(not(any(
    unix,
    windows,
    all(target_arch = "x86_64", target_os = "none", feature = "bare")
)))]
pub(crate) fn current() -> usize {
    0
}
