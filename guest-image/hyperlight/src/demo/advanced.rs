//! Many futures at once, combined by the crate `futures-util`, which knows nothing of dormir.

use core::{pin::pin, time::Duration};

use alloc::string::String;
use dormir::{
    hyperlight,
    time::{Instant, Timer},
};
use futures_util::{
    future::{Either, select},
    stream::{FuturesUnordered, StreamExt},
};
use hyperlight_guest::error::Result;

use super::println;

pub(super) fn run() -> Result<()> {
    hyperlight::block_on(async {
        println!(
            "{}",
            sort_by_sleeping("each letter slept until its turn").await
        );
        lose_patience().await;
    })?;
    Ok(())
}

/// A future for each letter, created in a scrambled order. The later its letter stands, the longer
/// it sleeps.
async fn sort_by_sleeping(sentence: &str) -> String {
    // Coprime to the number of letters, so each occurs once.
    const STRIDE: usize = 13;
    let letters = sentence.len();
    // They start one after another, which takes a while.
    let first = Instant::now().saturating_add(Duration::from_millis(500));
    let naps: FuturesUnordered<_> = (0..letters)
        .map(|index| index * STRIDE % letters)
        .map(|position| async move {
            let behind = Duration::from_millis(10) * position as u32;
            Timer::at(first.saturating_add(behind)).await;
            &sentence[position..=position]
        })
        .collect();
    naps.collect().await
}

/// Takes the future that completes first. The other is dropped, and its timer with it.
async fn lose_patience() {
    let guest = pin!(Timer::after(Duration::from_secs(3600)));
    let patience = pin!(Timer::after(Duration::from_millis(200)));
    match select(guest, patience).await {
        Either::Left(_) => println!("the guest came"),
        Either::Right(_) => println!("nobody came within 200 ms"),
    }
}
