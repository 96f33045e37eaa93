//! Additional entries for the table, in a static of the program.

use core::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{OTHERS, table::TableEntry};

/// Room for `N` wakers other than those of tasks, in addition to
/// [`OTHER_WAKERS`](super::OTHER_WAKERS). To be put in a static, which is all zero until it is
/// used; each waker takes some 160 bytes.
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

/// The room was already added.
///
/// # Examples
///
/// ```
/// use dormir::time::embassy::MoreWakers;
///
/// static MORE: MoreWakers<10> = MoreWakers::new();
///
/// MORE.add()?;
/// let refused = MORE.add().expect_err("it was already added");
/// println!("{refused}");
/// # Ok::<(), dormir::time::embassy::AlreadyAdded>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct AlreadyAdded;

impl fmt::Display for AlreadyAdded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this room for wakers was already added: add each `MoreWakers` once, and another for \
             more",
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
    /// New room, not used until it is [added](Self::add).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: [const { TableEntry::new() }; N],
            is_added: AtomicBool::new(false),
        }
    }

    /// Adds the room, permanently.
    ///
    /// # Contexts
    ///
    /// Any but NMI and machine-check handlers, at any time. It takes a short critical section for
    /// each of the `N` entries.
    ///
    /// # Errors
    ///
    /// [`AlreadyAdded`] if it was called before.
    pub fn add(&'static self) -> Result<(), AlreadyAdded> {
        if self.is_added.swap(true, Ordering::Relaxed) {
            return Err(AlreadyAdded);
        }
        OTHERS.admit(&self.entries);
        Ok(())
    }
}
