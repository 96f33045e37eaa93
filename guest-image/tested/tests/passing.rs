//! Tests that pass, one for each form.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::{
    executor::Spawner,
    time::{Instant, Timer},
};
use dormir_guest::println;

dormir_guest::test_main!();

#[dormir_guest::test]
fn adds() {
    println!("a line of output");
    assert_eq!([1, 2, 3].iter().sum::<u32>(), 6);
}

#[dormir_guest::test]
async fn sleeps() {
    let start = Instant::now();
    Timer::after(Duration::from_millis(2)).await;
    assert!(start.elapsed() >= Duration::from_millis(2));
}

#[dormir::task(pool_size = 2)]
async fn double(mut number: u32) -> u32 {
    number *= 2;
    number
}

#[dormir_guest::test(timeout = 30)]
async fn spawns(spawner: Spawner) -> Result<(), &'static str> {
    let first = spawner.spawn(double(1)).map_err(|_| "no room")?;
    let second = spawner.spawn(double(2)).map_err(|_| "no room")?;
    assert_eq!((first.await, second.await), (Ok(2), Ok(4)));
    Ok(())
}

#[dormir_guest::test]
#[should_panic(expected = "as expected")]
fn panics() {
    panic!("this goes as expected");
}

#[dormir_guest::test]
#[ignore = "it has nothing to show"]
fn is_ignored() {}

#[dormir::task]
async fn forever() -> ! {
    core::future::pending().await
}

#[dormir_guest::test]
fn never_returns() -> ! {
    dormir_guest::exit(0)
}

#[dormir_guest::test]
async fn ends_while_a_task_is_left(spawner: Spawner) {
    assert!(spawner.spawn_detached(forever()).is_ok());
}

mod nested {
    // Each test has a machine of its own, so none sees what another has written.
    use core::sync::atomic::{AtomicBool, Ordering};

    static WRITTEN: AtomicBool = AtomicBool::new(false);

    #[dormir_guest::test]
    fn first_has_the_machine_alone() {
        assert!(!WRITTEN.swap(true, Ordering::Relaxed));
    }

    #[dormir_guest::test]
    fn second_has_the_machine_alone() {
        assert!(!WRITTEN.swap(true, Ordering::Relaxed));
    }

    #[dormir_guest::test]
    fn sends() {
        dormir_guest::send("a.txt", b"for the host");
    }
}

mod names {
    //! The attributes' own names do not get in the way of these.

    use super::*;

    #[dormir::task]
    async fn difference(argument_1: u32, mut subtrahend: u32) -> u32 {
        subtrahend += 0;
        argument_1 - subtrahend
    }

    #[dormir::task]
    async fn second(#[expect(unused_variables)] first: u32, second: u32) -> u32 {
        second
    }

    #[dormir_guest::test]
    async fn spawner(s: Spawner) {
        let difference = s.spawn(difference(3, 1)).expect("there is room").await;
        let second = s.spawn(second(3, 1)).expect("there is room").await;
        assert_eq!((difference, second), (Ok(2), Ok(1)));
    }
}
