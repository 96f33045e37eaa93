//! Both timers interrupt, and both of dormir's handlers are in place: the one that is not the alarm
//! makes the loop look at the clock, and nothing else.

use core::{hint::spin_loop, time::Duration};

use dormir::{
    block_on,
    idle::Halt,
    platform::bare,
    time::{Instant, Timer},
};

use crate::source;

const NAPS: u32 = 100;
const NAP: Duration = Duration::from_micros(300);
/// How often the other one interrupts while no loop runs.
const STALE: u64 = 20;

/// Has the other timer interrupt alone, and before, at and after the alarm of naps.
pub(crate) fn fire() {
    source::set_period(100_000);
    let before = bare::timer_interrupts();
    for interrupts in 1..=STALE {
        source::arm();
        while bare::timer_interrupts() - before < interrupts {
            spin_loop();
        }
    }
    block_on(
        async {
            for nap in 0..NAPS {
                source::set_period(u64::from(nap) * 4000);
                source::arm();
                let deadline = Instant::now().saturating_add(NAP);
                Timer::at(deadline).await;
                assert!(Instant::now() >= deadline, "it ended early");
            }
            // For the other one's last interrupt.
            Timer::after(NAP * 4).await;
        },
        Halt,
    );
}
