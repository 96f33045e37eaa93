//! How many tasks an executor has room for.

use super::{
    place::Places,
    ready::{Block, Leaf, Level, Node, Summary},
};

/// How many tasks an [`Executor`](super::Executor) has room for: [`Up64`], [`Up4096`] or [`Up65536`].
///
/// These are types, and three, because a ready set has one, two or three levels, and what a wake and a
/// pass do at each level is decided when they are compiled.
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
    /// How many tasks.
    const TASKS: u32;
}

pub(crate) mod sealed {
    use super::*;

    /// What the executor needs to know of a capacity.
    pub trait Sealed {
        /// The ready set's levels, from the root.
        type Root: Level;
        /// The words above the blocks, the root first.
        type Summaries: AsRef<[Node]> + Send + Sync;
        /// The tasks' places.
        type Blocks: AsRef<[Block<Places>]> + Send + Sync;

        /// No bit is set.
        #[cfg(not(all(test, loom)))]
        const SUMMARIES: Self::Summaries;
        /// No place is taken.
        #[cfg(not(all(test, loom)))]
        const BLOCKS: Self::Blocks;

        #[cfg(all(test, loom))]
        fn summaries() -> Self::Summaries;
        #[cfg(all(test, loom))]
        fn blocks() -> Self::Blocks;
    }
}

macro_rules! capacities {
    ($($(#[$about:meta])* $name:ident: $tasks:literal tasks, $root:ty, $summaries:literal summaries, $blocks:literal blocks;)*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name(());

        impl Capacity for $name {
            const TASKS: u32 = $tasks;
        }

        #[allow(
            clippy::declare_interior_mutable_const,
            clippy::zero_repeat_side_effects,
            reason = "they are initial values, without side effects"
        )]
        impl sealed::Sealed for $name {
            type Root = $root;
            type Summaries = [Node; $summaries];
            type Blocks = [Block<Places>; $blocks];

            #[cfg(not(all(test, loom)))]
            const SUMMARIES: Self::Summaries = [const { Node::new() }; $summaries];
            #[cfg(not(all(test, loom)))]
            const BLOCKS: Self::Blocks = [const { Block::new(Places::new()) }; $blocks];

            #[cfg(all(test, loom))]
            fn summaries() -> Self::Summaries {
                core::array::from_fn(|_| Node::new())
            }

            #[cfg(all(test, loom))]
            fn blocks() -> Self::Blocks {
                core::array::from_fn(|_| Block::new(Places::new()))
            }
        }
    )*};
}

capacities! {
    /// Up to 64 tasks: a ready set of one word. The cheapest.
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
    /// Up to 4096 tasks: 64 words below one.
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
    /// Up to 65,536 tasks: 1024 words below 16 below one.
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
