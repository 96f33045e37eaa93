//! Tasks that run when the host polls its guest.

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use dormir::{hyperlight, time::Timer};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;

/// Returns how many naps have ended.
static ENDED: AtomicU64 = AtomicU64::new(0);

dormir::tasks! {
    async fn nap(length: Duration), pool = 64 {
        Timer::after(length).await;
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Spawns a nap without running tasks. The nap begins at the next poll.
#[guest_function]
fn spawn_nap(micros: u64) -> bool {
    hyperlight::spawn(nap(Duration::from_micros(micros))).is_ok()
}

/// Polls the tasks. Returns in how many nanoseconds the host must call again; `u64::MAX` if no
/// timer is set.
#[guest_function]
fn poll() -> Result<u64, HyperlightGuestError> {
    let turn = hyperlight::poll_once()?;
    assert_eq!(turn.tasks_left == 0, turn.next_in.is_none());
    Ok(turn.next_in.map_or(u64::MAX, |time| time.as_nanos() as u64))
}

/// Returns how many naps have ended.
#[guest_function]
fn ended() -> u64 {
    ENDED.load(Ordering::Relaxed)
}
