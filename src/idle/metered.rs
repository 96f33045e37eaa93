//! How often and how long a policy waits.

use core::time::Duration;

use super::{Idle, IdleContext};

/// Another policy, with a count of the waits and of the time spent in them.
///
/// It reads the clock of the loop's timers twice for each wait. Where there is no clock, it counts the waits.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use dormir::{block_on, idle::Metered, time::Timer};
///
/// # dormir::platform::host::init();
/// # let idle = dormir::platform::host::Skip;
/// // In a guest: `let idle = dormir::idle::Halt;`
/// let mut idle = Metered::new(idle);
/// block_on(async { Timer::after(Duration::from_secs(1)).await }, &mut idle);
/// println!("{} waits took {:?}", idle.waits(), idle.waited());
/// # assert_eq!((idle.waits(), idle.waited()), (1, Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Metered<I> {
    idle: I,
    waits: u64,
    waited: Duration,
}

impl<I> Metered<I> {
    /// Counts what `idle` does.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir::idle::{Metered, Spin};
    ///
    /// let idle = Metered::new(Spin);
    /// assert_eq!(idle.waits(), 0);
    /// ```
    pub const fn new(idle: I) -> Self {
        Self {
            idle,
            waits: 0,
            waited: Duration::ZERO,
        }
    }

    /// How many waits there were, those that ended at once included.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, idle::Metered, time::Timer};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let mut idle = Metered::new(idle);
    /// block_on(async { Timer::after(Duration::from_secs(1)).await }, &mut idle);
    /// block_on(async { Timer::after(Duration::ZERO).await }, &mut idle);
    /// println!("{} waits", idle.waits());
    /// # assert_eq!(idle.waits(), 1);
    /// ```
    #[must_use]
    pub const fn waits(&self) -> u64 {
        self.waits
    }

    /// How long they took together.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::time::Duration;
    /// use dormir::{block_on, idle::Metered, time::{Instant, Timer}};
    ///
    /// # dormir::platform::host::init();
    /// # let idle = dormir::platform::host::Skip;
    /// # // In a guest: `let idle = dormir::idle::Halt;`
    /// let start = Instant::now();
    /// let mut idle = Metered::new(idle);
    /// block_on(async { Timer::after(Duration::from_secs(1)).await }, &mut idle);
    /// let busy = Instant::now().saturating_duration_since(start) - idle.waited();
    /// println!("the vCPU was busy for {busy:?}");
    /// ```
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }
}

impl<I: Idle> Idle for Metered<I> {
    fn wait(&mut self, cx: &IdleContext<'_>) {
        let timers = cx.timers();
        let start = timers.has_clock().then(|| timers.now());
        self.idle.wait(cx);
        self.waits += 1;
        if let Some(start) = start {
            self.waited += timers.now().saturating_duration_since(start);
        }
    }
}
