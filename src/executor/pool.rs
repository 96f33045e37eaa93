//! Where tasks lie: static pools, and the heap.

use core::{
    cell::{Cell, UnsafeCell},
    future::Future,
    mem::MaybeUninit,
    ptr::NonNull,
};

use critical_section::{CriticalSection, Mutex};

#[cfg(feature = "alloc")]
use super::task::Task;
use super::{
    free_list::FreeList,
    task::{Header, Memory, TaskCell, TaskType},
};

/// The memory of a pool: the head of its free list, and `SIZE` bytes at an alignment of `ALIGN`. All
/// zero, so that it costs no room in an image. Made by [`task!`](crate::task).
#[doc(hidden)]
#[repr(C)]
pub struct Pool<const SIZE: usize, const ALIGN: usize>
where
    Align<ALIGN>: Aligned,
{
    free: Mutex<Cell<FreeList>>,
    align: [<Align<ALIGN> as Aligned>::Unit; 0],
    cells: UnsafeCell<[MaybeUninit<u8>; SIZE]>,
}

// SAFETY: the free list is used in critical sections; a cell belongs to whoever took it from there.
unsafe impl<const SIZE: usize, const ALIGN: usize> Sync for Pool<SIZE, ALIGN> where
    Align<ALIGN>: Aligned
{
}

impl<const SIZE: usize, const ALIGN: usize> Pool<SIZE, ALIGN>
where
    Align<ALIGN>: Aligned,
{
    /// All cells are free.
    #[allow(clippy::new_without_default, reason = "for statics only")]
    pub const fn new() -> Self {
        Self {
            free: Mutex::new(Cell::new(FreeList::ALL)),
            align: [],
            cells: UnsafeCell::new([const { MaybeUninit::zeroed() }; SIZE]),
        }
    }
}

/// Alignments as types.
#[doc(hidden)]
pub struct Align<const ALIGN: usize>;

/// The alignments that there are.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in a pool is aligned to 4096 bytes at most, and this one to more",
    label = "in this task's future or output",
    note = "put what is aligned so strictly into a static, or on the heap, and a reference or a `Box` into the task"
)]
pub trait Aligned {
    /// A type of that alignment.
    type Unit;
}

macro_rules! alignments {
    ($($align:literal $name:ident)*) => {$(
        #[doc(hidden)]
        #[repr(align($align))]
        pub struct $name;
        impl Aligned for Align<$align> {
            type Unit = $name;
        }
    )*};
}
alignments!(8 A8 16 A16 32 A32 64 A64 128 A128 256 A256 512 A512 1024 A1024 2048 A2048 4096 A4096);

/// The bytes of a cell for the future that `make` makes.
#[doc(hidden)]
pub const fn cell_size<F: Future>(_make: &impl FnOnce() -> F) -> usize {
    size_of::<TaskCell<F>>()
}

/// Its alignment.
#[doc(hidden)]
pub const fn cell_align<F: Future>(_make: &impl FnOnce() -> F) -> usize {
    align_of::<TaskCell<F>>()
}

/// An argument for a call that only its type is wanted of.
#[doc(hidden)]
pub fn never_made<T>() -> T {
    unreachable!("only the type of the call is used")
}

/// Which pool a type of tasks has.
pub(super) struct PoolRef {
    free: &'static Mutex<Cell<FreeList>>,
    cells: *mut (),
    places: u32,
}

impl TaskType {
    /// The type of tasks that `make` makes the futures of, and that lie in `pool`.
    ///
    /// # Safety
    ///
    /// The pool serves no other type: cells of two sizes would overlap.
    #[doc(hidden)]
    pub const unsafe fn pooled<F: Future, const SIZE: usize, const ALIGN: usize>(
        _make: &impl FnOnce() -> F,
        pool: &'static Pool<SIZE, ALIGN>,
        name: fn() -> &'static str,
    ) -> Self
    where
        Align<ALIGN>: Aligned,
    {
        assert!(ALIGN == align_of::<TaskCell<F>>(), "a pool for these tasks");
        assert!(SIZE != 0, "a pool has room for one task at least");
        let places = SIZE / size_of::<TaskCell<F>>();
        assert!(places <= u32::MAX as usize / 2, "a pool is that large");
        let pool = PoolRef {
            free: &pool.free,
            cells: pool.cells.get().cast(),
            places: places as u32,
        };
        Self::new::<F>(Memory::Pool(pool, PoolRef::give_back::<F>), name)
    }
}

impl PoolRef {
    /// Takes a cell for a task with future `F`; `None` if all are taken.
    ///
    /// # Safety
    ///
    /// The pool is one for `F`.
    #[inline(always)]
    pub(super) unsafe fn claim<F: Future>(
        &self,
        cs: CriticalSection<'_>,
    ) -> Option<NonNull<Header>> {
        let cells = self.cells.cast::<TaskCell<F>>();
        let free = self.free.borrow(cs);
        let mut list = free.get();
        let place = list.take(self.places, |place| {
            let link = cells.wrapping_add(place as usize).cast::<u32>();
            // SAFETY: the place is in the pool and free: its memory is zero, or begins with the link.
            unsafe { link.read() }
        })?;
        free.set(list);
        NonNull::new(cells.wrapping_add(place as usize).cast())
    }

    /// # Safety
    ///
    /// `header` is from [`claim`](Self::claim) of this pool for `F`; nobody uses it any more.
    unsafe fn give_back<F: Future>(&self, header: NonNull<Header>, cs: CriticalSection<'_>) {
        let cell = header.cast::<TaskCell<F>>().as_ptr();
        // SAFETY: the cell is one of the pool's.
        let place = unsafe { cell.offset_from_unsigned(self.cells.cast()) };
        let free = self.free.borrow(cs);
        let mut list = free.get();
        // SAFETY: nobody uses the cell, and it is large enough.
        unsafe { header.cast::<u32>().write(list.give_back(place as u32)) };
        free.set(list);
    }
}

#[cfg(feature = "alloc")]
pub(super) mod heap {
    use super::*;
    use core::any::type_name;
    use std_alloc::boxed::Box;

    impl<F: Future> Task<F> {
        /// A task that lies on the heap: any number of them, as long as the heap lasts. Where it does
        /// not, spawning ends as the program's allocator says.
        ///
        /// # Contexts
        ///
        /// Any. Its memory is allocated where it is spawned, and freed by the runner or where its handle is
        /// awaited or dropped after its end: in an interrupt handler these need an allocator that may be used
        /// there.
        ///
        /// # Cost
        ///
        /// An allocation more than a task of a pool: with `dormir-guest`'s heap some 120 instructions, whatever
        /// else is allocated, with interrupts masked meanwhile.
        ///
        /// # Examples
        ///
        /// ```
        /// use dormir::executor::{Executor, Shared, Task, Up64};
        ///
        /// static EXECUTOR: Executor<Up64> = Executor::new(Shared);
        /// let mut runner = EXECUTOR.enter()?;
        /// let text = String::from("any future");
        /// runner.spawner().spawn(Task::boxed(async move { drop(text) }))?;
        /// assert_eq!(runner.run_until_idle().tasks_left, 0);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn boxed(future: F) -> Self {
            let kind = const { &TaskType::new::<F>(Memory::Heap(free::<F>), type_name::<F>) };
            // SAFETY: it was made for this type.
            unsafe { Self::new(kind, future) }
        }
    }

    /// Memory for a task with future `F`.
    pub(crate) fn allocate<F: Future>() -> NonNull<Header> {
        let cell = Box::into_raw(Box::<TaskCell<F>>::new_uninit());
        // SAFETY: a box is not null.
        unsafe { NonNull::new_unchecked(cell.cast()) }
    }

    /// # Safety
    ///
    /// `header` is from [`allocate`] for `F`; nobody uses it any more, and what lay there was dropped.
    unsafe fn free<F: Future>(header: NonNull<Header>) {
        let cell = header.cast::<MaybeUninit<TaskCell<F>>>();
        // SAFETY: `allocate` made it as a box of this type.
        drop(unsafe { Box::from_raw(cell.as_ptr()) });
    }
}
