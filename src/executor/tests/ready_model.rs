//! The ready set against a model: a sorted set of numbers.

use super::*;
use crate::executor::{ready::ReadySet, slot::Block, task_ref::TaskRef};
use proptest::{collection::vec as many, prelude::*};
use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

/// A set that is freed when this is dropped. It is all zero at first, like a static.
struct Set<C: Capacity, M: Cpus>(&'static ReadySet<C, M>, *mut u8);

impl<C: Capacity, M: Cpus> Set<C, M> {
    fn new() -> Self {
        let layout = Layout::new::<ReadySet<C, M>>();
        // SAFETY: a set is not of size zero.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: a set that is all zero is what `ReadySet::new` makes. It lives as long as `self`,
        // and none of its wakers is used for longer.
        let set = unsafe { &*memory.cast::<ReadySet<C, M>>() };
        set.link();
        Self(set, memory)
    }

    fn wake(&self, number: u32) -> bool {
        ReadySet::<C, M>::set(self.0.slot(number))
    }
}

impl<C: Capacity, M: Cpus> Drop for Set<C, M> {
    fn drop(&mut self) {
        // SAFETY: `new` allocated the memory with this layout, and nothing uses it any more.
        unsafe { dealloc(self.1, Layout::new::<ReadySet<C, M>>()) };
    }
}

/// The task that is woken.
#[derive(Clone, Copy, Debug)]
enum Target {
    Number(u32),
    /// At this distance from the task that is being visited.
    Near(i32),
}

impl Target {
    fn number<C: Capacity>(self, visited: u32) -> u32 {
        match self {
            Self::Number(number) => number % C::TASKS,
            Self::Near(distance) => visited.wrapping_add_signed(distance) % C::TASKS,
        }
    }
}

/// What happens in a visit.
#[derive(Clone, Debug)]
struct Visit {
    wakes: Vec<Target>,
    panics: bool,
}

/// The wakes before each pass, and what happens in each visit.
#[derive(Clone, Debug)]
struct Script {
    passes: Vec<Vec<Target>>,
    visits: Vec<Visit>,
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => (0_u32..65536).prop_map(Target::Number),
        2 => (0_u32..200).prop_map(Target::Number),
        1 => prop::sample::select(std::vec![0, 63, 64, 4095, 4096, 65535]).prop_map(Target::Number),
        4 => (-130_i32..130).prop_map(Target::Near),
        1 => Just(Target::Near(0)),
        1 => prop::sample::select(std::vec![-4096, -64, 64, 4096]).prop_map(Target::Near),
    ]
}

fn visit() -> impl Strategy<Value = Visit> {
    (many(target(), 0..5), prop::bool::weighted(0.05))
        .prop_map(|(wakes, panics)| Visit { wakes, panics })
}

fn script() -> impl Strategy<Value = Script> {
    let (passes, visits) = (many(many(target(), 0..20), 1..8), many(visit(), 0..60));
    (passes, visits).prop_map(|(passes, visits)| Script { passes, visits })
}

#[derive(Default)]
struct Model {
    ready: BTreeSet<u32>,
    /// The task that this pass visited last.
    last: Option<u32>,
    visits: usize,
    /// For each task, the number of its last visit, and the tasks that were ready then.
    visited: BTreeMap<u32, (usize, BTreeSet<u32>)>,
}

impl Model {
    /// Returns an error if this task must not be visited now.
    fn visit(&mut self, number: u32) -> Result<(), String> {
        let ahead = self.last.map_or(0, |last| last + 1);
        let next = self.ready.range(ahead..).next().copied();
        if next != Some(number) {
            return Err(std::format!("{number} is visited instead of {next:?}"));
        }
        // Fairness: the tasks that were ready at the last visit have been visited since.
        if let Some((first, then)) = self.visited.get(&number) {
            let unfair = then
                .iter()
                .find(|other| self.visited.get(other).is_none_or(|(at, _)| at < first));
            if let Some(other) = unfair {
                return Err(std::format!("{number} is visited twice before {other}"));
            }
        }
        self.ready.remove(&number);
        self.last = Some(number);
        self.visits += 1;
        let now = (self.visits, self.ready.clone());
        self.visited.insert(number, now);
        Ok(())
    }
}

fn follow<C: Capacity, M: Cpus>(script: &Script) -> Result<(), TestCaseError> {
    let set = Set::<C, M>::new();
    let model = RefCell::new(Model::default());
    let wrong = RefCell::new(None);
    let mut visits = script.visits.iter();
    let wake = |number| {
        let was_clear = set.wake(number);
        let is_new = model.borrow_mut().ready.insert(number);
        if was_clear != is_new && !(was_clear && is_single::<M>()) {
            wrong.replace(Some(std::format!("wake of {number} returns {was_clear}")));
        }
        // Outside of a pass. In one, the bits above the word that is being visited are clear.
        if set.0.is_empty() && model.borrow().last.is_none() {
            wrong.replace(Some(std::format!("empty after the wake of {number}")));
        }
    };
    // At the end of the script, the tasks that are left are visited.
    let passes = script.passes.iter().map(Vec::as_slice);
    let passes = passes.chain(std::iter::repeat(&[][..]));
    for (round, wakes) in passes.enumerate() {
        model.borrow_mut().last = None;
        wakes.iter().for_each(|target| wake(target.number::<C>(0)));
        let before = model.borrow().visits;
        let passed = catch_unwind(AssertUnwindSafe(|| {
            set.0.pass(&mut (
                |block: &Block, bit, data| {
                    // SAFETY: the pass passes the data pointer of the task's wakers.
                    let task = unsafe { TaskRef::from_data(data) };
                    let number = task.slot_number();
                    assert!(ptr::eq(block, task.block()) && bit == number % 64);
                    if let Err(error) = model.borrow_mut().visit(number) {
                        wrong.replace(Some(error));
                    }
                    let Some(visit) = visits.next() else { return };
                    visit
                        .wakes
                        .iter()
                        .for_each(|target| wake(target.number::<C>(number)));
                    if visit.panics {
                        unwind();
                    }
                },
                || (),
            ));
        }));
        prop_assert_eq!(wrong.take(), None, "pass {}", round);
        let mut model = model.borrow_mut();
        if passed.is_err() {
            // The tasks that were not visited are still ready.
            model.visited.clear();
        } else {
            // Tasks in slots before that were woken after the pass had gone by.
            let ahead = model.last.map_or(0, |last| last + 1);
            prop_assert_eq!(model.ready.range(ahead..).next(), None, "not visited");
        }
        if !model.ready.is_empty() {
            prop_assert!(!set.0.is_empty());
        } else if C::TASKS == 64 {
            prop_assert!(set.0.is_empty());
        }
        // A summary bit may be set above a word without bits. A pass that finds no task clears all.
        if passed.is_ok() && model.ready.is_empty() && model.visits == before {
            prop_assert!(set.0.is_empty());
            if round >= script.passes.len() {
                return Ok(());
            }
        }
    }
    unreachable!("passes go on until nothing is ready")
}

fn is_single<M: Cpus>() -> bool {
    type_name::<M>() == type_name::<SingleVcpu>()
}

proptest! {
    #![proptest_config(cases(1.0, 8))]

    #[test]
    fn of_64_tasks_on_any_vcpu(script in script()) {
        follow::<Up64, Shared>(&script)?;
    }

    #[test]
    fn of_64_tasks_on_one_vcpu(script in script()) {
        follow::<Up64, SingleVcpu>(&script)?;
    }

    #[test]
    #[cfg_attr(miri, ignore = "too large")]
    fn of_4096_tasks_on_any_vcpu(script in script()) {
        follow::<Up4096, Shared>(&script)?;
    }

    #[test]
    #[cfg_attr(miri, ignore = "too large")]
    fn of_4096_tasks_on_one_vcpu(script in script()) {
        follow::<Up4096, SingleVcpu>(&script)?;
    }
}

// Fewer cases, since a set of 65,536 tasks has 1024 blocks to link.
proptest! {
    #![proptest_config(cases(0.25, 0))]

    #[test]
    #[cfg_attr(miri, ignore = "too large")]
    fn of_65536_tasks_on_any_vcpu(script in script()) {
        follow::<Up65536, Shared>(&script)?;
    }

    #[test]
    #[cfg_attr(miri, ignore = "too large")]
    fn of_65536_tasks_on_one_vcpu(script in script()) {
        follow::<Up65536, SingleVcpu>(&script)?;
    }
}

/// With all bits set, each task is visited once, in order.
fn all_are_visited_in_order<C: Capacity, M: Cpus>() {
    let set = Set::<C, M>::new();
    assert!(set.0.is_empty());
    for number in (0..C::TASKS).rev() {
        assert_eq!(set.0.slot(number).slot_number(), number);
        set.wake(number);
    }
    let (mut next, mut words) = (0, 1);
    set.0.pass(&mut (
        |_: &Block, _, data| {
            // SAFETY: the pass passes the data pointer of the task's wakers.
            let number = unsafe { TaskRef::from_data(data) }.slot_number();
            assert_eq!(number, next);
            next += 1;
        },
        || words += 1,
    ));
    assert_eq!(next, C::TASKS);
    assert_eq!(words, C::TASKS / 64);
    assert!(set.0.is_empty());
}

/// Each take returns the next task that is ready, and the first one after the last.
fn takes_are_in_order<C: Capacity, M: Cpus>(wakes: &[(Target, bool)]) -> Result<(), TestCaseError> {
    let set = Set::<C, M>::new();
    let (mut ready, mut from) = (BTreeSet::new(), 0);
    for (target, takes) in wakes {
        let number = target.number::<C>(from);
        set.wake(number);
        ready.insert(number);
        if *takes {
            let next = ready.range(from..).next().or(ready.first()).copied();
            let taken = set.0.take(from).map(TaskRef::slot_number);
            prop_assert_eq!(taken, next);
            ready.remove(&next.expect("one is ready"));
            from = taken.map_or(0, |taken| taken + 1);
        }
        prop_assert_eq!(set.0.is_empty(), ready.is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(1.0, 3))]

    #[test]
    fn single_takes_are_in_order(
        wakes in many((target(), any::<bool>()), 0..60)
    ) {
        takes_are_in_order::<Up64, Shared>(&wakes)?;
        takes_are_in_order::<Up4096, Shared>(&wakes)?;
        takes_are_in_order::<Up4096, SingleVcpu>(&wakes)?;
        if !cfg!(miri) {
            takes_are_in_order::<Up65536, Shared>(&wakes)?;
        }
    }
}

/// A foreign waker may carry any address.
#[test]
fn only_the_addresses_of_slots_are_those_of_tasks() {
    let set = Set::<Up4096, Shared>::new();
    for number in [0, 1, 63, 64, 4095] {
        let found = set.0.slot_of(set.0.slot(number).data());
        assert_eq!(found.map(TaskRef::slot_number), Some(number));
    }
    let blocks = set.0.link().as_ptr_range();
    let (first, last) = (
        blocks.start.cast::<()>(),
        blocks.end.wrapping_sub(1).cast::<()>(),
    );
    let others = [
        first.wrapping_byte_sub(1),
        // The 64 slots of a block have the addresses of its first 64 bytes.
        first.wrapping_byte_add(64),
        first.wrapping_byte_add(size_of::<Block>() - 1),
        last.wrapping_byte_add(64),
        blocks.end.cast::<()>(),
        blocks.end.wrapping_byte_add(63).cast::<()>(),
    ];
    for other in others {
        assert!(set.0.slot_of(other).is_none());
    }
}

#[test]
fn all_tasks_of_every_capacity_are_visited_in_order() {
    all_are_visited_in_order::<Up64, Shared>();
    all_are_visited_in_order::<Up64, SingleVcpu>();
    // Under Miri the larger ones take too long.
    if !cfg!(miri) {
        all_are_visited_in_order::<Up4096, Shared>();
        all_are_visited_in_order::<Up4096, SingleVcpu>();
        all_are_visited_in_order::<Up65536, Shared>();
        all_are_visited_in_order::<Up65536, SingleVcpu>();
    }
}
