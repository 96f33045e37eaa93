//! A hook that a program can set for panics.

use core::{
    panic::PanicInfo,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

/// The address of the hook; null if there is none. A function pointer fits, since on this target
/// both are addresses.
static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Sets a function that is called first at a panic, with interrupts masked. It can print more than
/// the message, or stop a device. It replaces the hook set before.
///
/// When it returns, the panic is printed and reported to the harness, and the guest ends. If the
/// hook [exits](crate::exit), neither happens. If the hook panics, that panic is reported, and the
/// hook is not called again.
///
/// ```no_run
/// dormir_guest::set_panic_hook(|info| {
///     dormir_guest::println!("on vCPU 0: {}", info.message());
/// });
/// ```
pub fn set_panic_hook(hook: fn(&PanicInfo<'_>)) {
    HOOK.store(hook as *mut (), Ordering::Relaxed);
}

/// Calls the hook, if there is one. Later calls have no effect.
pub(crate) fn call(info: &PanicInfo<'_>) {
    let hook = HOOK.swap(null_mut(), Ordering::Relaxed);
    if hook.is_null() {
        return;
    }
    // SAFETY: an address other than null was stored by `set_panic_hook`, from a function of this
    // type.
    let hook = unsafe { core::mem::transmute::<*mut (), fn(&PanicInfo<'_>)>(hook) };
    hook(info);
}
