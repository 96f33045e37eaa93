//! What the device waits for: news of its sockets, and a time.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// How many events are taken at once.
const AT_ONCE: usize = 64;

/// How often more are taken, before the device does other work.
const ROUNDS: usize = 32;

/// Names of what is watched. Sockets have those that follow.
pub(super) const LISTENER: u64 = 0;
pub(super) const TIME: u64 = 1;

const ZERO: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Each change tells once. The whole can be waited for in the same way.
pub(super) struct Watch {
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_is_set: bool,
    next_name: u64,
}

impl Watch {
    pub(super) fn new(listener: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let watch = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            timer_is_set: false,
            next_name: TIME + 1,
        };
        watch.add_as(listener, LISTENER)?;
        watch.add_as(watch.timer.as_fd(), TIME)?;
        Ok(watch)
    }

    /// Watches a socket, until it is closed, and returns its name.
    pub(super) fn add(&mut self, socket: &impl AsFd) -> io::Result<u64> {
        let name = self.next_name;
        self.next_name += 1;
        self.add_as(socket, name)?;
        Ok(name)
    }

    fn add_as(&self, socket: impl AsFd, name: u64) -> io::Result<()> {
        let changes = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(name),
            changes,
        )?)
    }

    /// Takes what has happened, names and what their sockets can do, and whether there is more.
    pub(super) fn take(&mut self) -> (Vec<(u64, EventFlags)>, bool) {
        let mut happened = Vec::new();
        for _ in 0..ROUNDS {
            let mut events: Vec<Event> = Vec::with_capacity(AT_ONCE);
            // It fails only at a signal, which does not come where nothing waits.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&ZERO));
            happened.extend(events.iter().map(|event| (event.data.u64(), event.flags)));
            if events.len() < AT_ONCE {
                return (happened, false);
            }
        }
        // The others' turn comes.
        (happened, true)
    }

    /// Has [`TIME`] happen after this time, or earlier if it was to happen earlier.
    pub(super) fn set_timer(&mut self, after: Duration) {
        if self.timer_is_set {
            return;
        }
        self.timer_is_set = true;
        // Nothing at all would never happen.
        let after = after.max(Duration::from_millis(1));
        let it_value = Timespec::try_from(after).expect("it is short");
        let once = Itimerspec {
            it_interval: ZERO,
            it_value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).expect("it is a timer");
    }

    /// Notes that [`TIME`] has happened.
    pub(super) fn timer_has_rung(&mut self) {
        self.timer_is_set = false;
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
