//! [`Connected`]: a connection, as the table of calls has it.

use core::task::Waker;

use dormir_hyperlight_protocol::guest::{Calls, Link};

pub(super) struct Connected {
    pub(super) link: Link,
    /// Wakes the task that sends, while it waits for something to send.
    pub(super) sender: Option<Waker>,
}

impl Connected {
    pub(super) const fn new() -> Self {
        Self {
            link: Link::new(),
            sender: None,
        }
    }

    /// The task that sends, if it is to be woken now.
    pub(super) fn due(&mut self, calls: &Calls, awaits_events: bool) -> Option<Waker> {
        self.sender
            .take_if(|_| self.link.is_due(calls, awaits_events))
    }
}
