//! Timers from microseconds to minutes, tickers, timeouts, and embassy-time's timers.

use core::{future::pending, pin::pin, time::Duration};

use dormir::time::{Instant, Ticker, Timer, with_deadline};
use dormir_devices_guest::random::Random;

use super::{nap, tasks::PAUSE};
use crate::{board::Kind, watch::watch};

/// The longest of the short timers, as a power of two of microseconds: about a second.
const LONGEST: u64 = 20;

/// The longest timer, in milliseconds.
const MOST_MILLIS: u64 = 150_000;

/// Short timers: each magnitude is as likely as another.
pub(crate) async fn short(end: Instant, mut random: Random) {
    while Instant::now() < end {
        let most = 1 << random.below(LONGEST + 1);
        nap(&mut random, most).await;
    }
}

/// Long timers, one of which is dropped at the end.
pub(crate) async fn long(mut random: Random) {
    loop {
        // The square makes short ones likelier.
        let part = random.below(1000);
        let length = 1000 + (MOST_MILLIS - 1000) * part * part / 1_000_000;
        let deadline = Instant::now().saturating_add(Duration::from_millis(length));
        watch(Kind::LongTimers, deadline, Timer::at(deadline)).await;
    }
}

/// A ticker. No tick may be missing.
pub(crate) async fn ticks(end: Instant, period: Duration) {
    let first = Instant::now().saturating_add(period);
    let mut ticker = Ticker::starting_at(first, period);
    let mut ticks = 0;
    while Instant::now() < end {
        ticks += 1 + watch(Kind::Ticks, ticker.deadline(), ticker.next()).await;
        let due = first.saturating_add(period * (ticks as u32));
        assert!(
            due == ticker.deadline(),
            "a ticker has counted {ticks} ticks and is not at the next one"
        );
    }
}

/// Timeouts of futures that do not end, that end earlier, and that may do either.
pub(crate) async fn timeouts(end: Instant, mut random: Random) {
    while Instant::now() < end {
        let now = Instant::now();
        let mut instant = || now.saturating_add(Duration::from_nanos(random.below(2_000_000)));
        let (one, other) = (instant(), instant());
        let far = now.saturating_add(Duration::from_secs(3600));
        match random.below(3) {
            0 => {
                let limited = with_deadline(one, pending::<()>());
                let ended = watch(Kind::Timeouts, one, limited).await;
                assert!(ended.is_err(), "a future that never ends has ended");
            }
            1 => {
                let limited = with_deadline(far, Timer::at(one));
                let ended = watch(Kind::Timeouts, one, limited).await;
                assert!(ended.is_ok(), "a timeout of an hour has passed");
            }
            _ => {
                let limited = pin!(with_deadline(one, Timer::at(other)));
                let _ = watch(Kind::Timeouts, one.min(other), limited).await;
            }
        }
        nap(&mut random, PAUSE).await;
    }
}

/// Timers of embassy-time, which run on the same queue.
pub(crate) async fn embassy(end: Instant, mut random: Random) {
    while Instant::now() < end {
        let micros = random.below(5000);
        // Its ticks are of a microsecond, and it rounds up.
        let deadline = Instant::now().saturating_add(Duration::from_micros(micros + 2));
        let timer = embassy_time::Timer::after_micros(micros);
        watch(Kind::Embassy, deadline, timer).await;
        nap(&mut random, PAUSE).await;
    }
}
