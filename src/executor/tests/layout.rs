//! What the compiler decides: sizes, what takes no room in an image, and which types are `Send` and
//! `Sync`.

use super::*;
use crate::{
    executor::{header::Header, task::TaskCell},
    time::{Ticker, WithDeadline},
};
use std::rc::Rc;

/// Whether a type has a trait: an inherent constant takes precedence over that of the trait.
macro_rules! is {
    ($type:ty: $trait:ident) => {{
        struct Probe<T: ?Sized>(core::marker::PhantomData<T>);
        #[allow(dead_code, reason = "only one of the two is used")]
        impl<T: ?Sized + $trait> Probe<T> {
            const IS: bool = true;
        }
        #[allow(dead_code, reason = "only one of the two is used")]
        trait Otherwise {
            const IS: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        <Probe<$type>>::IS
    }};
}

#[test]
fn runners_and_spawners_are_neither_send_nor_sync() {
    assert!(!is!(Runner<Up64>: Send) && !is!(Runner<Up64>: Sync));
    assert!(!is!(Spawner: Send) && !is!(Spawner: Sync));
    assert!(is!(RemoteSpawner: Send) && is!(RemoteSpawner: Sync));
    assert!(is!(Executor<Up64>: Send) && is!(Executor<Up64>: Sync));
    assert!(is!(Executor<Up65536, SingleVcpu>: Sync));
    assert!(is!(AbortHandle: Send) && is!(AbortHandle: Sync));
}

#[test]
fn handles_and_tasks_are_send_if_what_they_carry_is() {
    use core::cell::Cell;
    assert!(is!(JoinHandle<u8>: Send) && is!(JoinHandle<u8>: Sync));
    // A shared reference to a handle gives no access to the output.
    assert!(is!(JoinHandle<Cell<u8>>: Send) && is!(JoinHandle<Cell<u8>>: Sync));
    assert!(!is!(JoinHandle<Rc<u8>>: Send) && !is!(JoinHandle<Rc<u8>>: Sync));
    assert!(is!(Task<u8>: Send) && !is!(Task<Rc<u8>>: Send));
    assert!(is!(SpawnError<u8>: Send) && !is!(SpawnError<Rc<u8>>: Send));
    assert!(is!(JoinHandle<core::marker::PhantomPinned>: Unpin));
    // A shared reference to a task gives no access to its future.
    assert!(is!(Task<u8>: Sync) && !is!(Task<Rc<u8>>: Sync));
    assert!(is!(Task<u8>: Unpin) && !is!(Task<core::marker::PhantomPinned>: Unpin));
}

#[test]
fn auto_traits_of_timers_and_events() {
    assert!(is!(Timer: Send) && !is!(Timer: Sync) && !is!(Timer: Unpin));
    assert!(is!(Ticker: Send) && is!(Ticker: Sync));
    assert!(is!(WithDeadline<u8>: Send) && !is!(WithDeadline<Rc<u8>>: Send));
    assert!(is!(TimerQueue: Sync) && !is!(TimerQueue: Send));
    assert!(is!(crate::Event: Send) && is!(crate::Event: Sync));
    assert!(is!(crate::event::Wait<'static>: Send) && is!(crate::event::Wait<'static>: Sync));
}

/// Any context uses pools and vtables, and changes only the pool's free list.
#[test]
fn pools_and_vtables_can_be_statics() {
    assert!(is!(Pool<64, 8>: Sync) && is!(TaskVTable: Sync) && !is!(TaskVTable: Send));
}

#[test]
#[cfg(target_pointer_width = "64")]
fn a_cell_has_the_size_of_header_and_future_or_output() {
    use core::future::Ready;
    assert_eq!(size_of::<Header>(), 32);
    assert_eq!(size_of::<TaskCell<Ready<()>>>(), 40);
    assert_eq!(
        size_of::<TaskCell<Ready<[u64; 10]>>>(),
        32 + size_of::<Ready<[u64; 10]>>()
    );
    async fn large_output() -> [u8; 1000] {
        [0; 1000]
    }
    const SIZE: usize = cell_size(&large_output);
    assert_eq!(SIZE, 1032);
    #[repr(align(256))]
    struct Wide;
    const ALIGN: usize = cell_align(&|| core::future::ready(Wide));
    assert_eq!(ALIGN, 256);
}

/// 17 bytes for each task, 32 for each summary word, and the core. Metrics take eight bytes more
/// for each task.
#[test]
#[cfg(not(feature = "embassy-time"))]
fn an_executor_takes_seventeen_bytes_a_task() {
    const TASK: usize = if cfg!(feature = "metrics") { 25 } else { 17 };
    const CORE: usize = if cfg!(feature = "metrics") { 256 } else { 192 };
    let size = |tasks: usize, summaries: usize| {
        TASK * tasks + (32 * summaries + CORE).next_multiple_of(64)
    };
    assert_eq!(size_of::<Executor<Up64>>(), size(64, 0));
    assert_eq!(size_of::<Executor<Up4096>>(), size(4096, 1));
    assert_eq!(size_of::<Executor<Up65536>>(), size(65536, 17));
    assert_eq!(size_of::<Executor<Up64, SingleVcpu>>(), size(64, 0));
}

/// What is all zero takes no room in an image: the linker puts it into `.bss`.
#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "there is no linker")]
fn executors_and_pools_take_no_room_in_an_image() {
    unsafe extern "C" {
        static __bss_start: u8;
        static _end: u8;
    }
    static SMALL: Executor<Up64> = Executor::new(Shared);
    static LARGE: Executor<Up65536> = Executor::new(Shared);
    static TIMERS: TimerQueue = TimerQueue::new();
    tasks! {
        async fn task() -> usize, pool = 1000 {
            let here = 0_u8;
            turns(1).await;
            ptr::from_ref(&here).addr()
        }
    }
    let zero = (&raw const __bss_start).addr()..(&raw const _end).addr();
    let is_zero =
        |start: usize, size: usize| zero.contains(&start) && zero.contains(&(start + size - 1));
    assert!(is_zero((&raw const SMALL).addr(), size_of_val(&SMALL)));
    assert!(is_zero((&raw const LARGE).addr(), size_of_val(&LARGE)));
    // The pool, by the address of a task in it.
    let mut runner = SMALL.enter().unwrap();
    let handle = runner.spawner().spawn(task()).unwrap();
    runner.run(NeverIdle);
    let address = end_of(handle).unwrap();
    assert!(is_zero(address, 999 * size_of::<Header>()));
    // To show that not everything is in `.bss`: a queue without timers is not all zero.
    assert!(!is_zero((&raw const TIMERS).addr(), size_of_val(&TIMERS)));
    assert_eq!(LARGE.tasks(), 0);
}
