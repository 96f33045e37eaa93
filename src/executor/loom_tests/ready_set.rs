//! Models of two wakers against passes and takes.

use core::array;

use loom::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use super::{super::ready::ReadySet, super::slot::Block, Two, TwoWords, check, keep};
use crate::executor::{Capacity, Cpus, Shared, SingleVcpu};

/// Each of two threads writes something for its task, relaxed, and wakes the task, while `passes`
/// passes are made. Once nothing is ready, a visit of each task must have seen what was written for
/// it.
pub(super) fn two_wakers<C: Capacity, M: Cpus>(tasks: [u32; 2], passes: u32) {
    two_wakers_and::<C, M>(tasks, passes, || ());
}

/// The same, with `after_pass` called after each pass.
pub(super) fn two_wakers_and<C: Capacity, M: Cpus>(tasks: [u32; 2], passes: u32, after_pass: fn()) {
    let pass = move |set: &'static ReadySet<C, M>, visit: &mut dyn FnMut(*const ())| {
        set.pass(&mut (|_: &Block, _, data| visit(data), || ()));
        after_pass();
    };
    two_wakers_by(tasks, passes, pass);
}

/// The same, with `visit_all` in place of a pass.
fn two_wakers_by<C: Capacity, M: Cpus>(
    tasks: [u32; 2],
    passes: u32,
    visit_all: impl Fn(&'static ReadySet<C, M>, &mut dyn FnMut(*const ()))
    + Copy
    + Send
    + Sync
    + 'static,
) {
    check(move |first| {
        let set = keep(ReadySet::<C, M>::new());
        set.link();
        let written: &[AtomicBool; 2] = keep(array::from_fn(|_| AtomicBool::new(false)));
        let slots = tasks.map(|task| set.slot(task));
        let threads = array::from_fn::<_, 2, _>(|this| {
            thread::spawn(move || {
                written[this].store(true, Relaxed);
                ReadySet::<C, M>::set(set.slot(tasks[this]));
            })
        });
        first.goes();
        let mut seen = [false; 2];
        let mut pass = || {
            visit_all(set, &mut |data| {
                for this in 0..2 {
                    if slots[this].data() == data {
                        seen[this] = written[this].load(Relaxed);
                    }
                }
            });
        };
        for _ in 0..passes {
            pass();
        }
        for thread in threads {
            thread.join().expect("a waker does not panic");
        }
        while !set.is_empty() {
            pass();
        }
        assert_eq!(
            seen, [true; 2],
            "what was written before a wake is seen by a visit"
        );
    });
}

/// The same with takes of one task, as a runner's step makes them.
fn two_wakers_and_takes<C: Capacity>(tasks: [u32; 2]) {
    two_wakers_by::<C, Shared>(tasks, 2, |set, visit| {
        if let Some(slot) = set.take(0) {
            visit(slot.data());
        }
    });
}

/// Here, as under Miri, these operations are not made of assembly.
fn operations_change_the_bits_they_name<M: Cpus>() {
    loom::model(|| {
        let word = AtomicU64::new(0);
        assert!(M::set(&word, 64 + 5), "it was not set");
        assert_eq!(word.load(Relaxed), 0b10_0000);
        M::raise(&word, 0b110);
        assert_eq!(word.load(Relaxed), 0b10_0110);
        M::clear(&word, 2);
        assert_eq!(word.load(Relaxed), 0b10_0010);
    });
}

#[test]
fn operations_for_any_vcpu_change_the_bits_they_name() {
    operations_change_the_bits_they_name::<Shared>();
}

#[test]
fn operations_for_one_vcpu_change_the_bits_they_name() {
    operations_change_the_bits_they_name::<SingleVcpu>();
}

#[test]
fn two_wakers_and_takes_of_neighbours() {
    two_wakers_and_takes::<Two>([0, 1]);
}

#[test]
fn two_wakers_and_takes_of_neighbours_below_a_summary() {
    two_wakers_and_takes::<TwoWords>([0, 1]);
}

#[test]
fn two_wakers_and_takes_of_two_words() {
    two_wakers_and_takes::<TwoWords>([0, 64]);
}

#[test]
fn two_wakers_of_one_task() {
    two_wakers::<Two, Shared>([0, 0], 2);
}

#[test]
fn two_wakers_of_neighbours() {
    two_wakers::<Two, Shared>([0, 1], 2);
}

#[test]
fn two_wakers_of_one_task_below_a_summary() {
    two_wakers::<TwoWords, Shared>([0, 0], 1);
}

#[test]
fn two_wakers_of_neighbours_below_a_summary() {
    two_wakers::<TwoWords, Shared>([0, 1], 2);
}

#[test]
fn two_wakers_of_two_words() {
    two_wakers::<TwoWords, Shared>([0, 64], 2);
}
