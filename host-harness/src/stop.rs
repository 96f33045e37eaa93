//! A stop request, shared by the code that makes it and the work that must then end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that stops the work that holds it early; shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl StopToken {
    /// Requests the stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether the stop was requested.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns the flag itself, for a signal handler to set.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_token_is_shared_by_its_clones() {
        let token = StopToken::default();
        let other = token.clone();
        assert!(!other.is_stopped());
        token.stop();
        assert!(other.is_stopped());
        assert!(other.flag().load(Ordering::SeqCst));
    }
}
