//! Many futures that sleep and print concurrently, on the runtime of the basic demo. They are
//! combined by the crate `futures-util`, which knows nothing of dormir: it needs only wakers.

use core::{pin::pin, time::Duration};

use dormir::{
    block_on,
    time::{Instant, Timer},
};
use dormir_guest::{print, println};
use futures_util::{
    future::{Either, join_all, select},
    stream::{FuturesUnordered, StreamExt},
};

use crate::{
    DemoResult,
    measure::{self, counted},
};

pub(crate) fn run() -> DemoResult {
    measure::napping(|idle| {
        let program = async {
            sort_by_sleeping("each of these letters is a future that slept until its turn").await;
            say_who_is_first().await;
            lose_patience().await;
        };
        block_on(counted(program), idle);
    });
    Ok(())
}

/// `join_all`: a future for each letter, created in a scrambled order. The later its letter stands,
/// the longer it sleeps; then it prints the letter.
async fn sort_by_sleeping(sentence: &str) {
    // Coprime to the number of letters, so each occurs once.
    const STRIDE: usize = 41;
    let first = Instant::now().saturating_add(Duration::from_secs(1));
    let letters = sentence.len();
    let futures = (0..letters)
        .map(|index| index * STRIDE % letters)
        .map(|position| async move {
            let behind = Duration::from_millis(10) * position as u32;
            Timer::at(first.saturating_add(behind)).await;
            print!("{}", &sentence[position..=position]);
        });
    join_all(futures).await;
    println!();
}

/// `FuturesUnordered`: each output is available as soon as its future completes, in whatever order
/// they started.
async fn say_who_is_first() {
    let nap = |name, millis| async move {
        Timer::after(Duration::from_millis(millis)).await;
        (name, millis)
    };
    let mut naps: FuturesUnordered<_> = [
        nap("the bear", 600),
        nap("the cat", 200),
        nap("the owl", 400),
    ]
    .into_iter()
    .collect();
    while let Some((name, millis)) = naps.next().await {
        println!("{name} slept for {millis} ms");
    }
}

/// `select`: takes the future that completes first. The other is dropped, and its timer with it.
async fn lose_patience() {
    let winter = pin!(Timer::after(Duration::from_secs(90 * 24 * 3600)));
    let patience = pin!(Timer::after(Duration::from_millis(250)));
    match select(winter, patience).await {
        Either::Left(_) => println!("spring is here"),
        Either::Right(_) => println!("nobody waits for spring"),
    }
}
