//! The life of tasks against a model, under random sequences of all that can be done with them.
//!
//! The futures report each poll and drop to the model as it happens, and the model checks whether
//! that was allowed. So the model need not know in which order a pass visits tasks.

mod act;
mod bench;
mod model;
mod scripted;

use super::*;
use act::{Act, Ending, Origin, Plan};
use bench::Bench;
use proptest::{collection::vec as many, prelude::*};

/// A step of the test, outside of the runner.
#[derive(Clone, Debug)]
enum Step {
    Act(Act),
    /// Sets what the task does at its next poll.
    Plan(usize, Plan),
    Pass,
    /// The runner is dropped, the acts are done, and another runner enters.
    Leave(Vec<Act>),
}

/// A task, by a number that is taken modulo the number of tasks.
fn task() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0_usize..6, 1 => 0_usize..1000]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        6 => Just(Ending::Wait),
        4 => Just(Ending::End),
        1 => Just(Ending::Panic),
    ]
}

/// What can be done with tasks, from anywhere.
fn act() -> impl Strategy<Value = Act> {
    let origin = prop_oneof![Just(Origin::Local), Just(Origin::Remote)];
    let spawn = (origin, any::<bool>(), any::<bool>(), ending());
    prop_oneof![
        6 => spawn.prop_map(|(origin, joinable, dropping, ending)| Act::Spawn {
            origin,
            joinable,
            dropping,
            ending,
        }),
        1 => (1_usize..40).prop_map(Act::SpawnMany),
        1 => Just(Act::SpawnAgain),
        6 => task().prop_map(Act::Wake),
        3 => task().prop_map(Act::Abort),
        2 => task().prop_map(Act::AbortByKeptHandle),
        5 => task().prop_map(Act::Join),
        3 => task().prop_map(Act::DropHandle),
        1 => task().prop_map(Act::ForgetHandle),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let acts = many(
        prop_oneof![4 => act(), 1 => Just(Act::WakeSelf), 1 => Just(Act::AbortSelf)],
        0..4,
    );
    (acts, ending()).prop_map(|(acts, ending)| Plan { acts, ending })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => act().prop_map(Step::Act),
        8 => (task(), plan()).prop_map(|(task, plan)| Step::Plan(task, plan)),
        6 => Just(Step::Pass),
        2 => many(act(), 0..6).prop_map(Step::Leave),
    ]
}

/// The most steps of a case. Each takes Miri seconds.
const STEPS: usize = if cfg!(miri) { 20 } else { 80 };

proptest! {
    #![proptest_config(cases(2.0, 2))]

    #[test]
    fn tasks_follow_the_model(steps in many(step(), 0..STEPS)) {
        let mut bench = Bench::new();
        for step in steps {
            match step {
                Step::Act(act) => bench.act(act),
                Step::Plan(task, plan) => bench.plan(task, plan),
                Step::Pass => bench.pass(),
                Step::Leave(acts) => bench.leave(acts),
            }
            bench.check()?;
        }
        bench.finish()?;
    }
}
