//! Which loop owns the queue.

use std::thread;

use crate::time::{
    Served,
    testing::{at, queue, waiting},
};

/// Otherwise its thread would keep others from waiting, for nothing.
#[test]
fn a_loop_without_timers_owns_no_queue() {
    let (queue, _) = queue();
    let mut without = Served::new(queue);
    assert_eq!(without.turn(), None);
    without.begin_to_wait();
    let of_another = || {
        let mut served = Served::new(queue);
        let owns = served.is_ours();
        served.disarm();
        owns
    };
    assert!(thread::scope(|scope| scope
        .spawn(of_another)
        .join()
        .unwrap()));
}

#[test]
fn a_loop_that_turns_a_queue_with_timers_owns_it() {
    let (queue, _) = queue();
    let _timer = waiting(queue, 5, std::task::Waker::noop());
    let mut with = Served::new(queue);
    assert_eq!(with.turn(), Some(at(5)));
    let of_another = || Served::new(queue).is_ours();
    assert!(!thread::scope(|scope| scope
        .spawn(of_another)
        .join()
        .unwrap()));
}
