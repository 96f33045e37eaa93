//! More entries than the table has by itself, for a program that knows how many it needs.

use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{OTHERS, table::TableEntry};

/// Room for `N` more wakers that are not of tasks, beside the [`OTHER_WAKERS`](super::OTHER_WAKERS)
/// that there is room for anyway. It lies in a static, which is all zero until it is used; each
/// takes some 160 bytes.
///
/// # Examples
///
/// ```
/// use dormir::time::embassy::MoreWakers;
///
/// static MORE: MoreWakers<1000> = MoreWakers::new();
///
/// // First thing in the program.
/// MORE.add()?;
/// # Ok::<(), dormir::time::embassy::AlreadyAdded>(())
/// ```
pub struct MoreWakers<const N: usize> {
    entries: [TableEntry; N],
    is_added: AtomicBool,
}

/// The room was added before.
///
/// # Examples
///
/// ```
/// use dormir::time::embassy::MoreWakers;
///
/// static MORE: MoreWakers<10> = MoreWakers::new();
///
/// MORE.add()?;
/// let refused = MORE.add().expect_err("it was added");
/// println!("{refused}");
/// # Ok::<(), dormir::time::embassy::AlreadyAdded>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyAdded;

impl fmt::Display for AlreadyAdded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this room for wakers was added already; add each `MoreWakers` once, and another one for more",
        )
    }
}

impl core::error::Error for AlreadyAdded {}

impl<const N: usize> Default for MoreWakers<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for MoreWakers<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MoreWakers")
            .field("room", &N)
            .field("is_added", &self.is_added)
            .finish_non_exhaustive()
    }
}

impl<const N: usize> MoreWakers<N> {
    /// Room that is not used until it is [added](Self::add).
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::time::embassy::MoreWakers;
    ///
    /// static MORE: MoreWakers<1000> = MoreWakers::new();
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: [const { TableEntry::new() }; N],
            is_added: AtomicBool::new(false),
        }
    }

    /// Adds it to what there is, for good.
    ///
    /// # Contexts
    ///
    /// Any but NMI and machine check, at any time. It takes a short critical section for each of
    /// the `N` entries.
    ///
    /// # Errors
    ///
    /// [`AlreadyAdded`] if it was called before.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::{block_on, time::embassy::{MoreWakers, OTHER_WAKERS, early_wakes}};
    /// use embassy_time::Timer;
    /// use futures_util::future::join_all;
    ///
    /// const CONNECTIONS: usize = 500;
    /// static MORE: MoreWakers<{ CONNECTIONS - OTHER_WAKERS }> = MoreWakers::new();
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// // In a guest: `let idle = dormir::idle::Halt;`
    /// MORE.add()?;
    /// block_on(join_all((0..CONNECTIONS).map(|_| Timer::after_millis(20))), idle);
    /// assert_eq!(early_wakes(), 0);
    /// # Ok::<(), dormir::time::embassy::AlreadyAdded>(())
    /// ```
    pub fn add(&'static self) -> Result<(), AlreadyAdded> {
        if self.is_added.swap(true, Ordering::Relaxed) {
            return Err(AlreadyAdded);
        }
        OTHERS.admit(&self.entries);
        Ok(())
    }
}
