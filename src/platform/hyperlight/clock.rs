//! The guest's clock: the TSC from the host's last word on, and through restored snapshots.
//!
//! The host says the time at each entry and after each wait. In between the TSC counts on from there, so
//! its frequency need only be right for the length of a call.
//!
//! A restore puts this clock's own memory back too. The host then tells another generation, perhaps with
//! times from another epoch; the clock goes on from what it last showed, as if the guest had been suspended.
//! So what was left of a sleep is still left, on whichever host.

use crate::time::{Instant, Scale};

use super::reply::Reply;

/// What the clock counts from. All zero before the first entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchored {
    /// The TSC at the host's last word, and what the clock showed then.
    tsc: u64,
    nanos: u64,
    to_nanos: Option<Scale>,
    /// What the clock showed, and the host said, when the generation began.
    base: u64,
    host_base: u64,
    generation: u64,
    stamp: u64,
    /// What the clock showed last.
    shown: u64,
}

impl Anchored {
    pub(super) const fn new() -> Self {
        Self {
            tsc: 0,
            nanos: 0,
            to_nanos: None,
            base: 0,
            host_base: 0,
            generation: 0,
            stamp: 0,
            shown: 0,
        }
    }

    /// What the host is told at an entry: the generation and the stamp that it gave last.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.generation, self.stamp)
    }

    /// Takes the host's word, which came when the TSC was `tsc`. Whether it is of another generation than
    /// the word before.
    pub(super) fn anchor(&mut self, reply: &Reply, tsc: u64) -> bool {
        let is_new = self.generation != reply.generation;
        if is_new {
            self.generation = reply.generation;
            self.base = self.shown;
            self.host_base = reply.now;
        }
        self.stamp = reply.stamp;
        let nanos = reply.now.saturating_sub(self.host_base);
        // It never goes back: the TSC may have run ahead of the host.
        self.nanos = self.base.saturating_add(nanos).max(self.shown);
        self.tsc = tsc;
        self.to_nanos = Some(Scale::new(reply.tsc_hz, 1_000_000_000));
        is_new
    }

    /// The time when the TSC is `tsc`.
    pub(super) fn now(&mut self, tsc: u64) -> Instant {
        if let Some(to_nanos) = self.to_nanos {
            // Where the TSC went back (on another host) it stands still until the host's next word.
            let since = to_nanos.down(tsc.saturating_sub(self.tsc));
            // Not `NEVER`, which is no time that comes.
            let nanos = self.nanos.saturating_add(since).min(u64::MAX - 1);
            self.shown = self.shown.max(nanos);
        }
        Instant::from_nanos(self.shown)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
pub(super) use here::{CLOCK, NoAlarm};

#[cfg(all(target_arch = "x86_64", target_os = "none"))]
mod here {
    use core::{arch::x86_64::_rdtsc, cell::RefCell};

    use critical_section::Mutex;

    use super::{Anchored, Reply};
    use crate::time::{Alarm, Clock, Instant};

    /// The clock of this guest.
    pub(in super::super) static CLOCK: HostClock =
        HostClock(Mutex::new(RefCell::new(Anchored::new())));

    pub(in super::super) struct HostClock(Mutex<RefCell<Anchored>>);

    impl HostClock {
        fn with<R>(&self, work: impl FnOnce(&mut Anchored) -> R) -> R {
            critical_section::with(|cs| work(&mut self.0.borrow_ref_mut(cs)))
        }

        pub(in super::super) fn identity(&self) -> (u64, u64) {
            self.with(|clock| clock.identity())
        }

        /// Takes the host's word, which came just now. Whether the guest was restored since the last one.
        pub(in super::super) fn anchor(&self, reply: &Reply) -> bool {
            self.with(|clock| clock.anchor(reply, tsc()))
        }
    }

    impl Clock for HostClock {
        fn now(&self) -> Instant {
            self.with(|clock| clock.now(tsc()))
        }
    }

    fn tsc() -> u64 {
        // SAFETY: every x86-64 processor has RDTSC, and ring 0 may always execute it.
        unsafe { _rdtsc() }
    }

    /// There is nothing to set: the idle policy looks at the clock.
    pub(in super::super) struct NoAlarm;

    impl Alarm for NoAlarm {
        fn set(&self, _at: Instant) {}

        fn off(&self) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::hyperlight::reply::Status;
    use proptest::prelude::*;

    /// A TSC that counts microseconds.
    const HZ: u64 = 1_000_000;

    fn word(generation: u64, now: u64) -> Reply {
        Reply {
            status: Status::Done,
            interrupts: false,
            generation,
            stamp: 7,
            now,
            tsc_hz: HZ,
            longest_wait: u64::MAX,
        }
    }

    #[test]
    fn it_starts_at_zero_and_counts_with_the_tsc() {
        let mut clock = Anchored::new();
        assert_eq!(clock.now(500), Instant::START, "nobody has said anything yet");
        assert!(clock.anchor(&word(1, 5_000_000), 100));
        assert_eq!(clock.now(100), Instant::START);
        assert_eq!(clock.now(103), Instant::from_nanos(3000));
        assert_eq!(clock.identity(), (1, 7));
    }

    #[test]
    fn time_between_calls_is_the_hosts() {
        let mut clock = Anchored::new();
        clock.anchor(&word(1, 5_000), 100);
        // The host slept; the guest's TSC may say what it will.
        assert!(!clock.anchor(&word(1, 905_000), 90));
        assert_eq!(clock.now(90), Instant::from_nanos(900_000));
    }

    #[test]
    fn a_restore_suspends_it() {
        let mut clock = Anchored::new();
        clock.anchor(&word(1, 5_000), 100);
        assert_eq!(clock.now(140), Instant::from_nanos(40_000));
        // Another host, with another epoch and another TSC.
        assert!(clock.anchor(&word(9, 77), 3));
        assert_eq!(clock.now(3), Instant::from_nanos(40_000));
        assert_eq!(clock.now(5), Instant::from_nanos(42_000));
        clock.anchor(&word(9, 10_077), 8);
        assert_eq!(clock.now(8), Instant::from_nanos(50_000));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let mut clock = Anchored::new();
        clock.anchor(&word(1, 0), 0);
        clock.anchor(&word(1, u64::MAX), 0);
        assert_eq!(clock.now(u64::MAX), Instant::from_nanos(u64::MAX - 1));
        clock.anchor(&word(2, u64::MAX), u64::MAX);
        assert_eq!(clock.now(0), Instant::from_nanos(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn it_never_goes_back(words in proptest::collection::vec((1u64..4, any::<u64>(), any::<u64>(), any::<u64>()), 1..40)) {
            let mut clock = Anchored::new();
            let mut last = Instant::START;
            for (generation, now, at, read) in words {
                clock.anchor(&word(generation, now), at);
                let shown = clock.now(read);
                prop_assert!(shown >= last && shown != Instant::NEVER);
                last = shown;
            }
        }
    }
}
