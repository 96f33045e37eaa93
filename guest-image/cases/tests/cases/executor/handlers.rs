//! Tests in which interrupt handlers spawn tasks, abort them and drop their handles.

use core::{
    cell::Cell,
    future::pending,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use critical_section::Mutex;
use dormir::{
    executor::{Cpus, Executor, JoinHandle, RemoteSpawner, Spawner, Up64, yield_now},
    idle::Halt,
    tasks,
    time::Timer,
};
use x86_64::instructions::interrupts;

use crate::{
    device::TestDevice,
    events::{EVENT, signals},
};

/// Runs one task with interrupts masked except where `Halt` unmasks them, so that each comes while
/// the vCPU halts.
fn run_masked<M: Cpus>(
    executor: &'static Executor<Up64, M>,
    spawn: impl FnOnce(Spawner) -> JoinHandle<()>,
) {
    let mut runner = executor.enter().expect("there is no other runner");
    let handle = spawn(runner.spawner());
    interrupts::disable();
    runner.run(Halt);
    assert!(!interrupts::are_enabled(), "the flag is as it was");
    interrupts::enable();
    assert!(handle.is_finished());
    assert_eq!(EVENT.take(), 0);
}

/// The spawner that the handler of [`spawn`] uses.
static REMOTE: Mutex<Cell<Option<RemoteSpawner>>> = Mutex::new(Cell::new(None));

/// A task that an interrupt handler spawns while the vCPU halts is polled at once, a hundred times
/// out of a hundred.
pub(super) fn spawn<M: Cpus>(executor: &'static Executor<Up64, M>) {
    const TIMES: u32 = 100;

    tasks! {
        async fn child(), pool = 1 {
            assert!(!TestDevice::is_handling(), "polled in the handler");
            EVENT.signal();
        }

        async fn parent(device: TestDevice), pool = 1 {
            for time in 1..=TIMES {
                device.interrupt();
                assert_eq!(signals().await, 1, "child {time}");
            }
        }
    }

    critical_section::with(|cs| REMOTE.borrow(cs).set(Some(executor.remote())));
    let device = TestDevice::new(|| {
        let remote = critical_section::with(|cs| REMOTE.borrow(cs).get());
        let spawned = remote.map(|remote| remote.spawn_detached(child()));
        assert!(matches!(spawned, Some(Ok(()))), "{spawned:?}");
    });
    run_masked(executor, |spawner| {
        spawner.spawn(parent(device)).expect("there is room")
    });
    assert_eq!(device.interrupts(), TIMES);
    assert_eq!(device.halts_ended(), TIMES, "each ended a hlt");
}

/// A value that expects where it is dropped: in the interrupt handler, or not.
struct Delicate {
    in_handler: bool,
}

static DROPPED: AtomicU32 = AtomicU32::new(0);

impl Drop for Delicate {
    fn drop(&mut self) {
        let in_handler = TestDevice::is_handling();
        assert_eq!(in_handler, self.in_handler, "dropped in the handler");
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn dropped() -> u32 {
    DROPPED.load(Ordering::Relaxed)
}

/// The handle that the handlers below abort or drop.
static HANDLE: Mutex<Cell<Option<JoinHandle<Delicate>>>> = Mutex::new(Cell::new(None));

fn swap_handle(handle: Option<JoinHandle<Delicate>>) -> Option<JoinHandle<Delicate>> {
    critical_section::with(|cs| HANDLE.borrow(cs).replace(handle))
}

/// A task that a handler aborts is dropped by the runner, and its join handle reports it.
pub(super) fn abort<M: Cpus>(executor: &'static Executor<Up64, M>) {
    tasks! {
        /// Holds one in its future, forever.
        async fn hold() -> Delicate, pool = 1 {
            let _held = Delicate { in_handler: false };
            pending().await
        }

        async fn parent(spawner: Spawner, device: TestDevice), pool = 1 {
            // The second round shows that the first has freed its slot.
            for time in 1..=2 {
                let before = dropped();
                let handle = spawner.spawn(hold()).expect("there is room for one");
                // Now it has been polled, and holds its value.
                yield_now().await;
                swap_handle(Some(handle));
                device.interrupt();
                assert_eq!(signals().await, 1);
                let handle = swap_handle(None).expect("the handler has put it back");
                assert!(handle.await.is_err(), "not aborted, at time {time}");
                assert_eq!(dropped(), before + 1);
            }
        }
    }

    let device = TestDevice::new(|| {
        let handle = swap_handle(None).expect("the parent has put it there");
        handle.abort();
        swap_handle(Some(handle));
        EVENT.signal();
    });
    run_masked(executor, |spawner| {
        let spawned = spawner.spawn(parent(spawner, device));
        spawned.expect("there is room")
    });
    assert_eq!(device.halts_ended(), 2, "each ended a hlt");
}

/// If a handler drops a join handle, the output of a completed task is dropped with it. A task that
/// is still running goes on, and the runner drops its output.
pub(super) fn drop_handles<M: Cpus>(executor: &'static Executor<Up64, M>) {
    const NAP: Duration = Duration::from_millis(50);

    tasks! {
        async fn give(naps: bool) -> Delicate, pool = 1 {
            if naps {
                Timer::after(NAP).await;
            }
            Delicate { in_handler: !naps }
        }

        async fn parent(spawner: Spawner, device: TestDevice), pool = 1 {
            for naps in [false, true] {
                let before = dropped();
                let handle = spawner.spawn(give(naps)).expect("there is room for one");
                yield_now().await;
                assert_eq!(handle.is_finished(), !naps);
                swap_handle(Some(handle));
                device.interrupt();
                assert_eq!(signals().await, 1);
                if naps {
                    Timer::after(2 * NAP).await;
                }
                assert_eq!(dropped(), before + 1);
            }
        }
    }

    let device = TestDevice::new(|| {
        drop(swap_handle(None).expect("the parent has put it there"));
        EVENT.signal();
    });
    run_masked(executor, |spawner| {
        let spawned = spawner.spawn(parent(spawner, device));
        spawned.expect("there is room")
    });
    assert_eq!(device.interrupts(), 2);
}
