//! Naps during which the machine is paused, or saved and restored: each ends, none early, and the
//! clock does not go back.

use core::{cell::Cell, time::Duration};

use dormir::time::{Instant, Timer};
use dormir_guest::{args, console::report, println};
use futures_util::future::join4;

/// Longer than any pause of a test: a clock that jumps farther is not right.
const FARTHEST: Duration = Duration::from_secs(60);

/// Naps until one has taken `pause=` milliseconds, so that it does not matter how late the pause
/// is, but no longer than `seconds=`.
pub(crate) async fn take() {
    let number = |name| args::value(name).and_then(|value| value.parse().ok());
    let length = number("seconds").expect("seconds=, for example seconds=5");
    let pause = number("pause").map_or(Duration::MAX, Duration::from_millis);
    println!("napping");
    let (naps, farthest) = (Cell::new(0), Cell::new(Duration::ZERO));
    let end = Instant::now().saturating_add(Duration::from_secs(length));
    let of = async |nap: Duration| {
        let mut last = Instant::now();
        while last < end && farthest.get() < pause {
            let deadline = last.saturating_add(nap);
            Timer::at(deadline).await;
            let now = Instant::now();
            assert!(now >= deadline, "a nap ended early");
            farthest.set(farthest.get().max(now.saturating_duration_since(last)));
            naps.set(naps.get() + 1);
            last = now;
        }
    };
    let millis = Duration::from_millis;
    join4(
        of(millis(1)),
        of(millis(7)),
        of(millis(50)),
        of(millis(400)),
    )
    .await;
    let farthest = farthest.get();
    assert!(
        farthest < FARTHEST,
        "the clock went {farthest:?} during a nap"
    );
    println!(
        "naps: {}, the longest {} ms",
        naps.get(),
        farthest.as_millis()
    );
    report("naps", naps.get());
    report("longest_millis", farthest.as_millis() as u64);
}
