//! The async functions of these cases.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dormir_hyperlight_host::{Host, Threads};

use crate::sandbox::{Check, MARGIN, check};

/// How long the function `slow` takes.
const SLOW: Duration = Duration::from_millis(50);

/// How many of the functions `forever` are running, or were ended while they ran.
#[derive(Clone, Default)]
pub(super) struct Forever(Arc<AtomicUsize>);

impl Forever {
    pub(super) fn running(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until as many are running.
    pub(super) fn become_running(&self, count: usize) -> Check {
        let start = Instant::now();
        while self.running() != count {
            check(start.elapsed() < MARGIN, || {
                format!("{} are running, not {count}", self.running())
            })?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// One that is running: it is dropped with its future.
struct IsRunning(Forever);

impl IsRunning {
    fn new(forever: &Forever) -> Self {
        forever.0.fetch_add(1, Ordering::SeqCst);
        Self(forever.clone())
    }
}

impl Drop for IsRunning {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A host with the functions of these cases.
pub(super) fn host(forever: &Forever) -> Host {
    let forever = forever.clone();
    Host::new()
        .with_runtime(Threads::new(128))
        .async_function("echo", |bytes| async move { Ok::<_, Infallible>(bytes) })
        .async_function("slow", |bytes| async move {
            thread::sleep(SLOW);
            Ok::<_, Infallible>(bytes)
        })
        .async_function("slower", |bytes| async move {
            thread::sleep(SLOW * 10);
            Ok::<_, Infallible>(bytes)
        })
        .async_function("large", |length| async move {
            let length: [u8; 8] = length.try_into().map_err(|_| "no length")?;
            Ok::<_, &str>(vec![7; u64::from_le_bytes(length) as usize])
        })
        .async_function("fails", |_| async { Err("on purpose") })
        .async_function("panics", |bytes| async move {
            assert!(bytes.is_empty() && bytes.len() == 1, "on purpose");
            Ok::<_, Infallible>(bytes)
        })
        .async_function("forever", move |_| {
            let running = IsRunning::new(&forever);
            async move {
                let _running = running;
                pending::<Result<Vec<u8>, Infallible>>().await
            }
        })
}
