//! The TSC counts faster or slower than the timer, or not at all for a while: naps end, none early,
//! the clock does not go back, and interrupts are few.

use core::time::Duration;

use dormir::{
    platform::bare,
    time::{Instant, Timer},
};
use dormir_guest::{console::report, println};

use crate::hypervisor::{self, RATE, READS_STOPPED};

const NAP: Duration = Duration::from_millis(10);
const NAPS: u64 = 5;

pub(crate) async fn change() {
    assert!(hypervisor::is_possible(), "the processor has no SVM");
    // SAFETY: ring 0, the only vCPU, memory mapped one to one; called only here.
    unsafe { hypervisor::enter() };
    let mut last = Instant::now();
    for rate in [RATE, 3 * RATE, RATE / 3, 0, RATE / 20, 0, 20 * RATE] {
        hypervisor::set_rate(rate);
        let interrupts = bare::timer_interrupts();
        for _ in 0..NAPS {
            let now = Instant::now();
            assert!(now >= last, "{now} after {last}");
            let deadline = now.saturating_add(NAP);
            Timer::at(deadline).await;
            last = Instant::now();
            assert!(last >= deadline, "a nap ended early");
        }
        let interrupts = bare::timer_interrupts() - interrupts;
        println!("rate {rate:#x}: {interrupts} interrupts");
        report("interrupts", interrupts);
        // A nap takes one. With a slow TSC each leaves all but the rate of what was left: from 10
        // ms to a nanosecond, at a twentieth, that are 315. With one that is stopped there are
        // fewer than it is read.
        let most = if rate == 0 { READS_STOPPED } else { 350 * NAPS };
        assert!(interrupts < most, "{interrupts} interrupts");
        assert!(
            rate >= RATE || interrupts > NAPS,
            "the TSC did not slow down"
        );
    }
}
