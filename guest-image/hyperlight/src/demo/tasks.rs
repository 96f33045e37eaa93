//! Tasks that are spawned, joined and aborted, and that take turns.

use core::time::Duration;

use alloc::{rc::Rc, string::String, vec::Vec};
use core::cell::RefCell;
use dormir::{
    executor::{Task, yield_now},
    hyperlight,
    time::Timer,
};
use hyperlight_guest::error::Result;

use super::println;

dormir::tasks! {
    async fn square(n: u64) -> u64, pool = 8 {
        Timer::after(Duration::from_millis(10 * (9 - n))).await;
        n * n
    }
}

pub(super) fn run() -> Result<()> {
    hyperlight::block_on(async {
        let tasks: Vec<_> = (1..=8)
            .map(|n| hyperlight::spawn(square(n)).expect("the pool has room"))
            .collect();
        let mut squares = Vec::new();
        for task in tasks {
            squares.push(task.await.expect("it is not aborted"));
        }
        println!("joined: {squares:?}");

        let endless = Task::boxed(async { Timer::after(Duration::from_secs(3600)).await });
        let endless = hyperlight::spawn(endless).expect("there is room");
        endless.abort();
        println!("aborted: {}", endless.await.is_err());

        let turns = Rc::new(RefCell::new(String::new()));
        let takers = ['a', 'b', 'c'].map(|name| {
            let turns = Rc::clone(&turns);
            let taker = Task::boxed(async move {
                for _ in 0..3 {
                    turns.borrow_mut().push(name);
                    yield_now().await;
                }
            });
            hyperlight::spawn(taker).expect("there is room")
        });
        for taker in takers {
            taker.await.expect("it is not aborted");
        }
        println!("taking turns: {}", turns.borrow());
    })?;
    Ok(())
}
