//! Static pools of task memory.

use core::{
    cell::{Cell, UnsafeCell},
    fmt,
    future::Future,
    mem::MaybeUninit,
    ptr::NonNull,
};

use critical_section::{CriticalSection, Mutex};

use super::{
    free_list::FreeList,
    header::{Header, Memory, PoolRef, TaskVTable},
    task::TaskCell,
};

/// The memory of a pool: the head of its free list, and `SIZE` bytes at an alignment of `ALIGN`. It
/// is all zero, so that it takes no room in an image. Made by [`tasks!`](crate::tasks).
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

// SAFETY: the free list is used in critical sections; a cell belongs to the caller that took it
// from the list.
unsafe impl<const SIZE: usize, const ALIGN: usize> Sync for Pool<SIZE, ALIGN> where
    Align<ALIGN>: Aligned
{
}

impl<const SIZE: usize, const ALIGN: usize> Pool<SIZE, ALIGN>
where
    Align<ALIGN>: Aligned,
{
    /// Creates a pool whose cells are all free.
    #[allow(clippy::new_without_default, reason = "for statics only")]
    pub const fn new() -> Self {
        Self {
            free: Mutex::new(Cell::new(FreeList::ALL)),
            align: [],
            cells: UnsafeCell::new([const { MaybeUninit::zeroed() }; SIZE]),
        }
    }
}

impl<const SIZE: usize, const ALIGN: usize> fmt::Debug for Pool<SIZE, ALIGN>
where
    Align<ALIGN>: Aligned,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("bytes", &SIZE)
            .finish_non_exhaustive()
    }
}

/// Alignments as types.
#[doc(hidden)]
#[derive(Debug)]
pub struct Align<const ALIGN: usize>;

/// The alignments of pools.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in a pool can be aligned to at most 4096 bytes, and this one needs more",
    label = "in this task's future or output",
    note = "put the value with the large alignment into a static or on the heap, and a \
            reference or a `Box` into the task"
)]
pub trait Aligned {
    /// A type of that alignment.
    type Unit;
}

macro_rules! alignments {
    ($($align:literal $name:ident)*) => {$(
        #[doc(hidden)]
        #[derive(Debug)]
        #[repr(align($align))]
        pub struct $name;
        impl Aligned for Align<$align> {
            type Unit = $name;
        }
    )*};
}
alignments!(8 A8 16 A16 32 A32 64 A64 128 A128 256 A256 512 A512 1024 A1024 2048 A2048 4096 A4096);

/// The size of a cell for the future that `make` makes, in bytes.
#[doc(hidden)]
pub const fn cell_size<F: Future>(_make: &impl FnOnce() -> F) -> usize {
    size_of::<TaskCell<F>>()
}

/// The alignment of that cell, in bytes.
#[doc(hidden)]
pub const fn cell_align<F: Future>(_make: &impl FnOnce() -> F) -> usize {
    align_of::<TaskCell<F>>()
}

/// An argument of a call that is never made: only the type of its result is used.
#[doc(hidden)]
pub fn never_made<T>() -> T {
    unreachable!("only the type of the call is used")
}

impl TaskVTable {
    /// The functions of tasks that lie in `pool`, with the futures that `make` makes.
    ///
    /// # Safety
    ///
    /// The pool is used for no other type: cells of two sizes would overlap.
    #[doc(hidden)]
    pub const unsafe fn pooled<F: Future, const SIZE: usize, const ALIGN: usize>(
        _make: &impl FnOnce() -> F,
        pool: &'static Pool<SIZE, ALIGN>,
        name: fn() -> &'static str,
    ) -> Self
    where
        Align<ALIGN>: Aligned,
    {
        assert!(
            ALIGN == align_of::<TaskCell<F>>(),
            "the pool has the alignment of its tasks"
        );
        assert!(SIZE != 0, "a pool holds at least one task");
        let count = SIZE / size_of::<TaskCell<F>>();
        assert!(
            count <= u32::MAX as usize / 2,
            "a pool holds fewer than 2^31 tasks"
        );
        let pool = PoolRef {
            free: &pool.free,
            cells: pool.cells.get().cast(),
            count: count as u32,
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
        let cell = list.take(self.count, |cell| {
            let link = cells.wrapping_add(cell as usize).cast::<u32>();
            // SAFETY: the cell is in the pool and free, so its memory is zero or begins with the
            // link.
            unsafe { link.read() }
        })?;
        free.set(list);
        NonNull::new(cells.wrapping_add(cell as usize).cast())
    }

    /// # Safety
    ///
    /// `header` is from [`claim`](Self::claim) of this pool for `F`, and nothing uses the memory
    /// any more.
    unsafe fn give_back<F: Future>(&self, header: NonNull<Header>, cs: CriticalSection<'_>) {
        let cell = header.cast::<TaskCell<F>>().as_ptr();
        // SAFETY: the cell is one of the pool's.
        let number = unsafe { cell.offset_from_unsigned(self.cells.cast()) };
        let free = self.free.borrow(cs);
        let mut list = free.get();
        // SAFETY: nothing uses the cell, and it is large enough.
        unsafe { header.cast::<u32>().write(list.give_back(number as u32)) };
        free.set(list);
    }
}
