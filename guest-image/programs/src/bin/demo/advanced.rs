//! Many futures that sleep and print, at once, on the runtime of the basic demo: put together by the
//! crate `futures-util`, which knows nothing of dormir. All it needs is wakers that wake.

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
    Outcome,
    measure::{self, counted},
};

pub(crate) fn run() -> Outcome {
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

/// `join_all`: a future for each letter, made in a scrambled order. Each sleeps the longer, the farther
/// behind its letter stands, and then prints it.
async fn sort_by_sleeping(sentence: &str) {
    // Prime to the number of letters, so each comes once.
    const STRIDE: usize = 41;
    let first = Instant::now().saturating_add(Duration::from_secs(1));
    let letters = sentence.len();
    let futures = (0..letters)
        .map(|index| index * STRIDE % letters)
        .map(|place| async move {
            let behind = Duration::from_millis(10) * place as u32;
            Timer::at(first.saturating_add(behind)).await;
            print!("{}", &sentence[place..=place]);
        });
    join_all(futures).await;
    println!();
}

/// `FuturesUnordered`: what each has to say is there as soon as it ends, whoever was begun first.
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

/// `select`: of two futures, the one that ends first. The other one is dropped, and with it its timer.
async fn lose_patience() {
    let winter = pin!(Timer::after(Duration::from_secs(90 * 24 * 3600)));
    let patience = pin!(Timer::after(Duration::from_millis(250)));
    match select(winter, patience).await {
        Either::Left(_) => println!("spring is here"),
        Either::Right(_) => println!("nobody waits for spring"),
    }
}
