//! The guest's clock: the TSC, adjusted by the host's replies, and continued over restored
//! snapshots.
//!
//! The host reports the time at each exchange, and a call of a guest function that reads the clock
//! begins with one. The TSC counts from there, and each
//! further reply bounds its error, so its frequency need not be exact.
//!
//! Restoring a snapshot restores this clock's memory too. The host then reports another generation,
//! perhaps with times from another epoch. The clock continues from its last reading, as if the
//! guest had been suspended. So the rest of a pending sleep still has to pass, on any host.

use dormir_hyperlight_protocol::ReplyHeader;

use crate::time::{Instant, Scale};

const NANOS_HZ: u64 = 1_000_000_000;

/// The state of the clock. All zero before the first entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockState {
    /// The TSC at one of the host's replies, and the clock's reading then.
    tsc: u64,
    nanos: u64,
    to_nanos: Option<Scale>,
    /// The clock's reading and the host's time when the generation began.
    base: u64,
    host_base: u64,
    generation: u64,
    /// The last reading.
    last: u64,
}

impl ClockState {
    pub(super) const fn new() -> Self {
        Self {
            tsc: 0,
            nanos: 0,
            to_nanos: None,
            base: 0,
            host_base: 0,
            generation: 0,
            last: 0,
        }
    }

    /// Takes a reply of the host, which was sent between these two values of the TSC. Returns
    /// whether it is of another generation than the reply before.
    ///
    /// While the TSC is within these bounds it is not adjusted: it is more exact than a slow round
    /// trip to the host.
    pub(super) fn adjust(&mut self, reply: &ReplyHeader, before: u64, after: u64) -> bool {
        let is_new = self.generation != reply.generation;
        if is_new {
            self.generation = reply.generation;
            self.to_nanos = Some(Scale::new(reply.tsc_hz, NANOS_HZ));
            self.base = self.last;
            self.host_base = reply.now;
            // The earliest possible: otherwise a faster reply would advance the clock, and end a
            // sleep early.
            (self.tsc, self.nanos) = (before, self.base);
            return true;
        }
        let host = reply.now.saturating_sub(self.host_base);
        let host = self.base.saturating_add(host);
        if self.at(after) < host {
            (self.tsc, self.nanos) = (after, host);
        } else if self.at(before) > host {
            (self.tsc, self.nanos) = (before, host);
        }
        false
    }

    /// The time at a value of the TSC, by the last reply that adjusted it.
    fn at(&self, tsc: u64) -> u64 {
        // If the TSC went back, time stands still until the host's next reply.
        let ticks = tsc.saturating_sub(self.tsc);
        let since = self.to_nanos.map_or(0, |to_nanos| to_nanos.down(ticks));
        self.nanos.saturating_add(since)
    }

    /// Reads the clock, when the TSC is `tsc`.
    pub(super) fn now(&mut self, tsc: u64) -> Instant {
        // It never goes back, and never reaches `NEVER`.
        self.last = self.at(tsc).min(u64::MAX - 1).max(self.last);
        Instant::from_nanos(self.last)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(super) use here::{CLOCK, NoAlarm, tsc};

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod here {
    use core::{arch::x86_64::_rdtsc, cell::RefCell};

    use critical_section::Mutex;

    use dormir_hyperlight_protocol::ReplyHeader;

    use super::{super::running, ClockState};
    use crate::time::{Alarm, Clock, Instant};

    /// The clock of this guest.
    pub(in super::super) static CLOCK: HostClock =
        HostClock(Mutex::new(RefCell::new(ClockState::new())));

    pub(in super::super) struct HostClock(Mutex<RefCell<ClockState>>);

    impl HostClock {
        fn with<R>(&self, work: impl FnOnce(&mut ClockState) -> R) -> R {
            critical_section::with(|cs| work(&mut self.0.borrow_ref_mut(cs)))
        }

        /// Takes a reply that came just now, to a request that was sent when the TSC was `before`.
        pub(in super::super) fn adjust(&self, reply: &ReplyHeader, before: u64) {
            self.with(|clock| clock.adjust(reply, before, tsc()));
        }
    }

    impl Clock for HostClock {
        fn now(&self) -> Instant {
            running::enter_if_needed();
            self.with(|clock| clock.now(tsc()))
        }
    }

    pub(in super::super) fn tsc() -> u64 {
        // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
        unsafe { _rdtsc() }
    }

    /// An alarm that does nothing: the idle policy looks at the clock.
    pub(in super::super) struct NoAlarm;

    impl Alarm for NoAlarm {
        fn set(&self, _at: Instant) {}

        fn off(&self) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormir_hyperlight_protocol::ReplyStatus;
    use proptest::prelude::*;

    /// A TSC that counts microseconds.
    const HZ: u64 = 1_000_000;

    fn reply(generation: u64, now: u64) -> ReplyHeader {
        ReplyHeader {
            status: ReplyStatus::Done,
            interrupts: false,
            generation,
            number: 7,
            now,
            tsc_hz: HZ,
            longest_wait: u64::MAX,
        }
    }

    #[test]
    fn it_starts_at_zero_and_counts_with_the_tsc() {
        let mut clock = ClockState::new();
        assert_eq!(clock.now(500), Instant::START, "there was no reply yet");
        assert!(clock.adjust(&reply(1, 5_000_000), 90, 100));
        assert_eq!(clock.now(100), Instant::from_nanos(10_000));
        assert_eq!(clock.now(103), Instant::from_nanos(13_000));
    }

    #[test]
    fn a_reply_within_the_bounds_changes_nothing() {
        let mut clock = ClockState::new();
        clock.adjust(&reply(1, 5_000), 100, 110);
        // The guest asked at 100 µs by its clock; the reply at 400 µs said 250 µs.
        assert!(!clock.adjust(&reply(1, 255_000), 200, 500));
        assert_eq!(clock.now(500), Instant::from_nanos(400_000));
    }

    #[test]
    fn a_slow_tsc_is_corrected() {
        let mut clock = ClockState::new();
        clock.adjust(&reply(1, 5_000), 100, 110);
        clock.adjust(&reply(1, 905_000), 200, 500);
        assert_eq!(clock.now(501), Instant::from_nanos(901_000));
        // The TSC went back.
        clock.adjust(&reply(1, 1_905_000), 20, 30);
        assert_eq!(clock.now(31), Instant::from_nanos(1_901_000));
    }

    #[test]
    fn a_fast_tsc_is_corrected_but_time_never_goes_back() {
        let mut clock = ClockState::new();
        clock.adjust(&reply(1, 5_000), 100, 110);
        assert_eq!(clock.now(1_000), Instant::from_nanos(900_000));
        clock.adjust(&reply(1, 605_000), 1_000, 1_010);
        assert_eq!(clock.now(1_010), Instant::from_nanos(900_000));
        assert_eq!(clock.now(1_301), Instant::from_nanos(901_000));
    }

    #[test]
    fn a_restore_suspends_the_clock() {
        let mut clock = ClockState::new();
        clock.adjust(&reply(1, 5_000), 100, 110);
        assert_eq!(clock.now(140), Instant::from_nanos(40_000));
        // Another host, with another epoch and another TSC.
        assert!(clock.adjust(&reply(9, 77), 1, 3));
        assert_eq!(clock.now(3), Instant::from_nanos(42_000));
        clock.adjust(&reply(9, 10_077), 11, 11);
        assert_eq!(clock.now(12), Instant::from_nanos(51_000));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let mut clock = ClockState::new();
        clock.adjust(&reply(1, 0), 0, 0);
        clock.adjust(&reply(1, u64::MAX), 0, 0);
        assert_eq!(clock.now(u64::MAX), Instant::from_nanos(u64::MAX - 1));
        clock.adjust(&reply(2, u64::MAX), u64::MAX, u64::MAX);
        assert_eq!(clock.now(0), Instant::from_nanos(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn it_never_goes_back(
            replies in proptest::collection::vec(
                (1u64..4, any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()),
                1..40,
            ),
        ) {
            let mut clock = ClockState::new();
            let mut last = Instant::START;
            for (generation, now, before, after, read) in replies {
                clock.adjust(&reply(generation, now), before, after);
                let shown = clock.now(read);
                prop_assert!(shown >= last && shown != Instant::NEVER);
                last = shown;
            }
        }

        /// With a TSC that is some parts in a million fast or slow, its error is never larger than
        /// the round trip to the host.
        #[test]
        fn it_stays_near_the_hosts_time(
            hz in 999_900u64..1_000_100,
            calls in proptest::collection::vec((0u64..1_000_000, 0u64..500, 0u64..500), 1..40),
        ) {
            let mut clock = ClockState::new();
            let mut micros = 10;
            clock.adjust(&ReplyHeader { tsc_hz: hz, ..reply(1, micros * 1000) }, 10, 10);
            for (rest, there, back) in calls {
                let before = micros + rest;
                micros = before + there + back;
                let reply = ReplyHeader { tsc_hz: hz, ..reply(1, (before + there) * 1000) };
                clock.adjust(&reply, before, micros);
                let shown = clock.now(micros).as_nanos();
                let off = shown.abs_diff((micros - 10) * 1000);
                let trip = there + back;
                prop_assert!(off <= trip * 1000 + 1000 + 200 * trip, "{off} ns");
            }
        }
    }
}
