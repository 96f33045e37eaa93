//! The atomics and critical sections of the executor. In the models, which are this library's tests
//! under `cfg(loom)`, they are loom's, which tries every order of what threads do. Other builds
//! with that cfg have the usual ones.

use critical_section::CriticalSection;

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic;

/// Constructors that are `const`, but under loom, whose atomics have none.
macro_rules! const_new {
    ($($(#[$about:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> Self $body:block)*) => {$(
        $(#[$about])*
        #[cfg(not(all(test, loom)))]
        $vis const fn $name($($arg: $ty),*) -> Self $body

        $(#[$about])*
        #[cfg(all(test, loom))]
        $vis fn $name($($arg: $ty),*) -> Self $body
    )*};
}
pub(crate) use const_new;

/// An array whose elements are each made by `$element`: a constant expression, but under loom.
macro_rules! array {
    ($element:expr) => {{
        #[cfg(not(all(test, loom)))]
        let array = [const { $element }; _];
        #[cfg(all(test, loom))]
        let array = ::core::array::from_fn(|_| $element);
        array
    }};
}
pub(crate) use array;

/// Runs `section` with every other context but NMIs held off.
#[cfg(not(all(test, loom)))]
#[inline(always)]
pub(crate) fn critical<R>(section: impl FnOnce(CriticalSection<'_>) -> R) -> R {
    critical_section::with(section)
}

/// The same, as a lock that loom knows. Sections of a model are not nested.
#[cfg(all(test, loom))]
pub(crate) fn critical<R>(section: impl FnOnce(CriticalSection<'_>) -> R) -> R {
    loom::lazy_static! {
        static ref LOCK: loom::sync::Mutex<()> = loom::sync::Mutex::new(());
    }
    let _guard = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: every section of the model is behind this one lock.
    section(unsafe { CriticalSection::new() })
}
