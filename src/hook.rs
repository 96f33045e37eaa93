//! Hooks: functions of the program, to be called in any context.

use core::{
    mem, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

/// `None`, or a `fn()`.
pub(crate) struct Hook(AtomicPtr<()>);

impl Hook {
    pub(crate) const fn none() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn set(&self, hook: fn()) {
        self.0.store(hook as *mut (), Ordering::Release);
    }

    #[cfg(feature = "watchdog")]
    pub(crate) fn clear(&self) {
        self.0.store(ptr::null_mut(), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(crate) fn is_set(&self) -> bool {
        !self.0.load(Ordering::Relaxed).is_null()
    }

    #[inline(always)]
    pub(crate) fn call(&self) {
        let hook = self.0.load(Ordering::Acquire);
        if !hook.is_null() {
            // SAFETY: not null, so `set` stored a function of this type.
            let hook = unsafe { mem::transmute::<*mut (), fn()>(hook) };
            hook();
        }
    }
}
