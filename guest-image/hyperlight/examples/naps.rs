//! The guest of docs/hyperlight.md.
#![no_std]
#![no_main]

use core::time::Duration;

use dormir::time::Timer;
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

#[guest_function]
fn naps() -> Result<u64, HyperlightGuestError> {
    let millis = dormir::hyperlight::block_on(async {
        let nap = dormir::hyperlight::spawn(nap(10)).expect("there is room");
        Timer::after(Duration::from_millis(5)).await;
        nap.await.expect("it is not aborted")
    })?;
    Ok(millis)
}

dormir::tasks! {
    async fn nap(millis: u64) -> u64, pool = 16 {
        Timer::after(Duration::from_millis(millis)).await;
        millis
    }
}
