//! A request to stop, shared by whoever makes it and whatever must then end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that ends what was given it early, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl StopToken {
    /// Asks for the end.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler to set.
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
