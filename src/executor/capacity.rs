//! The number of tasks that can exist in an executor at once.

use super::{
    ready::{
        levels::{Leaf, Level, Summary},
        node::Node,
    },
    slot::Block,
};
use crate::sync::array;

/// The number of tasks that can exist at once in an [`Executor`](super::Executor): [`Up64`],
/// [`Up4096`] or [`Up65536`].
///
/// The capacities are types because a ready set has one, two or three levels, and the code of wakes
/// and passes is compiled for that number.
///
/// # Examples
///
/// ```
/// use dormir::executor::{Capacity, Cpus, Executor, Up64};
///
/// /// How full an executor is, in percent.
/// fn load<C: Capacity, M: Cpus>(executor: &Executor<C, M>) -> usize {
///     executor.tasks() * 100 / C::TASKS as usize
/// }
/// # use dormir::executor::Shared;
/// # static EXECUTOR: Executor<Up64> = Executor::new(Shared);
/// # assert_eq!(load(&EXECUTOR), 0);
/// ```
pub trait Capacity: sealed::Sealed + Send + Sync + 'static {
    /// The number of tasks.
    const TASKS: u32;
}

pub(crate) mod sealed {
    use super::*;

    /// The levels and the memory of a capacity.
    pub trait Sealed {
        /// The ready set's levels, from the root.
        type Root: Level;
        /// The words above the blocks, the root first.
        type Summaries: AsRef<[Node]> + Initial + Send + Sync;
        /// The tasks' slots.
        type Blocks: AsRef<[Block]> + Initial + Send + Sync;
    }

    /// The initial value: no bit is set, and no slot is in use.
    #[allow(
        unreachable_pub,
        reason = "for Rust 1.94, which does not see that `Capacity` reaches it"
    )]
    pub trait Initial {
        #[cfg(not(all(test, loom)))]
        const INITIAL: Self;
        #[cfg(all(test, loom))]
        fn initial() -> Self;
    }

    macro_rules! arrays_of {
        ($($element:ident)*) => {$(
            impl<const N: usize> Initial for [$element; N] {
                #[cfg(not(all(test, loom)))]
                #[allow(
                    clippy::declare_interior_mutable_const,
                    reason = "each use is to be a new value"
                )]
                const INITIAL: Self = array!($element::new());
                #[cfg(all(test, loom))]
                fn initial() -> Self {
                    array!($element::new())
                }
            }
        )*};
    }
    arrays_of!(Node Block);
}

macro_rules! capacities {
    ($(
        $(#[$about:meta])*
        $name:ident: $tasks:literal tasks, $root:ty, $summaries:literal summaries,
            $blocks:literal blocks;
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl Capacity for $name {
            const TASKS: u32 = $tasks;
        }

        impl sealed::Sealed for $name {
            type Root = $root;
            type Summaries = [Node; $summaries];
            type Blocks = [Block; $blocks];
        }
    )*};
}

capacities! {
    /// Up to 64 tasks: a ready set of one word. This is the cheapest capacity.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Capacity, Executor, Shared, Up64};
    ///
    /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
    /// assert_eq!(Up64::TASKS, 64);
    /// ```
    Up64: 64 tasks, Leaf, 0 summaries, 1 blocks;
    /// Up to 4096 tasks: 64 words of ready bits below one summary word.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Capacity, Executor, Shared, Up4096};
    ///
    /// static EXECUTOR: Executor<Up4096> = Executor::new(Shared);
    /// assert_eq!(Up4096::TASKS, 4096);
    /// ```
    Up4096: 4096 tasks, Summary<0, Leaf>, 1 summaries, 64 blocks;
    /// Up to 65,536 tasks: 1024 words of ready bits below 16 summary words, and those below one.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::executor::{Capacity, Executor, Shared, Up65536};
    ///
    /// static EXECUTOR: Executor<Up65536> = Executor::new(Shared);
    /// assert_eq!(Up65536::TASKS, 65_536);
    /// // The first call takes a while, so make it before interrupts matter.
    /// let runner = EXECUTOR.enter()?;
    /// # drop(runner);
    /// # Ok::<(), dormir::executor::AlreadyEntered>(())
    /// ```
    Up65536: 65536 tasks, Summary<0, Summary<1, Leaf>>, 17 summaries, 1024 blocks;
}
