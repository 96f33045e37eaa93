//! Many futures at once, put together by the crate `futures-util`, which knows nothing of dormir.

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

/// A future for each letter, made in a scrambled order. Each sleeps the longer, the farther behind its letter
/// stands.
async fn sort_by_sleeping(sentence: &str) -> String {
    // Prime to the number of letters, so each comes once.
    const STRIDE: usize = 13;
    let letters = sentence.len();
    // They begin one after another, which takes its time.
    let first = Instant::now().saturating_add(Duration::from_millis(500));
    let naps: FuturesUnordered<_> = (0..letters)
        .map(|index| index * STRIDE % letters)
        .map(|place| async move {
            let behind = Duration::from_millis(10) * place as u32;
            Timer::at(first.saturating_add(behind)).await;
            &sentence[place..=place]
        })
        .collect();
    naps.collect().await
}

/// Of two futures, the one that ends first. The other one is dropped, and with it its timer.
async fn lose_patience() {
    let guest = pin!(Timer::after(Duration::from_secs(3600)));
    let patience = pin!(Timer::after(Duration::from_millis(200)));
    match select(guest, patience).await {
        Either::Left(_) => println!("the guest came"),
        Either::Right(_) => println!("nobody came within 200 ms"),
    }
}
