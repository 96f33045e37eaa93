//! A model: every order in which tasks, drops and the device's steps can follow each other. The
//! device takes steps between the tasks' turns, and during a poll before and after the driver asks
//! for interrupts, which is before and after it acknowledges, and before it looks.
//!
//! At the end of each order nothing is left to do, so every request that was not dropped must have
//! ended. Otherwise a wake was lost.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use virtio_drivers::transport::DeviceType;

use super::{
    Flag,
    fake::{FakeInterrupt, FakeTransport, Shared},
    poll,
    side::Side,
};
use crate::{
    device::{Device, Mutant},
    message::{Direction, Message},
    request::Request,
    state::Wanted,
};

/// Descriptors: two requests are in flight, further ones wait for room.
const SIZE: usize = 2;

type Driver = Device<FakeTransport, FakeInterrupt, SIZE>;

thread_local! {
    static MODEL: RefCell<Option<Model>> = const { RefCell::new(None) };
}

/// The device, and which order is tried.
struct Model {
    side: Side,
    /// The device has used a request and not yet raised its line.
    to_raise: bool,
    order: Order,
}

/// The choices so far: what was chosen, of how many.
#[derive(Default)]
struct Order {
    choices: Vec<(usize, usize)>,
    next: usize,
}

impl Order {
    fn choose(&mut self, among: usize) -> usize {
        if self.next == self.choices.len() {
            self.choices.push((0, among));
        }
        let (choice, of) = self.choices[self.next];
        assert_eq!(of, among, "the same choices lead to the same state");
        self.next += 1;
        choice
    }

    /// The next order; `false` after the last.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, of)) = self.choices.pop() {
            if choice + 1 < of {
                self.choices.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

fn with_model<R>(f: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(|model| f(model.as_mut().expect("one runs")))
}

impl Model {
    fn can_step(&self) -> bool {
        self.to_raise || self.side.has_request()
    }

    /// Uses a request, or raises the line for one. Returns whether the line is to be raised.
    fn step(&mut self) -> bool {
        if self.to_raise {
            self.to_raise = false;
            return true;
        }
        self.side.serve(|chain| chain.write([1; 8]));
        self.to_raise = true;
        false
    }
}

/// Lets the device take as many steps as the order says.
fn device_steps() {
    while with_model(|model| model.can_step() && model.order.choose(2) == 1) {
        step();
    }
}

fn step() {
    let (shared, raise) = with_model(|model| {
        let raise = model.step();
        (Arc::clone(&model.side.shared), raise)
    });
    if raise {
        shared.raise(1);
    }
}

type Boxed<'a> = Pin<Box<Request<'a, FakeTransport, FakeInterrupt, SIZE>>>;

/// One order. Returns whether every request ended.
fn run(requests: usize, mut drops: usize, mutant: Option<Mutant>) -> bool {
    let shared = Shared::new(DeviceType::EntropySource);
    let wanted = Wanted {
        device_type: DeviceType::EntropySource,
        features: 0,
        queues: &[1],
    };
    let mut driver = Driver::new(shared.attach(), &wanted).expect("a good device");
    driver.mutant = mutant;
    driver.state.lock().no_hand_over = mutant == Some(Mutant::NoHandOver);
    with_model(|model| {
        model.side = Side::new(&shared, 0);
        model.to_raise = false;
    });
    *shared.hook.lock().unwrap() = Some(device_steps);
    let new = || {
        let message = Message::plain(vec![0; 8].into(), Direction::FromDevice);
        Some((Box::pin(Request::new(&driver, 0, message)), Flag::new()))
    };
    let mut tasks: Vec<Option<(Boxed<'_>, Arc<Flag>)>> = (0..requests).map(|_| new()).collect();
    loop {
        let is_woken = |task: &Option<(_, Arc<Flag>)>| {
            task.as_ref()
                .is_some_and(|(_, flag)| flag.woken.load(Ordering::SeqCst))
        };
        let mut actions = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            if is_woken(task) {
                actions.push((index, false));
            }
        }
        let can_step = with_model(|model| model.can_step());
        if actions.is_empty() && !can_step {
            break;
        }
        if drops > 0 {
            for (index, task) in tasks.iter().enumerate() {
                // Before its first poll, nothing knows of it.
                if task.as_ref().is_some_and(|(request, _)| request.id != 0) {
                    actions.push((index, true));
                }
            }
        }
        let count = actions.len() + usize::from(can_step);
        let choice = with_model(|model| model.order.choose(count));
        let Some((index, is_drop)) = actions.get(choice).copied() else {
            step();
            continue;
        };
        let task = &mut tasks[index];
        if is_drop {
            drops -= 1;
            *task = None;
        } else if let Some((request, flag)) = task {
            flag.take();
            if let Poll::Ready(reply) = poll(request.as_mut(), flag) {
                assert_eq!((reply.result, &*reply.buffer), (Ok(8), &[1; 8][..]));
                *task = None;
            }
        }
    }
    *shared.hook.lock().unwrap() = None;
    tasks.iter().all(Option::is_none)
}

/// Tries every order, and returns how many lost a wake, of how many.
fn explore(requests: usize, drops: usize, mutant: Option<Mutant>) -> (usize, usize) {
    let none = Shared::new(DeviceType::EntropySource);
    MODEL.set(Some(Model {
        side: Side::new(&none, 0),
        to_raise: false,
        order: Order::default(),
    }));
    let (mut lost, mut orders) = (0, 0);
    loop {
        lost += usize::from(!run(requests, drops, mutant));
        orders += 1;
        if !with_model(|model| model.order.advance()) {
            break;
        }
    }
    MODEL.set(None);
    println!("{requests} requests, {drops} drops, {mutant:?}: {lost} of {orders} lost");
    (lost, orders)
}

#[test]
fn no_wake_is_lost() {
    for (requests, drops) in [(1, 0), (2, 0), (2, 1), (2, 2)] {
        assert_eq!(explore(requests, drops, None).0, 0);
    }
}

/// One of the three waits for room at first.
#[test]
#[ignore = "two million orders take a minute"]
fn no_wake_is_lost_of_three() {
    assert_eq!(explore(3, 0, None).0, 0);
}

#[test]
fn mutants_are_found() {
    for (mutant, drops) in [
        (Mutant::LookFirst, 0),
        (Mutant::NoLook, 0),
        (Mutant::NoHandOver, 1),
    ] {
        assert!(explore(2, drops, Some(mutant)).0 > 0, "{mutant:?}");
    }
}
