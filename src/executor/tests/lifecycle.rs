//! Cases in a task's life that the model does not cover: foreign code that runs during an end, a
//! join or a drop.

use super::*;
use core::{
    cell::{Cell, RefCell},
    future::{pending, poll_fn},
};
use std::rc::Rc;

type Slot<T> = Rc<RefCell<Option<T>>>;

/// A value that does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn on_drop(act: impl FnMut() + 'static) -> Box<dyn core::any::Any> {
    Box::new(OnDrop(act))
}

tasks! {
    /// Ends at its second poll, and drops the value.
    async fn drops(value: Box<dyn core::any::Any>), pool = 200 { turns(1).await; drop(value); }
    /// Returns the value.
    async fn returns(value: Box<dyn core::any::Any>) -> Box<dyn core::any::Any>, pool = 200 {
        value
    }
    /// Never ends.
    async fn waits(value: Box<dyn core::any::Any>), pool = 200 {
        let _value = value;
        pending().await
    }
    /// Returns its number.
    async fn numbered(number: u32) -> u32, pool = 200 { turns(1).await; number }
}

#[test]
fn a_dropped_future_may_drop_handles_even_its_own() {
    for own in [true, false] {
        for aborted in [true, false] {
            let executor = executor::<Up64>();
            let mut runner = executor.enter().unwrap();
            let spawner = runner.spawner();
            let slot: Slot<JoinHandle<()>> = Rc::default();
            let drops_handle = {
                let slot = slot.clone();
                on_drop(move || drop(slot.borrow_mut().take()))
            };
            let task = spawner
                .spawn(if aborted {
                    waits(drops_handle)
                } else {
                    waits(Box::new(drops_handle))
                })
                .unwrap();
            let other = spawner.spawn(drops(Box::new(()))).unwrap();
            let abort = task.abort_handle();
            let (kept, left) = if own { (other, task) } else { (task, other) };
            slot.borrow_mut().replace(left);
            runner.pass();
            runner.pass();
            if aborted {
                abort.abort();
                runner.pass();
            } else {
                drop(runner);
            }
            assert!(slot.borrow().is_none(), "it was dropped");
            drop(kept);
            assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
        }
    }
}

#[test]
fn a_dropped_output_may_abort_and_spawn() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let spawner = runner.spawner();
    let ran = Rc::new(Cell::new(0));
    // Dropped by the runner at the end of a detached task; with the handle after the end.
    for joinable in [false, true] {
        let victim = spawner.spawn(waits(Box::new(()))).unwrap();
        let slot: Slot<JoinHandle<u32>> = Rc::default();
        let act = {
            let (ran, slot) = (ran.clone(), slot.clone());
            on_drop(move || {
                victim.abort();
                let other = spawner.spawn(numbered(7)).expect("there is room");
                slot.borrow_mut().replace(other);
                ran.set(ran.get() + 1);
            })
        };
        let handle = spawner.spawn(returns(act)).unwrap();
        if joinable {
            runner.pass();
        }
        drop(handle);
        runner.run(NeverIdle);
        let other = slot.borrow_mut().take().expect("it was spawned");
        assert_eq!(end_of(other), Ok(7));
    }
    assert_eq!(ran.get(), 2);
    assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
}

/// Each output holds the handle of another task.
#[test]
fn a_chain_of_handles_in_outputs_is_dropped_completely() {
    const LENGTH: usize = 50;
    for leaves in [false, true] {
        let executor = executor::<Up64>();
        let mut runner = executor.enter().unwrap();
        let spawner = runner.spawner();
        let drops = Drops::default();
        let last = (
            Box::new(drops.counted()) as Box<dyn core::any::Any>,
            Box::new(()) as Box<dyn core::any::Any>,
        );
        let mut handle = spawner.spawn(returns(Box::new(last))).unwrap();
        for _ in 1..LENGTH {
            let value = (Box::new(drops.counted()) as Box<dyn core::any::Any>, handle);
            handle = spawner.spawn(returns(Box::new(value))).unwrap();
        }
        runner.pass();
        assert_eq!((executor.core.ended(), drops.count()), (LENGTH, 0));
        if leaves {
            // After the runner was dropped.
            drop(runner);
            drop(handle);
        } else {
            drop(handle);
            runner.run(NeverIdle);
        }
        assert_eq!(
            (executor.tasks(), executor.core.ended(), drops.count()),
            (0, 0, LENGTH)
        );
    }
}

/// A waker that acts when it is woken, as a waker of another executor may.
struct Acting(Mutex<Box<dyn FnMut() + Send>>);

impl Wake for Acting {
    fn wake(self: Arc<Self>) {
        (self.0.lock().unwrap())();
    }
}

#[test]
fn a_joiner_may_take_the_output_while_it_is_being_woken() {
    tasks! { async fn task(counted: Counted) -> Counted, pool = 1 { turns(1).await; counted } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for round in 0..3 {
        let handle = runner.spawner().spawn(task(drops.counted())).unwrap();
        let slot = Arc::new(Mutex::new(Some(handle)));
        let taken = slot.clone();
        let remote = executor.remote();
        let next = drops.clone();
        let waker = Waker::from(Arc::new(Acting(Mutex::new(Box::new(move || {
            let handle = taken
                .lock()
                .unwrap()
                .take()
                .expect("the waker is called once");
            drop(end_of(handle).expect("it has ended"));
            // Another task gets the slot, before `complete` returns.
            remote.spawn_detached(task(next.counted())).unwrap();
        })))));
        let mut handle = slot.lock().unwrap().take().unwrap();
        assert!(poll_with(&mut handle, &waker).is_pending());
        slot.lock().unwrap().replace(handle);
        runner.run(NeverIdle);
        assert_eq!(drops.count(), 2 * (round + 1));
        assert_eq!((executor.tasks(), executor.core.ended()), (0, 0));
    }
}

#[test]
fn a_replaced_waker_and_that_of_a_dropped_handle_are_dropped() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let mut handle = runner.spawner().spawn(numbered(1)).unwrap();
    let counters = [(); 3].map(|()| Arc::new(Counter::default()));
    for (number, counter) in counters.iter().enumerate() {
        let waker = Waker::from(counter.clone());
        assert!(poll_with(&mut handle, &waker).is_pending());
        drop(waker);
        let kept: Vec<_> = counters
            .iter()
            .map(|counter| Arc::strong_count(counter) - 1)
            .collect();
        let expected: Vec<_> = (0..3).map(|other| usize::from(other == number)).collect();
        assert_eq!(kept, expected, "the last one is kept");
    }
    runner.run(NeverIdle);
    assert_eq!(
        counters.each_ref().map(|counter| counter.wakes()),
        [0, 0, 1]
    );
    assert_eq!(counters.each_ref().map(Arc::strong_count), [1; 3]);
    assert_eq!(end_of(handle), Ok(1));
    // A handle that is dropped drops its waker.
    let mut handle = runner.spawner().spawn(numbered(1)).unwrap();
    let waker = Waker::from(counters[0].clone());
    assert!(poll_with(&mut handle, &waker).is_pending());
    drop((waker, handle));
    assert_eq!(Arc::strong_count(&counters[0]), 1);
    runner.run(NeverIdle);
    assert_eq!(counters[0].wakes(), 0);
}

#[test]
fn a_task_that_aborts_itself_is_dropped_at_its_next_visit_unless_it_ends() {
    tasks! {
        async fn aborts_itself(handle: Slot<AbortHandle>, ends: bool, counted: Counted) -> u8,
            pool = 1
        {
            let _counted = counted;
            turns(1).await;
            handle.borrow().as_ref().expect("the test put it there").abort();
            if !ends {
                turns(1).await;
                unreachable!("it was aborted");
            }
            9
        }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    for (ends, expected) in [(false, Err(Aborted)), (true, Ok(9))] {
        let slot = Slot::default();
        let task = aborts_itself(slot.clone(), ends, drops.counted());
        let handle = runner.spawner().spawn(task).unwrap();
        slot.borrow_mut().replace(handle.abort_handle());
        runner.run(NeverIdle);
        assert_eq!(end_of(handle), expected);
    }
    assert_eq!(drops.count(), 2);
}

#[test]
fn a_task_that_is_aborted_before_its_first_poll_is_never_polled() {
    tasks! {
        async fn task(counted: Counted), pool = 1 { drop(counted); unreachable!("it was aborted") }
    }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let handle = runner.spawner().spawn(task(drops.counted())).unwrap();
    handle.abort();
    handle.abort();
    assert_eq!(
        (handle.is_finished(), drops.count()),
        (false, 0),
        "the runner drops it"
    );
    runner.run(NeverIdle);
    let aborted = end_of(handle).expect_err("it was aborted").to_string();
    assert!(aborted.contains("ended without an output"), "{aborted}");
    assert_eq!(drops.count(), 1);
    // A remote task that was never visited, whose handle is dropped first.
    let handle = executor.remote().spawn(task(drops.counted())).unwrap();
    handle.abort();
    drop(handle);
    drop(runner);
    assert_eq!((executor.tasks(), drops.count()), (1, 1));
    executor.enter().unwrap().run(NeverIdle);
    assert_eq!((executor.tasks(), drops.count()), (0, 2));
}

#[test]
fn an_output_that_needs_no_drop_frees_its_slot_with_the_handle() {
    tasks! { async fn task() -> [u8; 100], pool = 1 { [7; 100] } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    for _ in 0..3 {
        let handle = runner.spawner().spawn(task()).unwrap();
        runner.pass();
        assert_eq!(executor.core.ended(), 1);
        drop(handle);
        assert_eq!(executor.core.ended(), 0);
    }
    assert!(runner.is_idle(), "the runner has nothing to do");
}

#[test]
fn an_output_that_was_not_taken_is_dropped_with_its_handle() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let value = || -> Box<dyn core::any::Any> { Box::new(drops.counted()) };
    let first = runner.spawner().spawn(returns(value())).unwrap();
    let second = runner.spawner().spawn(returns(value())).unwrap();
    runner.pass();
    drop(first);
    assert_eq!((executor.core.ended(), drops.count()), (1, 1));
    // The same after the runner was dropped.
    drop(runner);
    assert_eq!((executor.core.ended(), drops.count()), (1, 1));
    drop(second);
    assert_eq!((executor.core.ended(), drops.count()), (0, 2));
}

#[test]
fn a_forgotten_handle_keeps_its_slot_and_its_output() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let drops = Drops::default();
    let value: Box<dyn core::any::Any> = Box::new(drops.counted());
    let mut handle = runner.spawner().spawn(returns(value)).unwrap();
    assert!(poll_once(&mut handle).is_pending());
    core::mem::forget(handle);
    runner.run(NeverIdle);
    drop(runner);
    executor.enter().unwrap().run(NeverIdle);
    assert_eq!(
        (executor.tasks(), executor.core.ended(), drops.count()),
        (0, 1, 0)
    );
}

#[test]
#[should_panic(expected = "a join handle")]
fn polling_a_handle_after_it_returned_the_end_panics() {
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let mut handle = runner.spawner().spawn(numbered(1)).unwrap();
    runner.run(NeverIdle);
    assert!(poll_once(&mut handle).is_ready());
    let _ = poll_once(&mut handle);
}

#[test]
fn a_spurious_wake_causes_one_poll() {
    tasks! { async fn task(polls: Rc<Cell<u32>>, waker: Rc<Cell<Option<Waker>>>), pool = 1 {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            waker.set(Some(cx.waker().clone()));
            if polls.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
        }).await;
    } }
    let executor = executor::<Up64>();
    let mut runner = executor.enter().unwrap();
    let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
    runner
        .spawner()
        .spawn_detached(task(polls.clone(), waker.clone()))
        .unwrap();
    for pass in 1..=3 {
        runner.pass();
        assert_eq!(polls.get(), pass);
        runner.pass();
        assert_eq!(polls.get(), pass, "it was not woken");
        waker.take().expect("it was polled").wake();
    }
    runner.run(NeverIdle);
    assert_eq!((executor.tasks(), polls.get()), (0, 3));
}
