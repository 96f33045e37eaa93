//! Tasks on the heap.

use core::{any::type_name, future::Future, mem::MaybeUninit, ptr::NonNull};

use std_alloc::boxed::Box;

use super::{
    header::{Header, Memory, TaskVTable},
    task::{Task, TaskCell},
};

impl<F: Future> Task<F> {
    /// Makes a task that lies on the heap. If the heap is full, spawning it calls the program's
    /// allocation error handler.
    ///
    /// # Contexts
    ///
    /// Any. Its memory is allocated where it is spawned, and freed by the runner or where its
    /// handle is awaited or dropped after its end: in an interrupt handler these need an allocator
    /// that may be used there.
    ///
    /// # Cost
    ///
    /// An allocation more than a task of a pool: with `dormir-guest`'s heap some 120 instructions,
    /// whatever else is allocated, with interrupts masked meanwhile.
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
        let vtable = const { &TaskVTable::new::<F>(Memory::Heap(free::<F>), type_name::<F>) };
        // SAFETY: it was made for this type.
        unsafe { Self::new(vtable, future) }
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
/// `header` is from [`allocate`] for `F`; nothing uses it any more, and what lay there was dropped.
unsafe fn free<F: Future>(header: NonNull<Header>) {
    let cell = header.cast::<MaybeUninit<TaskCell<F>>>();
    // SAFETY: `allocate` made it as a box of this type.
    drop(unsafe { Box::from_raw(cell.as_ptr()) });
}
