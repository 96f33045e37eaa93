//! The connections, which the runner, listeners and streams share.

use spin::Mutex;

use super::{limits::Limits, table::Table};

/// No foreign code runs while it is locked: wakers are cloned, woken and dropped outside.
pub(super) struct Sockets(Mutex<Table>);

impl Sockets {
    pub(super) fn new(cid: u32, limits: Limits) -> Self {
        Self(Mutex::new(Table::new(cid, limits)))
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.0.lock();
        let result = f(&mut table);
        let deferred = core::mem::take(&mut table.deferred);
        drop(table);
        deferred.run();
        result
    }

    #[cfg(test)]
    pub(super) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}
