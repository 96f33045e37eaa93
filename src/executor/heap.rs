//! Tasks on the heap.

use core::{any::type_name, future::Future, mem::MaybeUninit, ptr::NonNull};

use std_alloc::boxed::Box;

use super::{
    header::{Header, Memory, TaskVTable},
    task::{Task, TaskCell},
};

impl<F: Future> Task<F> {
    /// Makes a task that is allocated on the heap when it is spawned. If the heap is full, the
    /// spawn calls the program's allocation error handler.
    ///
    /// # Contexts
    ///
    /// Any. The spawn allocates the task's memory. The runner frees it at the task's end, or if
    /// there is a handle, the await or drop of the handle after that. Where an interrupt handler
    /// does one of these, the allocator must be one that may be used there.
    ///
    /// # Cost
    ///
    /// One allocation more than a task in a pool: with `dormir-guest`'s heap about 120
    /// instructions, however much else is allocated, with interrupts masked meanwhile.
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
        // SAFETY: the vtable was made for this type.
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
/// `header` is from [`allocate`] for `F`. Nothing uses the memory any more, and its contents were
/// dropped.
unsafe fn free<F: Future>(header: NonNull<Header>) {
    let cell = header.cast::<MaybeUninit<TaskCell<F>>>();
    // SAFETY: `allocate` made it as a box of this type.
    drop(unsafe { Box::from_raw(cell.as_ptr()) });
}
