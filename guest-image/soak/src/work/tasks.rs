//! Tasks that wake each other and themselves, and tasks that are spawned, joined and aborted.

use alloc::{rc::Rc, vec::Vec};
use core::{
    cell::Cell,
    future::{pending, poll_fn},
    task::{Poll, Waker},
    time::Duration,
};

use dormir::{
    executor::{Spawner, Task, yield_now},
    time::{Instant, with_timeout},
};
use dormir_devices_guest::random::Random;

use super::nap;
use crate::{
    board::{self, Kind, Wait},
    watch::{watch, watch_wait},
};

/// The longest sleep between two bursts, in microseconds.
pub(crate) const PAUSE: u64 = 3000;

/// The most tasks that are spawned at once by one: more than a word of the ready set has.
pub(crate) const CHILDREN: u64 = 80;

/// The last number of a pair.
const GOODBYE: u64 = u64::MAX;

/// Where a task leaves a number for another one, and wakes it.
#[derive(Default)]
pub(crate) struct Mailbox {
    number: Cell<u64>,
    waker: Cell<Option<Waker>>,
    /// The place of the wait for the next number.
    awaited: Cell<Option<usize>>,
}

impl Mailbox {
    fn send(&self, number: u64) {
        self.number.set(number);
        if let Some(place) = self.awaited.take() {
            board::issue(place);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for a number other than the `last` one.
    async fn receive(&self, last: u64) -> u64 {
        let wait = Wait::begin(Kind::Tasks, None);
        self.awaited.set(Some(wait.place()));
        let number = poll_fn(|cx| match self.number.get() {
            number if number != last => Poll::Ready(number),
            _ => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        let number = watch_wait(wait, number).await;
        self.awaited.set(None);
        number
    }
}

/// A mailbox each way.
pub(crate) type Pair = Rc<(Mailbox, Mailbox)>;

/// Sends numbers, in bursts, and waits for each to come back.
pub(crate) async fn serve(pair: Pair, end: Instant, mut random: Random) {
    let mut number = 0;
    while Instant::now() < end {
        for _ in 0..random.below(128) {
            number += 1;
            pair.0.send(number);
            let hour = Duration::from_secs(3600);
            let came = match random.below(4) {
                // A timer that is dropped each time.
                0 => with_timeout(hour, pair.1.receive(number - 1)).await.ok(),
                _ => Some(pair.1.receive(number - 1).await),
            };
            assert!(
                came == Some(number),
                "{came:?} came back in place of {number}"
            );
        }
        nap(&mut random, PAUSE).await;
    }
    pair.0.send(GOODBYE);
}

/// Sends back what comes.
pub(crate) async fn send_back(pair: Pair) {
    let mut last = 0;
    loop {
        let number = pair.0.receive(last).await;
        if number == GOODBYE {
            return;
        }
        assert!(number == last + 1, "{number} came after {last}");
        pair.1.send(number);
        last = number;
    }
}

/// Wakes itself, in bursts.
pub(crate) async fn yields(end: Instant, mut random: Random) {
    while Instant::now() < end {
        for _ in 0..random.below(128) {
            watch(Kind::Yields, Instant::now(), yield_now()).await;
        }
        nap(&mut random, PAUSE).await;
    }
}

/// What a task that was spawned does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ends,
    Yields,
    Naps(u64),
    /// It waits until it is aborted.
    Aborted,
}

/// Spawns tasks, aborts some, and joins them all.
pub(crate) async fn spawns(spawner: Spawner, end: Instant, mut random: Random) {
    let mut children = Vec::with_capacity(CHILDREN as usize);
    while Instant::now() < end {
        for number in 0..=random.below(CHILDREN) {
            let fate = match random.below(4) {
                0 => Fate::Ends,
                1 => Fate::Yields,
                2 => Fate::Naps(random.below(500) + 1),
                _ => Fate::Aborted,
            };
            let first = Wait::begin(Kind::Spawns, Some(Instant::now()));
            let child = Task::boxed(child(first, number, fate, random.fork()));
            let spawned = spawner.spawn(child).expect("the executor has room");
            children.push((number, fate, spawned));
        }
        if random.below(2) == 0 {
            nap(&mut random, PAUSE).await;
        }
        for (number, fate, child) in children.drain(..) {
            let kind = match fate {
                Fate::Aborted => Kind::Aborts,
                _ => Kind::Joins,
            };
            if fate == Fate::Aborted {
                child.abort();
            }
            // A task that naps ends later than now.
            let due = Instant::now().saturating_add(Duration::from_secs(1));
            let joined = watch(kind, due, child).await.ok();
            let expected = (fate != Fate::Aborted).then_some(number);
            assert!(
                joined == expected,
                "a join brought {joined:?}, not {expected:?}"
            );
        }
        nap(&mut random, PAUSE).await;
    }
}

/// A task that was spawned. `first` is the wait for its first poll.
async fn child(first: Wait, number: u64, fate: Fate, mut random: Random) -> u64 {
    first.end(true);
    match fate {
        Fate::Ends => {}
        Fate::Yields => watch(Kind::Yields, Instant::now(), yield_now()).await,
        Fate::Naps(most) => nap(&mut random, most).await,
        Fate::Aborted => pending().await,
    }
    number
}
