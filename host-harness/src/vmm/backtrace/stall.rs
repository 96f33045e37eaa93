//! What a guest's watchdog found, and where the guest was.

use std::fmt;

use super::{Backtrace, Trace, add_place};
use crate::vmm::image::{Image, Source};

/// A poll that did not return within the limit of the guest's watchdog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Which task, for how long it had not yielded, and where it was.
    pub message: String,
    /// Where it was; `None` if the guest did not report that.
    pub backtrace: Option<Backtrace>,
}

/// Writes the message, and the backtrace on further lines.
impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watchdog: {}", self.message)?;
        match &self.backtrace {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

/// Makes the backtraces of the stalls after which the guest went on.
pub(in crate::vmm) fn explain_stalls(
    stalls: Vec<(String, Trace)>,
    image: &Image<impl Source>,
) -> Vec<Stall> {
    if stalls.is_empty() {
        return Vec::new();
    }
    let file = image.file_bytes().unwrap_or_default();
    let explain = |(mut message, trace): (String, Trace)| {
        let backtrace = trace.unwind(&file);
        add_place(&mut message, backtrace.as_ref());
        Stall { message, backtrace }
    };
    stalls.into_iter().map(explain).collect()
}
