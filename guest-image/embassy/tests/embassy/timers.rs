//! `Timer`, `Ticker`, `with_timeout`.

use core::{future::pending, pin::pin};

use dormir::tasks;
use embassy_futures::{
    join::join3,
    select::{Either, Either3, select, select3},
};
use embassy_time::{Duration, Instant, Ticker, TimeoutError, Timer, with_deadline, with_timeout};

tasks! {
    async fn sleep(), pool = 1 {
        let start = Instant::now();
        for millis in [3, 0, 20, 1] {
            let start = Instant::now();
            Timer::after_millis(millis).await;
            assert!(start.elapsed() >= Duration::from_millis(millis), "early");
        }
        Timer::at(start).await;
        let never = pin!(Timer::at(Instant::MAX));
        let soon = Timer::after_millis(2);
        assert!(matches!(select(never, soon).await, Either::Second(())));
    }

    /// Several deadlines in one task; the latest is armed first, and then last.
    async fn sleep_at_once(), pool = 1 {
        let start = Instant::now();
        let until = |millis| async move {
            Timer::at(start + Duration::from_millis(millis)).await;
            assert!(start.elapsed() >= Duration::from_millis(millis), "early");
        };
        join3(until(9), until(2), until(5)).await;
        join3(until(11), until(15), until(13)).await;
    }

    async fn tick(), pool = 1 {
        const EVERY: Duration = Duration::from_millis(5);
        let start = Instant::now();
        let mut ticker = Ticker::every(EVERY);
        for number in 1..=20 {
            ticker.next().await;
            assert!(start.elapsed() >= EVERY * number, "early");
            // Work does not delay the following ticks.
            Timer::after_millis(2).await;
        }
    }

    async fn limit(), pool = 1 {
        let start = Instant::now();
        let late = with_timeout(Duration::from_millis(10), pending::<()>()).await;
        assert_eq!(late, Err(TimeoutError));
        assert!(start.elapsed() >= Duration::from_millis(10), "early");
        let in_time = with_deadline(start + Duration::from_secs(3600), Timer::after_millis(1)).await;
        assert_eq!(in_time, Ok(()));
        let first = select3(
            Timer::after_secs(3600),
            Timer::after_millis(1),
            pending::<()>(),
        );
        assert!(matches!(first.await, Either3::Second(())));
    }
}

#[dormir_guest::test]
fn the_clock_is_the_same() {
    let (before, embassy) = (dormir::time::Instant::now(), Instant::now());
    let after = dormir::time::Instant::now();
    let nanos = before.as_nanos()..=after.as_nanos();
    let micros = nanos.start() / 1000..=nanos.end() / 1000;
    assert!(micros.contains(&embassy.as_micros()), "another clock");
}

#[dormir_guest::test]
fn side_by_side() {
    let full = "each is spawned once";
    crate::run(|spawner| {
        spawner.spawn_detached(sleep()).expect(full);
        spawner.spawn_detached(sleep_at_once()).expect(full);
        spawner.spawn_detached(tick()).expect(full);
        spawner.spawn_detached(limit()).expect(full);
    });
}
