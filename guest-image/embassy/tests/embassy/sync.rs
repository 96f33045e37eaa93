//! `Channel`, `Signal` and `Mutex` between tasks that sleep.

use dormir::tasks;
use embassy_futures::select::{Either, select};
use embassy_sync::{
    blocking_mutex::raw::CriticalSectionRawMutex, channel::Channel, mutex::Mutex, signal::Signal,
};
use embassy_time::{Duration, Instant, Timer, with_timeout};

/// More messages than a channel holds.
const MESSAGES: u32 = 50;
const SENDERS: usize = 3;
const WORKERS: usize = 4;

static CHANNEL: Channel<CriticalSectionRawMutex, u32, 4> = Channel::new();
static DONE: Signal<CriticalSectionRawMutex, u32> = Signal::new();
static SUM: Mutex<CriticalSectionRawMutex, u32> = Mutex::new(0);
static STOP: Signal<CriticalSectionRawMutex, ()> = Signal::new();

tasks! {
    async fn send(), pool = SENDERS {
        for number in 0..MESSAGES {
            CHANNEL.send(number).await;
            if number % 8 == 0 {
                Timer::after_millis(1).await;
            }
        }
    }

    async fn receive(), pool = 1 {
        let mut sum = 0;
        for _ in 0..MESSAGES * SENDERS as u32 {
            // The timeout is long, but its timer is armed each time.
            let received = with_timeout(Duration::from_secs(60), CHANNEL.receive()).await;
            sum += received.expect("there are more to come");
        }
        let empty = with_timeout(Duration::from_millis(3), CHANNEL.receive()).await;
        assert!(empty.is_err(), "one more than was sent");
        DONE.signal(sum);
    }

    async fn wait_for_sum(), pool = 1 {
        let sum = DONE.wait().await;
        assert_eq!(sum, SENDERS as u32 * MESSAGES * (MESSAGES - 1) / 2);
        STOP.signal(());
    }

    /// Holds the lock while it sleeps.
    async fn add(), pool = WORKERS {
        for _ in 0..5 {
            let mut sum = SUM.lock().await;
            let seen = *sum;
            Timer::after_millis(1).await;
            assert_eq!(*sum, seen, "two have the lock");
            *sum = seen + 1;
        }
    }

    async fn poll_until_stopped(), pool = 1 {
        let start = Instant::now();
        let mut turns = 0;
        while let Either::First(()) = select(Timer::after_millis(1), STOP.wait()).await {
            turns += 1;
        }
        assert!(start.elapsed() >= Duration::from_millis(turns), "early");
        while *SUM.lock().await < 5 * WORKERS as u32 {
            Timer::after_millis(1).await;
        }
    }
}

#[dormir_guest::test]
fn channel_signal_and_mutex() {
    let full = "the pools are that large";
    crate::run(|spawner| {
        for _ in 0..SENDERS {
            spawner.spawn_detached(send()).expect(full);
        }
        for _ in 0..WORKERS {
            spawner.spawn_detached(add()).expect(full);
        }
        spawner.spawn_detached(receive()).expect(full);
        spawner.spawn_detached(wait_for_sum()).expect(full);
        spawner.spawn_detached(poll_until_stopped()).expect(full);
    });
}
