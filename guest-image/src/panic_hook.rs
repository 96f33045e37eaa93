//! What a program does of its own when it panics.

use core::{
    panic::PanicInfo,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

/// A hook's address; null for none. A function pointer fits, as both are addresses here.
static HOOK: AtomicPtr<()> = AtomicPtr::new(null_mut());

/// Sets what is called first at a panic, with interrupts masked: to tell more than the message, or to put a
/// device to rest. It takes the place of the hook before.
///
/// When it returns, the panic is told on the console and to the harness, and the guest ends. A hook that
/// [exits](crate::exit) leaves that out. Where it panics itself, that panic is told, and the hook is not
/// called again.
///
/// ```no_run
/// dormir_guest::set_panic_hook(|info| {
///     dormir_guest::println!("on vCPU 0: {}", info.message());
/// });
/// ```
pub fn set_panic_hook(hook: fn(&PanicInfo<'_>)) {
    HOOK.store(hook as *mut (), Ordering::Relaxed);
}

/// Calls the hook, if there is one, and only once.
pub(crate) fn call(info: &PanicInfo<'_>) {
    let hook = HOOK.swap(null_mut(), Ordering::Relaxed);
    if hook.is_null() {
        return;
    }
    // SAFETY: what is not null was stored by `set_panic_hook`, from a function of this type.
    let hook = unsafe { core::mem::transmute::<*mut (), fn(&PanicInfo<'_>)>(hook) };
    hook(info);
}
